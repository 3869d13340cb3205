"""A request of lmms-eval as what the model needs: token ids and pictures. Runs in background threads."""

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from lmms_eval.api.instance import Instance
from PIL import Image
from torch import Tensor

from pdrop_eval.benchmarks.sample_errors import (
    PICTURE_ERRORS,
    VALUE_ERRORS,
    SampleError,
    TooLongError,
    too_long,
    unreadable,
)
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.loading.processors import Processed, process_image
from pdrop_eval.models.pictures.images import PictureError, pictures_of
from pdrop_eval.models.prompts import (
    PlaceholderError,
    build_prompt,
    prompt_ids,
    shrunk,
    to_square,
)
from pdrop_eval.run.lmms.inputs.requests import where
from pdrop_eval.utils.code.hashing import ContentHashes, content_hashes


class Picture:
    """An image of one or more questions, whose pixels are processed once, when first needed.

    Attributes:
        sha256: Of its own pixels.
    """

    def __init__(self, image: Image.Image, sha256: str):
        self.sha256 = sha256
        self._image: Image.Image | None = image
        self._lock = threading.Lock()
        self._processed: Processed | None = None

    def processed(self, process: Callable[[Image.Image], Processed]) -> Processed:
        """What the processor makes of the image."""
        with self._lock:
            if self._processed is None:
                assert self._image is not None
                self._processed = process(self._image)
                self._image = None  # a page is larger than what is made of it
            return self._processed


@dataclass(frozen=True)
class Prepared:
    """A question that is ready for the model.

    Attributes:
        ids: [n] token ids, the image token once for each of its features. The hashes are those of
            `Measurement`.
        sizes: (width, height) of each picture as it was given.
    """

    request: Instance
    ids: Tensor
    pictures: tuple[Picture, ...]
    content_sha256: str
    images_sha256: str
    sizes: tuple[tuple[int, int], ...]

    @property
    def prompt_ids(self) -> list[int]:
        """The token ids as a list."""
        return list(self.ids.tolist())


class Preparer:
    """Reads a question's images and makes its prompt, in any thread.

    Args:
        family: the checkpoint's model family.
        processor: the checkpoint's.
        chat_template: which template to use.
        image_processing: how images become squares.
        docs: gives the document of (task, split, id).
        known_tokens: the image tokens of an image whose features are there already, by its hash, or None: its
            pixels are then not processed.
        downsample: shrinks each image by this factor on both sides; hashes stay those of the image as it was.
        context: the longest prompt, in tokens; None: any.
    """

    def __init__(
        self,
        family: MultimodalFamily,
        processor: Any,
        chat_template: str,
        image_processing: str,
        docs: Callable[[str, str, int], Any],
        known_tokens: Callable[[str], int | None],
        downsample: int | None = None,
        context: int | None = None,
    ):
        self._family = family
        self._processor = processor
        self._of_thread = threading.local()  # tokenizers are not made for being shared
        self._chat_template = chat_template
        self._pad = image_processing == "pad"
        self._docs = docs
        self._known_tokens = known_tokens
        self._downsample = downsample
        self._context = context
        self._counts: dict[tuple[int, int], int] = {}  # the tokens of an image, by its size
        self._pictures: WeakValueDictionary[str, Picture] = WeakValueDictionary()
        self._lock = threading.Lock()

    def __call__(self, request: Instance) -> Prepared:
        """The request, prepared. Raises SampleError, which names task and id."""
        try:
            images = self._images(request)
        except (*PICTURE_ERRORS, *VALUE_ERRORS) as error:
            raise unreadable(where([request]), "prepared", error) from error
        except Exception as error:
            raise SampleError(f"{where([request])} can't be prepared: {error}") from error
        try:
            return self._prepared(request, images)
        except TooLongError as error:
            raise too_long(where([request]), error) from error
        except (PictureError, PlaceholderError) as error:
            raise unreadable(where([request]), "prepared", error) from error
        except Exception as error:
            raise SampleError(f"{where([request])} can't be prepared: {error}") from error

    def process(self, image: Image.Image) -> Processed:
        """One image through the checkpoint's processor."""
        processor = self._own_processor()
        if self._downsample is not None:
            image = shrunk(image, self._downsample)
        self._family.check_picture(image.size, processor.image_processor, self._pad)
        if self._pad:
            image = to_square(image, processor.image_processor.image_mean)
        made = process_image(self._family, processor, image, self._counts.get(image.size))
        self._counts[image.size] = made.tokens
        return made

    def _images(self, request: Instance) -> list[Image.Image]:
        _, _, doc_to_visual, doc_id, task, split = request.args
        return pictures_of(self._docs(task, split, doc_id), doc_to_visual) if doc_to_visual else []

    def _prepared(self, request: Instance, images: list[Image.Image]) -> Prepared:
        processor = self._own_processor()
        system = self._family.lmms_system
        prompt = build_prompt(self._chat_template, processor, request.args[0], len(images), system)
        content, whole = self._own_hashes()(request.args[0], images)
        keys = [whole] if len(images) == 1 else [content_hashes("", [image])[1] for image in images]
        pictures = tuple(map(self._picture, keys, images))
        tokens = [self._tokens(picture) for picture in pictures]
        ids = self._ids(processor, prompt, tokens)
        if self._context is not None and len(ids) > self._context:
            raise TooLongError(
                f"its prompt has {len(ids):,} tokens ({sum(tokens):,} of images), and the model's context is "
                f"{self._context:,}"
            )
        return Prepared(request, ids, pictures, content, whole, tuple(image.size for image in images))

    def _picture(self, key: str, image: Image.Image) -> Picture:
        """The picture with these pixels that other questions wait with, or a new one."""
        with self._lock:
            return self._pictures.setdefault(key, Picture(image, key))

    def _tokens(self, picture: Picture) -> int:
        known = self._known_tokens(picture.sha256)
        return picture.processed(self.process).tokens if known is None else known

    def _ids(self, processor: Any, prompt: str, tokens: Sequence[int]) -> Tensor:
        return torch.tensor(prompt_ids(self._family, processor, prompt, tokens))

    def _own_hashes(self) -> ContentHashes:
        if not hasattr(self._of_thread, "hashes"):
            self._of_thread.hashes = ContentHashes()
        hashes: ContentHashes = self._of_thread.hashes
        return hashes

    def _own_processor(self) -> Any:
        if not hasattr(self._of_thread, "processor"):
            with self._lock:
                self._of_thread.processor = copy.deepcopy(self._processor)
        return self._of_thread.processor
