"""HiRED: a budget for an image's tiles by an early layer, patches by a late one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.engine.before_decoder.interface import ImageView, Reduced
from pdrop_eval.models.towers.encoded import FIRST, Needs, TokenShape
from pdrop_eval.strategies.before import BeforeStrategy
from pdrop_eval.strategies.per_tile import seen_patches
from pdrop_eval.strategies.presets import check_preset, fill, shares
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number

if TYPE_CHECKING:
    from torch import Tensor

USUAL = 0.2  # of the official scripts


@dataclass
class HiRED(BeforeStrategy):
    """HiRED (Arif et al., AAAI 2025, arXiv 2408.10945, section 3).

    Of one tile, the patches stay to which the class token attends most in the layer whose output is taken,
    summed over heads. Of several, the overview has the share alpha of the budget; the others share the rest
    by how many of the overview's most attended patches, in the tower's first layer, are theirs.

    Source: hasanar1f/HiRED at 502d6dd, its fork of transformers: llava/modeling_llava.py (340-355) and
    llava_next/modeling_llava_next.py (490-560).

    Deliberate differences from the official code:

    - Each image is chosen from by itself; officially the first image's choice is the batch's.
    - Equal attention goes to the earlier patch; torch.topk promises nothing.

    Attributes:
        token_budget_rate: the share of all tiles' patches that is the budget, in (0, 1]; None: 0.2, or what
            the preset says. 1 keeps all.
        alpha: the overview's share of the budget, in [0, 1].
        official: of several tiles. True, as in the official code: the overview is cut into horizontal
            stripes, one a tile; rows and columns of the grid are taken for each other when it is stitched;
            and what was chosen on padding is lost, so that fewer tokens than the budget may be left. False,
            as the paper means it: each tile has its own region of the overview, the budget is shared out to
            the last token, and only patches that the model takes are chosen. Neither has newlines.
        preset: None, or one of `presets`: a number of tokens of LLaVA-1.5's 576, or `next_` and one of
            LLaVA-NeXT's 2,880.
    """

    token_budget_rate: float | None = None
    alpha: float = 0.5
    official: bool = True
    preset: str | None = None
    name: ClassVar[str] = "hired"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "HiRED"
    paper: ClassVar[str] = "Arif et al., AAAI 2025, arXiv 2408.10945"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#117A8B", "dark": "#8fd0f5", "marker": "o", "linestyle": ":", "order": 14
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("rate {token_budget_rate}", "α={alpha}")
    solved_fields: ClassVar[tuple[str, ...]] = ("token_budget_rate", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = shares("token_budget_rate")
    needs = Needs(attention=(FIRST, "features"), projected=True)

    def __post_init__(self) -> None:
        fill(self, {"token_budget_rate": USUAL})
        check_number("token_budget_rate", self.token_budget_rate, low=0, high=1)
        check_number("alpha", self.alpha, low=0, high=1)

    @property
    def rate(self) -> float:
        """The share of the patches that is the budget."""
        assert self.token_budget_rate is not None
        return self.token_budget_rate

    def retained_count(self, shape: TokenShape) -> int:
        """Return the budget; officially, several tiles may come out with fewer."""
        if shape.tiles == 1:
            return max(1, int(shape.patches * self.rate))
        overview, crops = budgets(shape.tiles, shape.patches, self.rate, self.alpha)
        return overview + (crops if self.official else min(crops, sum(shape.seen[1:])))

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse a rate that leaves no token, and a preset for other tiles."""
        check_preset(self, shape)
        patches = shape.tiles * shape.patches
        if int(patches * self.rate) < 1:
            raise UserError(
                f"token_budget_rate={self.rate} leaves none of an image's {patches} patches: use "
                f"{1 / patches:.4g} to 1."
            )

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> HiRED:
        """Return the rate whose budget is the count."""
        patches = shape.tiles * shape.patches
        # A hair more than the share, as the budget is rounded down.
        return cls(token_budget_rate=min(1.0, (count + 1e-6) / patches), **fields)

    def reduce(self, view: ImageView) -> Reduced:
        """Return the chosen patches of the tiles."""
        import torch

        scores = view.attention().sum(1)
        with torch.no_grad():
            if view.shape.tiles == 1:
                count = max(1, int(view.shape.patches * self.rate))
                return view.take_patches(top(scores, [count]), "official", scores)
            early = view.attention(FIRST)[0].sum(0)
            seen = None if self.official or view.grid is None else seen_patches(view, "packed")
            chosen = choose_in_tiles(early, scores, view, self.rate, self.alpha, seen)
            if not self.official:
                return view.take_patches(chosen, "official", scores)
            order = officially_packed(chosen, view.side, view.grid, view.image_size)
        source = view.where(*order.unbind(1))
        drawn = view.take_patches(chosen, "official", scores).scores
        return Reduced(view.projected[order[:, 0], order[:, 1]], source, drawn)


def budgets(tiles: int, patches: int, rate: float, alpha: float) -> tuple[int, int]:
    """Return the tokens of the overview, and those of all other tiles together."""
    total = int(tiles * patches * rate)
    overview = min(int(total * alpha), patches)
    return overview, min(total - overview, (tiles - 1) * patches)


def top(scores: Tensor, counts: list[int], seen: Tensor | None = None) -> Tensor:
    """Mark in each tile as many of the best patches as `counts` says; ties go to the earlier one.

    Args:
        scores: [P, N].
        counts: one a tile.
        seen: [P, N] bool, from which to choose; None: all.

    Returns:
        [P, N] bool.
    """
    import torch

    ranked = scores if seen is None else scores.masked_fill(~seen, -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    marked = torch.zeros_like(scores, dtype=torch.bool)
    for tile, count in enumerate(counts):
        marked[tile, order[tile, :count]] = True
    return marked


def choose_in_tiles(
    early: Tensor, scores: Tensor, view: ImageView, rate: float, alpha: float, seen: Tensor | None
) -> Tensor:
    """Mark the chosen patches [P, N] of an image with several tiles.

    Args:
        early: [N], the overview's attention in the first layer, summed over heads.
        scores: [P, N], attention in the layer whose output is taken, summed over heads.
        view: the image, whose grid is asked for only where `seen` is given.
        rate: the budget's share of all patches.
        alpha: the overview's share of the budget.
        seen: [P, N] bool, the patches that the model takes: the paper's way; None: the official code's.
    """
    import torch

    tiles, patches = scores.shape
    overview, crops = budgets(tiles, patches, rate, alpha)
    marked = top(early[None], [int(patches * (1 - alpha))])[0]
    if seen is None:
        shares = stripe_shares(marked, tiles - 1, crops)
        return top(scores, [overview, *(min(share, patches) for share in shares)])
    assert view.grid is not None
    owner = regions(view, seen)
    marks = torch.bincount(owner[marked], minlength=tiles)[1:].tolist()
    room = seen.sum(1)[1:].tolist()
    return top(scores, [overview, *shared_out(marks, room, min(crops, sum(room)))], seen)


def stripe_shares(marked: Tensor, tiles: int, budget: int) -> list[int]:
    """Return the tiles' shares by the marks [N] in as many consecutive runs; the remainder is lost."""
    n, total = len(marked), int(marked.sum())
    run = n // tiles
    runs = [marked[i * run : (i + 1) * run if i < tiles - 1 else n] for i in range(tiles)]
    return [int(int(own.sum()) / total * budget) if total else 0 for own in runs]


def shared_out(marks: list[int], room: list[int], budget: int) -> list[int]:
    """Share a budget out by marks to the last token, no tile getting more than it has room for."""
    total = sum(marks)
    wanted = [budget * mark / total if total else budget / len(marks) for mark in marks]
    shares = [min(int(want), most) for want, most in zip(wanted, room, strict=True)]
    while (left := budget - sum(shares)) > 0:
        open_ = [i for i, share in enumerate(shares) if share < room[i]]
        # Those that fall shortest of their part come first, and of equals the earlier.
        for i in sorted(open_, key=lambda i: shares[i] - wanted[i])[:left]:
            shares[i] += 1
    return shares


def regions(view: ImageView, seen: Tensor) -> Tensor:
    """Return [N]: the tile behind the overview on which the middle of each of the overview's patches lies.

    Args:
        view: the image; its overview shows the part of the grid that isn't padding.
        seen: [P, N] bool, the patches that the model takes.
    """
    import torch

    assert view.grid is not None
    (down, across), (rows, columns) = view.grid, view.side
    order = view.stitched()
    whole = seen[order[:, 0], order[:, 1]].view(down * rows, across * columns).cpu()
    inner_rows, inner_columns = whole.any(1).nonzero().flatten(), whole.any(0).nonzero().flatten()
    row = inner_rows[0] + ((torch.arange(rows) + 0.5) / rows * len(inner_rows)).long()
    column = inner_columns[0] + ((torch.arange(columns) + 0.5) / columns * len(inner_columns)).long()
    tile = 1 + (row // rows)[:, None] * across + column // columns
    return tile.flatten().to(seen.device)


def officially_packed(
    chosen: Tensor,
    side: tuple[int, int],
    grid: tuple[int, int] | None,
    image_size: tuple[int, int] | None,
) -> Tensor:
    """Return [T, 2]: tile and patch of the chosen [P, N] in the official order.

    The overview comes first; then the tiles, stitched with rows and columns of the grid taken for each other,
    and unpadded as if they were right.
    """
    import torch

    from pdrop_eval.engine.stages.ops import on_device

    overview = chosen[0].nonzero()
    overview = torch.cat((torch.zeros_like(overview), overview), dim=1)
    if grid is None or image_size is None:
        rest = chosen[1:].nonzero() + on_device([1, 0], chosen.device)
        return torch.cat((overview, rest))
    (across, down), (rows, columns) = grid, side
    numbers = torch.arange(across * down * rows * columns, device=chosen.device)
    whole = (
        numbers.view(down, across, rows, columns).permute(0, 2, 1, 3).reshape(down * rows, across * columns)
    )
    order = unpadded(whole, image_size).flatten()
    order = torch.stack((1 + order // (rows * columns), order % (rows * columns)), dim=1)
    return torch.cat((overview, order[chosen[order[:, 0], order[:, 1]]]))


def unpadded(whole: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Cut the padding off a grid of patches [rows, columns], as LLaVA-NeXT does for an image's size."""
    (height, width), (rows, columns) = image_size, whole.shape
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return whole[padding : rows - padding]
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return whole[:, padding : columns - padding]
