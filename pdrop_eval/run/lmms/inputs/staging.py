"""A batch of questions with their images put in: what `generate` takes, under a strategy."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pdrop_eval.engine.context import StagedForward
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.towers.encoded import EncodedImage
from pdrop_eval.run.lmms.inputs.batching import seed_of
from pdrop_eval.run.lmms.inputs.preprocess import Prepared


def staged_inputs(
    staged: StagedForward, ids: Tensor, mask: Tensor, batch: Sequence[Prepared],
    encoded: Sequence[EncodedImage], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return the arguments of `generate`; where a strategy reduces images, those of shorter prompts.

    Args:
        staged: the strategy's context on the model, not entered yet; it is told where image tokens are.
        ids: [b, n] token ids.
        mask: [b, n], false on padding.
        batch: the questions.
        encoded: their images, in order.
        seed: of the run.
    """
    model: Any = staged.model
    family = staged.family
    assert isinstance(family, MultimodalFamily)
    staged.seeds = [seed_of(seed, [question]) for question in batch]
    if staged.before is None:
        staged.image_mask = family.image_mask(model.config, {"input_ids": ids})
        places = family.position_ids(model, ids, mask, encoded)
        inputs = family.generate_inputs(model, ids, encoded, places)
        return {**inputs, "attention_mask": mask}
    staged.prompt = prompt = staged.before.shorten(
        ids,
        mask,
        encoded,
        questions=[str(question.request.args[0]) for question in batch],
        seeds=staged.seeds,
    )
    inputs = family.generate_inputs(model, prompt.ids, prompt.images, prompt.position_ids)
    return {**inputs, "attention_mask": prompt.mask}
