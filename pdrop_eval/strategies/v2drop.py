"""V2Drop: the image tokens stay whose states the last layer changed most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.strategies.depth import earlier_note, scaled
from pdrop_eval.strategies.inside import InsideStrategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class V2Drop(InsideStrategy):
    """V2Drop, variation-aware vision token dropping (Chen et al., 2025, arXiv 2509.01552).

    Before each of three layers l, the score of an image token is the L2 norm of its state entering layer l
    less its state entering layer l - 1: what the layer before has changed. The share of the tokens alive that
    changed most stays. No attention is looked at. Official code: github.com/xuyang-liu16/V2Drop, commit
    219e03e.

    Deliberate differences from the official code:

    - Image tokens are found, of several images at any place, ranked together; the official code takes the
      columns 35 to 610, and drops from a text-only prompt that is longer.
    - Its layers and shares are constants in the code; here they are settings.
    - Rows of a batch may differ. Equal scores go to the earlier token.
    - Labels are refused: the method is defined for inference.

    Attributes:
        layers: drop before each of these layers of the model itself, rising; None: what the preset says, or
            3, 17 and 22 of 32, scaled to the depth.
        keep_ratios: for each of `layers`, the share of the tokens alive that stays, max(1, int(alive·share)):
            0 leaves one token, as the official code does, though the paper speaks of none. None: what the
            preset says, or the code's .5, .5, 0.
        positions: "keep" (the official way) or "renumber".
        preset: None, or one of `presets`: the paper's shares removed, 50/70/100%, 72/75/100% and 95/95/100%
            of the tokens alive; over 32 layers a mean of 193.8, 131.0 and 66.7 of 576 tokens.
    """

    layers: Sequence[int] | None = None
    keep_ratios: Sequence[float] | None = None
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "v2drop"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "V2Drop"
    paper: ClassVar[str] = "Chen et al., 2025, arXiv 2509.01552"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#5B4FC9", "dark": "#a89ff5", "marker": "D", "linestyle": "-", "order": 5
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("layers {layers}", "keeps {keep_ratios}", "preset {preset}")
    ranks_by_attention: ClassVar[bool] = False
    solved_fields: ClassVar[tuple[str, ...]] = ("keep_ratios", "preset")
    layout_fields: ClassVar[tuple[str, ...]] = ("layers",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"layers": (3, 17, 22), "keep_ratios": (0.5, 0.3, 0)},
        "128": {"layers": (3, 17, 22), "keep_ratios": (0.28, 0.25, 0)},
        "64": {"layers": (3, 17, 22), "keep_ratios": (0.05, 0.05, 0)},
    }
    paper_layers: ClassVar[tuple[int, ...]] = (3, 17, 22)
    between_layers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.prepare({"layers": None, "keep_ratios": (0.5, 0.5, 0)})
        check_positions(self.positions)
        self.keep_ratios = ratios = _checked(self.keep_ratios)
        layers = self.layers or self._named
        if len(layers) != len(ratios):
            raise UserError(
                f"{len(layers)} layers need as many keep_ratios, but there are {len(ratios)}: one share of "
                "the tokens alive for each drop."
            )

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drops, each watching the layer before it."""
        return tuple(Drop(layer, scoring_layer=layer - 1) for layer in self.layers_of(num_layers))

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return the count after each drop: at least one token stays."""
        assert self.keep_ratios is not None
        counts, alive = [], image_tokens
        for ratio in self.keep_ratios:
            alive = min(alive, max(1, int(alive * ratio)))
            counts.append(alive)
        return tuple(counts)

    def select(self, context: SelectionContext) -> Selection:
        """Wait for the states that enter the drop, and choose those that changed most."""
        counts = [self.retained(context.num_layers, n)[context.drop] for n in context.image_tokens]
        return Selection(then=lambda hidden: Selection(scores=change(context.hidden, hidden), counts=counts))

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return the three drops; where they can't cost so little, the first one after the first layer.

        The first two drops retain the same share s of the tokens alive, the third 2s - 1, and one token where
        s is a half or less.
        """
        given = fields.pop("layers", None)
        if given is not None:
            return [Layout(partial(_keeping, cls, tuple(given), fields))]
        usual = scaled(cls.paper_layers, num_layers)
        layouts = [Layout(partial(_keeping, cls, usual, fields))]
        return [*layouts, Layout(partial(_keeping, cls, (1, *usual[1:]), fields), earlier_note(usual))]


def change(before: "Tensor", after: "Tensor") -> "Tensor":
    """Return [b, n] float32: the L2 norm of what a layer has changed.

    Args:
        before: [b, n, d] states that enter the layer.
        after: [b, n, d] states that leave it.
    """
    return (after.float() - before.float()).norm(dim=-1)


def _checked(ratios: Any) -> tuple[float, ...]:
    if not isinstance(ratios, Sequence) or isinstance(ratios, str) or not ratios:
        raise UserError(f"keep_ratios={ratios!r} is not allowed: give a share for each drop, as [0.5,0.3,0].")
    for ratio in ratios:
        check_number("keep_ratios", ratio, low=0, high=1)
    return tuple(ratios)


def _keeping(cls: type[V2Drop], layers: tuple[int, ...], fields: dict[str, Any], share: float) -> V2Drop:
    """Retain a share at every drop but the last, and at the last one less."""
    last = max(0.0, round(2 * share - 1, 12))
    return cls(layers=layers, keep_ratios=(*(share,) * (len(layers) - 1), last), **fields)
