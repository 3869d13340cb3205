"""VTW: all image tokens go, at one layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop, SelectionContext
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.strategies.inside import InsideStrategy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class VTW(InsideStrategy):
    """VTW, visual tokens withdrawal (Lin et al., AAAI 2025, arXiv 2405.05803).

    The first K layers see all image tokens, the others text only; nothing is ranked. In decoding, the first K
    layers go on reading the image's keys in their cache. Official code: github.com/lzhxmu/VTW, commit
    a3d8cfc, mode "vtw".

    K is made for a model: the first layer from 5 on where withdrawal changes the answer's first token little
    enough (`pdrop-eval-calibrate`). The code's default is 15 for LLaVA-1.5-7B; its command line has 16 for
    7B chat models and 20 for others.

    Deliberate differences from the official code:

    - Image tokens are found, of several images at any place; the official code removes the columns 35 to 610.
    - Rows of a batch may differ; the official code takes one row.
    - Its mode "random" isn't here: it draws from the text, too. `strategy=random strategy.k=15` is a control.
    - Labels are refused: the method is defined for inference.

    Attributes:
        k: K, the layers that see the image; 1 to the model's depth. None: what the preset says, or 15 of 32
            layers, scaled to the depth.
        recipe: a recipe's file, or the name of a shipped one, which gives K for one model.
        positions: "keep", text keeps its position ids, the official default; "renumber", it closes the gap,
            in decoding from layer K on as well.
        preset: None, or one of `presets`: the mean over 32 layers that is nearest to as many of 576 tokens:
            198, 126 and 72. The paper names none.
    """

    k: int | None = None
    recipe: str | None = None
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "vtw"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "VTW"
    paper: ClassVar[str] = "Lin et al., AAAI 2025, arXiv 2405.05803"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#A6761D", "dark": "#e0b86a", "marker": "v", "linestyle": "--", "order": 3
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("K={k}", "preset {preset}")
    ranks_by_attention: ClassVar[bool] = False
    solved_fields: ClassVar[tuple[str, ...]] = ("k", "recipe", "preset")
    recipe_fields: ClassVar[tuple[str, ...]] = ("k",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"192": {"k": 11}, "128": {"k": 7}, "64": {"k": 4}}
    layer_field: ClassVar[str] = "k"
    one_layer: ClassVar[bool] = True
    paper_layers: ClassVar[tuple[int, ...]] = (15,)

    def __post_init__(self) -> None:
        self.prepare({"k": None})
        check_positions(self.positions)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the one drop, before layer K."""
        return (Drop(layer=self.layers_of(num_layers)[0]),)

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return 0."""
        return (0,)

    def rank(self, context: SelectionContext) -> "Tensor":
        """Return zeros [b, n]: no image token is better than another."""
        import torch

        return torch.zeros(context.image.shape, device=context.image.device)

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return the withdrawal; a budget decides after how many layers."""
        return [Layout(partial(_after, cls, num_layers, fields), empties=True)]


def _after(cls: type[VTW], num_layers: int, fields: dict[str, Any], share: float) -> VTW:
    """Withdraw after a share of the layers, at least one."""
    return cls(k=max(1, int(share * num_layers + 1e-9)), **fields)
