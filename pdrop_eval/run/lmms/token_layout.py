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


def retained_of(report: Report, drops: Sequence[Drop], reduced: bool = False) -> list[list[list]]:
    """For each row of a prefill: for each drop, [its layer, the mask of the image tokens that remained].

    What a strategy before the decoder leaves is the drop at layer 0. Tokens that it made are in no mask: they
    are those by which `image_tokens_per_layer` is more.

    Args:
        report: of the prefill.
        drops: those in the decoder.
        reduced: whether a strategy before the decoder was there.
    """
    rows: list[list[list]] = [[] for _ in report.image_tokens]
    places = [(drop.layer, kept) for drop, kept in zip(drops, report.retained, strict=True)]
    if reduced:
        assert report.sources is not None
        places.insert(0, (0, report.sources))
    for layer, kept in places:
        for row, ids in enumerate(kept):
            flags = [False] * report.image_tokens[row]
            for token in ids.tolist():
                if token >= 0:
                    flags[token] = True
            rows[row].append([layer, pack(flags)])
    return rows
