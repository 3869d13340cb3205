"""FitPrune's recipe for a model: the rule of `rules.fitprune` on the attention of the model's own layers."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pdrop_eval.efficiency.architecture import decoder_of
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.run.calibrate.loss import Loss
from pdrop_eval.run.calibrate.outcome import Outcome
from pdrop_eval.run.calibrate.plan import CalibrationPlan
from pdrop_eval.run.calibrate.questions import answered, ask
from pdrop_eval.run.calibrate.rules import fitprune as rule
from pdrop_eval.run.calibrate.rules.fitprune import Masses
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.make import instantiate_strategy
from pdrop_eval.utils.errors import UserError


class MassProbe(Strategy):
    """Removes nothing, and notes what attention the image tokens get in each layer.

    Attributes:
        cross: per layer, [b, n] float32, of the last prefill: summed over the text rows behind the image, the
            largest weight of any head.
        self: the same over the image's own rows.
        image: [b, n] bool, its image columns.
    """

    positions = "keep"

    def __init__(self) -> None:
        self.cross: list[Tensor] = []
        self.self: list[Tensor] = []
        self.image: Tensor | None = None

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return a place after each layer, which its own attention is asked for."""
        return tuple(Drop(layer=layer + 1, scoring_layer=layer) for layer in range(num_layers))

    def select(self, context: SelectionContext) -> Selection:
        """Note the masses, and keep all."""
        if context.drop == 0:
            self.cross, self.self, self.image = [], [], context.image
        cross, own = context.attention_sums(context.text_after, context.image, heads="max")
        self.cross.append(cross)
        self.self.append(own)
        return Selection(keep=context.image)


def find(plan: CalibrationPlan, model: Any, questions: Sequence[Prepared]) -> Outcome:
    """Return the recipe.

    Raises:
        UserError: questions with different numbers of image tokens, and a ratio that is out of reach.
    """
    samples = list(masses(model, questions, plan.spec.seed))
    counts = sorted({sample.cross.shape[1] for sample in samples})
    if len(counts) != 1:
        raise UserError(
            "FitPrune's recipe removes a fixed number of image tokens in each layer, and these questions "
            f"have between {counts[0]} and {counts[-1]}. Use a model whose images all have as many."
        )
    decoder, ratio = decoder_of(model.config), float(plan.spec.ratio) / 100
    found = rule.find_recipe(samples, ratio, decoder)
    settings = {"removed": list(found.recipe)}
    own = {"_target_": plan.spec.strategy.target, **plan.spec.strategy.settings, **settings}
    full = ask(model, model.strategy, questions, plan.spec.seed)
    loss = Loss.of(ask(model, instantiate_strategy(own), questions, plan.spec.seed), full)
    return Outcome(
        settings=settings,
        words=(
            "image tokens that each layer removes, by FitPrune's bisection (official code, d28e418): those "
            "among the lowest of both attention masses that leave 1 - alpha of each, until the FLOPs are met"
        ),
        rule_settings={"ratio": plan.spec.ratio},
        tried=[
            {"settings": {"alpha": alpha}, "tokens": None, "loss": None, "agreement": None, "cost": cost}
            for alpha, cost in found.tried
        ],
        image_tokens=counts[0],
        found={
            "alpha": found.alpha,
            "means": list(found.means),
            "cost": found.cost,
            **loss.to_dict(),
        },
    )


def masses(model: Any, questions: Sequence[Prepared], seed: int) -> Iterator[Masses]:
    """Yield each question's masses; of a question without images, nothing.

    Args:
        model: the model.
        questions: of `read_questions`.
        seed: of the run.
    """
    bar = tqdm(total=len(questions), desc="attention", unit="question", leave=False, disable=None)
    for probe, logits, _ in answered(model, MassProbe, questions, seed):
        bar.update(len(logits))
        assert probe.image is not None
        for row, image in enumerate(probe.image):
            if image.any():
                parts = (
                    torch.stack([layer[row, image] for layer in one]) for one in (probe.cross, probe.self)
                )
                cross, own = (part.double().cpu() for part in parts)
                yield Masses(cross, own)
    bar.close()
