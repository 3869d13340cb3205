"""From samples to batches: images, expanded image tokens, labels, right padding, and the order of samples."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS
from pdrop_eval.models.pictures.images import check_processed_size, open_picture, picture_size
from pdrop_eval.run.train.data.conversations import Conversation
from pdrop_eval.run.train.data.samples import Sample, UnreadableImageError

IGNORE = -100
_SORTED_BATCHES = 50  # samples of so many batches are sorted by length together, as in LLaVA's own trainer


class Samples(Dataset):
    """The samples by index."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class Collator:
    """Puts samples into one batch for a LLaVA model.

    Returns input_ids, attention_mask and labels, each int [b, n], padded on the right; pixel_values and, for
    LLaVA-NeXT, image_sizes, unless no sample has an image. Labels are -100 but on answers.
    """

    def __init__(self, processor: Any):
        self.images = processor.image_processor
        self.image_token: int = processor.image_token_id
        self.pad: int = processor.tokenizer.pad_token_id

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Batch the samples. Raises UnreadableImageError for an image that can't be read."""
        n = max(sample.length for sample in samples)
        ids = np.full((len(samples), n), self.pad, np.int64)
        labels = np.full((len(samples), n), IGNORE, np.int64)
        mask = np.zeros((len(samples), n), np.int64)
        for row, sample in enumerate(samples):
            repeats = np.ones(len(sample.ids), np.int64)
            repeats[sample.ids == self.image_token] = sample.image_tokens
            answers = np.zeros(len(sample.ids), bool)
            for start, end in sample.answers:
                answers[start:end] = True
            whole = np.repeat(sample.ids, repeats)
            ids[row, : len(whole)] = whole
            labels[row, : len(whole)] = np.where(np.repeat(answers, repeats), whole, IGNORE)
            mask[row, : len(whole)] = 1
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        pictures = [
            read_image(path, sample.conversation, self.images)
            for sample in samples
            for path in sample.conversation.images
        ]
        return {**tensors, **self.images(pictures, return_tensors="pt")} if pictures else tensors


def read_image(path: Path, conversation: Conversation, images: Any = None) -> Image.Image:
    """The image as evaluation sees it. Raises UnreadableImageError, which names the sample.

    images: the checkpoint's image processor, for which the picture must not be too large; None: any size.
    """
    try:
        image = open_picture(path)
        check_processed_size(image.size, images, pad=False)
        return image
    except PICTURE_ERRORS as error:
        raise _unreadable(path, conversation, error) from error


class TokenCounter:
    """How many tokens a conversation's images become, by the processor; opens image headers if needed."""

    def __init__(self, processor: Any, fixed: int | None, look: bool = True):
        self.processor, self.fixed, self.look = processor, fixed, look

    def __call__(self, conversation: Conversation) -> tuple[int, ...]:
        """Return the tokens of each image. Raises UnreadableImageError."""
        if self.fixed is None or self.look:
            sizes = [self._size(path, conversation) for path in conversation.images]
        if self.fixed is not None or not conversation.images:
            return (self.fixed or 0,) * len(conversation.images)
        return tuple(self.processor._get_num_multimodal_tokens(image_sizes=sizes).num_image_tokens)

    def _size(self, path: Path, conversation: Conversation) -> tuple[int, int]:
        """Height and width."""
        try:
            width, height = picture_size(path)
            check_processed_size((width, height), self.processor.image_processor, pad=False)
        except PICTURE_ERRORS as error:
            raise _unreadable(path, conversation, error) from error
        return height, width


def _unreadable(path: Path, conversation: Conversation, error: Exception) -> UnreadableImageError:
    return UnreadableImageError(
        f"{conversation.where}: the image {path} can't be read ({error}). Replace it with a whole one."
    )


class GroupedSampler(Sampler[int]):
    """The order of an epoch: batches of similar length, with images and without apart, in random order.

    As in LLaVA's own trainer, a batch holds samples with images or text-only ones, so that all processes use
    the same parts of the model in a step. It depends on seed, epoch and the global batch alone, not on how
    many processes share a batch. The rest that fills no batch is left out of the epoch.
    """

    def __init__(self, samples: Sequence[Sample], batch: int, seed: int):
        self.lengths = np.array([sample.length for sample in samples])
        self.pictured = np.array([bool(sample.image_tokens) for sample in samples])
        self.batch, self.seed, self.epoch = batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(int(kind.sum()) // self.batch * self.batch for kind in (self.pictured, ~self.pictured))

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch])
        batches: list[np.ndarray] = []
        for kind in (self.pictured, ~self.pictured):
            order = random.permutation(np.flatnonzero(kind))
            order = order[: len(order) // self.batch * self.batch]
            for start in range(0, len(order), self.batch * _SORTED_BATCHES):
                part = order[start : start + self.batch * _SORTED_BATCHES]
                part = part[np.argsort(-self.lengths[part], kind="stable")]
                batches += list(part.reshape(-1, self.batch))
        for place in random.permutation(len(batches)):
            yield from batches[place].tolist()
