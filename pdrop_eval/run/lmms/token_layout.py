"""Where a sample's image tokens lie, and which of them it retained, in the form of the records."""

from collections.abc import Sequence

from pdrop_eval.engine.interface import Drop
from pdrop_eval.engine.report import Report
from pdrop_eval.models.family import TokenLayout
from pdrop_eval.records.token_mask import pack


def placed(layout: TokenLayout | None, sizes: Sequence[tuple[int, int]], tokens: int) -> list[list] | None:
    """The grids of a sample as lists; None if it has other tokens: its processor does something else."""
    if layout is None:
        return None
    grids = layout.grids(sizes)
    return [grid.to_list() for grid in grids] if sum(grid.tokens for grid in grids) == tokens else None


def retained_of(report: Report, drops: Sequence[Drop]) -> list[list[list]]:
    """For each row of a prefill: for each drop, [its layer, the mask of the image tokens that remained]."""
    rows: list[list[list]] = [[] for _ in report.image_tokens]
    for drop, kept in zip(drops, report.retained, strict=True):
        for row, ids in enumerate(kept):
            flags = [False] * report.image_tokens[row]
            for token in ids.tolist():
                flags[token] = True
            rows[row].append([drop.layer, pack(flags)])
    return rows
