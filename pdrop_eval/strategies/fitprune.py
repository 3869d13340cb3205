"""FitPrune: after every layer some image tokens go, as many as a recipe says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency import budget
from pdrop_eval.efficiency.architecture import Architecture, nominal_image_tokens
from pdrop_eval.engine.interface import Drop, SelectionContext
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import fitprune_recipes, recipe
from pdrop_eval.strategies.base import check_undecided
from pdrop_eval.strategies.inside import InsideStrategy
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

USUAL = 60  # the official script's


@dataclass
class FitPrune(InsideStrategy):
    """FitPrune (Ye et al., AAAI 2025, arXiv 2409.10197).

    In each layer the image tokens are ranked by cross · self, both of the largest of all heads' attention:
    cross is what the text behind the image pays to a token, summed; self what the image tokens pay to it,
    summed and divided by how many they are. As many as the recipe says for the layer, the lowest, go when the
    layer is done. Every layer's whole attention is computed a second time, in chunks of rows: it is the
    method, and costs more than any other's ranking. Official code: github.com/ywh187/FitPrune, commit
    d28e418.

    A recipe is made for a model: six official ones are here, of LLaVA-1.5-7B, each named by the share of
    FLOPs that it takes away by the paper's count; `pdrop-eval-calibrate` makes others. Without any setting,
    it is the official script's, 60: for other depths and numbers of tokens its shares are taken over, layer
    l of L for l·32/L, and the record says so.

    Deliberate differences from the official code:

    - There, tokens are cut between a layer's attention and its feed-forward part; for the tokens that stay
      that is a drop after the layer, as it is done here. Its own FLOPs, which leave the cut tokens out of
      that part, are lower by a hundredth or two of vanilla's.
    - Image tokens are found, of several images at any place, ranked together; "behind the image" is behind
      the last one. Where nothing stands there, self alone ranks. The official code takes one span.
    - The lowest go, as in the model's code; one of its tools keeps them by mistake.
    - Equal products (half precision) are resolved in favour of the earlier token. Rows of a batch may differ,
      and text-only prompts run, on which the official code fails.
    - Labels are refused: the method is defined for inference.

    Attributes:
        removed: for each layer of the model itself, how many image tokens of a prompt go when it is done.
        reduction_ratio: an official recipe: 40, 50, 60, 70, 80 or 90, for 32 layers and 576 image tokens.
        recipe: a recipe's file, or the name of a shipped one, which gives `removed`.
        positions: "keep" (the official way) or "renumber".
        preset: None, or one of `presets`: the official recipe whose mean over 32 layers is nearest: 187.9,
            130.6 and 72.8 of 576 tokens.
    """

    removed: Sequence[int] | None = None
    reduction_ratio: int | None = None
    recipe: str | None = None
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "fitprune"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "FitPrune"
    paper: ClassVar[str] = "Ye et al., AAAI 2025, arXiv 2409.10197"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#C2185B", "dark": "#f48fb1", "marker": "o", "linestyle": "--", "order": 7
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("ratio {reduction_ratio}", "{recipe}")
    ranks_by_attention: ClassVar[bool] = False  # not by that of the last token
    solved_fields: ClassVar[tuple[str, ...]] = ("removed", "reduction_ratio", "recipe", "preset")
    layer_field: ClassVar[str] = ""
    recipe_fields: ClassVar[tuple[str, ...]] = ("removed",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"reduction_ratio": 70},
        "128": {"reduction_ratio": 80},
        "64": {"reduction_ratio": 90},
    }

    def __post_init__(self) -> None:
        self.prepare({"reduction_ratio": None})
        check_positions(self.positions)
        if self.reduction_ratio is not None:
            if self.reduction_ratio not in list(fitprune_recipes.OFFICIAL):  # it may be of any kind
                raise UserError(
                    f"reduction_ratio={self.reduction_ratio!r} is not allowed: there are official recipes of "
                    f"{', '.join(map(str, fitprune_recipes.OFFICIAL))}. Any other share is a budget."
                )
            if self.removed is not None:
                raise UserError(
                    f"reduction_ratio={self.reduction_ratio} is a recipe, and {_source(self)} is another "
                    "one: leave one of them out (null on the command line)."
                )
        if self.removed is not None:
            self.removed = _checked(self.removed)

    def recipe_of(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return how many image tokens go after each layer.

        Raises:
            UserError: a recipe of another depth.
        """
        if self.removed is not None:
            recipe.check_depth(self, num_layers)
            if len(self.removed) != num_layers:
                raise UserError(
                    f"removed has {len(self.removed)} numbers, and this model {num_layers} layers: give one "
                    "for each, or make a recipe for this model with pdrop-eval-calibrate strategy=fitprune."
                )
            return tuple(self.removed)
        if self.reduction_ratio is not None:
            if num_layers != fitprune_recipes.LAYERS:
                raise self._unfit(f"of {fitprune_recipes.LAYERS} layers", f"this model has {num_layers}")
            return fitprune_recipes.OFFICIAL[self.reduction_ratio]
        return fitprune_recipes.removed(fitprune_recipes.left_by(USUAL), num_layers, image_tokens)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return a drop after each layer that loses tokens, ranked by that layer."""
        numbers = self.recipe_of(num_layers, fitprune_recipes.TOKENS)
        return tuple(Drop(i + 1, scoring_layer=i) for i, number in enumerate(numbers) if number)

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return the count after each drop."""
        numbers = self.recipe_of(num_layers, image_tokens)
        left = list(accumulate(numbers, lambda alive, number: max(0, alive - number), initial=image_tokens))
        return tuple(left[drop.layer] for drop in self.drops(num_layers))

    def check_image(self, shape: TokenShape) -> None:
        """Refuse an official recipe for other images than LLaVA-1.5's."""
        super().check_image(shape)
        if self.reduction_ratio is not None and shape.tokens != fitprune_recipes.TOKENS:
            raise self._unfit(
                f"for {fitprune_recipes.TOKENS} image tokens", f"an image has {shape.tokens} here"
            )

    def _unfit(self, made: str, here: str) -> UserError:
        said = f"reduction_ratio={self.reduction_ratio}" if self.preset is None else f"preset={self.preset}"
        return UserError(
            f"{said} is an official recipe {made}, and {here}: leave it out, its shares are scaled then, "
            "give a budget, or make a recipe of this model's own with pdrop-eval-calibrate strategy=fitprune."
        )

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Say what a preset's number means, and that the usual recipe was scaled."""
        notes = super().notes(num_layers, image_tokens)
        own = (fitprune_recipes.LAYERS, fitprune_recipes.TOKENS)
        if self.removed is None and self.reduction_ratio is None and (num_layers, image_tokens) != own:
            numbers = ", ".join(map(str, self.recipe_of(num_layers, image_tokens)))
            notes.append(
                f"The official recipe {USUAL}, of {own[0]} layers and {own[1]} image tokens, is scaled to "
                f"{num_layers} and {image_tokens}: {numbers} go after the layers."
            )
        return notes

    def rank(self, context: SelectionContext) -> "Tensor":
        """Return cross · self [b, n]."""
        import torch

        masks = (context.text_after, context.image, context.valid)  # the whole attention, as officially
        cross, own, _ = context.attention_sums(*masks, heads="max")
        behind = context.text_after.any(1, keepdim=True)
        alive = context.image.sum(1, keepdim=True).clamp(min=1)
        return torch.where(behind, cross, 1.0) * own / alive

    def ranking_flops(self, sizes: Architecture, alive: Sequence[int], text_tokens: int) -> int:
        """Return the queries and keys of all tokens, and their products."""
        ranked = [n + text_tokens for n in alive if n]
        return sum(n * sizes.d * (sizes.q + sizes.kv) + n * n * sizes.q for n in ranked)

    @classmethod
    def for_budget(
        cls,
        model: Any,
        *,
        tokens: float | None = None,
        share: float | None = None,
        tflops: float | None = None,
        image_tokens: int | None = None,
        **fields: Any,
    ) -> Any:
        """Return a recipe between the official ones that costs no more than the budget.

        See `Strategy.for_budget`. Shares are interpolated between two official recipes, scaled to the model's
        depth and rounded to whole tokens; at least one image token stays. It isn't made for the model, as
        those of `pdrop-eval-calibrate` are.
        """
        check_undecided(cls.solved_fields, fields)
        if image_tokens is None:
            image_tokens = nominal_image_tokens(getattr(model, "config", model))
        asked = {"tokens": tokens, "share": share, "tflops": tflops}
        layouts = partial(_layouts, cls, image_tokens, fields)
        return budget.find(cls.__name__, layouts, model, image_tokens, fields, asked)


def _layouts(
    cls: type[FitPrune], image_tokens: Any, fields: dict[str, Any], num_layers: int
) -> Sequence[budget.Layout]:
    def build(share: float) -> FitPrune:
        left = fitprune_recipes.between(share)
        return cls(removed=fitprune_recipes.removed(left, num_layers, image_tokens), **fields)

    return [budget.Layout(build)]


def _checked(removed: Any) -> tuple[int, ...]:
    listed = tuple(removed) if isinstance(removed, Sequence) and not isinstance(removed, str) else ()
    if not listed or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in listed):
        raise UserError(
            f"removed={removed!r} is not allowed: give whole numbers from 0 up, one for each layer of the "
            "model."
        )
    return listed


def _source(strategy: FitPrune) -> str:
    return f"removed={strategy.removed}" if strategy.recipe is None else f"recipe={strategy.recipe}"
