"""How many image tokens each drop retains, on the device: one upload for all drops where they are known."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pdrop_eval.engine.stages.ops import on_device


class RetainedCounts:
    """The counts of one prefill.

    On a GPU an upload for each drop would be a wait for each; a strategy that says ahead what it retains has
    all of them uploaded at the first drop.

    Args:
        selector: the strategy.
        num_layers: the model's depth.
        images: per row, the image tokens before any drop.
        droppable: per row, whether it may lose tokens.
    """

    def __init__(
        self, selector: Any, num_layers: int, images: Sequence[int], droppable: Sequence[bool]
    ) -> None:
        self._asked = selector, num_layers, images, droppable
        self._known: list[tuple[list[int], Tensor]] | None = None

    def on(self, device: Any, counts: list[int]) -> Tensor:
        """Return counts [b] on a device."""
        if device.type == "cpu":
            return on_device(counts, device)
        if self._known is None:
            ahead = _ahead(*self._asked)
            self._known = list(zip(ahead, on_device(ahead, device), strict=True)) if ahead else []
        for known, there in self._known:
            if known == counts:
                return there
        return on_device(counts, device)


def _ahead(
    selector: Any, num_layers: int, images: Sequence[int], droppable: Sequence[bool]
) -> list[list[int]]:
    """Return the counts of each drop, as far as the strategy says them before it has looked at anything."""
    try:
        rows = [
            selector.retained(num_layers, n) if free else None
            for n, free in zip(images, droppable, strict=True)
        ]
    except Exception:  # what is wrong is told where the drop asks
        return []
    drops = max((len(row) for row in rows if row is not None), default=0)
    found: list[list[int]] = []
    alive = list(images)
    for drop in range(drops):
        alive = [
            have if row is None else min(int(row[drop]), have) for row, have in zip(rows, alive, strict=True)
        ]
        found.append(alive)
    return found
