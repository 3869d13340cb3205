"""The samples of a phase, made and checked in the same way for a training and for its dry run."""

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from pdrop_eval.run.train.config.spec import TrainSpec
from pdrop_eval.run.train.data.conversations import Conversation
from pdrop_eval.run.train.data.loader import GroupedSampler, TokenCounter
from pdrop_eval.run.train.data.samples import Sample, make_samples
from pdrop_eval.utils.distributed import rank
from pdrop_eval.utils.errors import UserError


def phase_samples(
    config: TrainSpec, name: str, conversations: Sequence[Conversation], processor: Any, fixed: int | None
) -> tuple[list[Sample], dict[str, int]]:
    """The samples of a phase, and how many conversations were skipped by problem.

    Args:
        config: The training's settings.
        name: The phase's.
        conversations: Its data.
        processor: The checkpoint's, with a fast tokenizer.
        fixed: The tokens of every image, or None where they depend on its size.

    Raises:
        UserError: a conversation that can't be learned from, or too few of them for a batch.
    """
    settings = config.phase(name)
    samples, skipped = make_samples(
        conversations,
        processor,
        settings.template,
        TokenCounter(processor, fixed, config.check_images),
        settings.max_length,
        config.on_error,
        "decoder" not in settings.train,
        lambda c: iter(tqdm(c, f"{name}: tokenizing", disable=rank() > 0, leave=False, delay=2)),
        config.on_long,
    )
    if not len(GroupedSampler(samples, settings.batch_size, 0)):
        pictured = sum(bool(sample.image_tokens) for sample in samples)
        out = f" Left out were {skipped}." if skipped else ""
        raise UserError(
            f"The phase {name} has {pictured} samples with images and {len(samples) - pictured} without: "
            f"neither fill one batch of {settings.batch_size}.{out} Give more data, or set a smaller "
            f"recipe.{name}.batch_size."
        )
    return samples, skipped
