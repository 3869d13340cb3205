"""What a miniature is meant to reach, and how far it is from that: differences in points, with intervals."""

import math

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.benchmarks.rendered.suite import TASKS

NAMES = {task: by_task()[task].name for task in TASKS}
SHARES = (0.5, 0.1)
BLANK_IMAGE, CONSTANT = "blank image", "best constant answer"  # what settings are called
PYRAMID, POSITIONS_KEPT = "PyramidDrop, λ=0.5", "PyramidDrop, positions kept"
ABOVE, HALF_DEPTH, POSITIONS = 0.2, 0.03, 0.01


def dropped(share: float, depth: int) -> str:
    """What a setting is called that drops tokens at one depth."""
    return f"{share:.0%} after {depth} layer{'s' if depth > 1 else ''}"


def targets(measured: dict, right: dict, layers: int) -> dict[str, dict]:
    """What was aimed at: the aim, and the difference that was measured with its 95% interval, all in points.

    Args:
        measured: exact match by setting and task.
        right: whether each answer is, by setting and task.
        layers: of the decoder.
    """
    chance = {t: max(measured[BLANK_IMAGE][t], measured[CONSTANT][t]) for t in TASKS}
    lowest = min(TASKS, key=lambda task: measured["image"][task] - chance[task])
    least = max((BLANK_IMAGE, CONSTANT), key=lambda name: measured[name][lowest])
    margin = lost({lowest: right["image"][lowest]}, {lowest: right[least][lowest]})
    half = dropped(min(SHARES), layers // 2)
    found = {
        f"every task above a blank image and the best constant answer; the lowest is {NAMES[lowest]}": {
            "aim": f"at least {100 * ABOVE:.0f}",
            "points": margin,
            "is_met": margin[0] >= ABOVE,
        },
        f"cost of {half}": {
            "aim": f"under {100 * HALF_DEPTH:.0f}",
            "points": (cost := lost(right["image"], right[half])),
            "is_met": cost[0] < HALF_DEPTH,
        },
    }
    if POSITIONS_KEPT in right:
        cost = lost(right[POSITIONS_KEPT], right[PYRAMID])
        found["cost of renumbering under PyramidDrop"] = {
            "aim": f"within {100 * POSITIONS:.0f}",
            "points": cost,
            "is_met": abs(cost[0]) <= POSITIONS,
        }
    return found


def lost(before: dict[str, list[bool]], after: dict[str, list[bool]]) -> list[float]:
    """How much the mean over tasks falls, of the same questions, and the ends of its 95% interval."""
    import numpy as np

    falls = [np.subtract(before[t], after[t], dtype=float) for t in before]
    mean = float(np.mean([fall.mean() for fall in falls]))
    deviation = math.sqrt(sum(fall.var(ddof=1) / len(fall) for fall in falls)) / len(falls)
    return [mean, mean - 1.96 * deviation, mean + 1.96 * deviation]


def target_table(found: dict[str, dict]) -> str:
    """The targets as a Markdown table."""
    rows = ["| | aim | measured, 95% interval | |", "|---|---|---|---|"]
    for name, one in found.items():
        value, low, high = (100 * points for points in one["points"])
        met = "met" if one["is_met"] else "missed"
        rows.append(f"| {name} | {one['aim']} | {value:.1f} [{low:.1f}, {high:.1f}] | {met} |")
    return "\n".join(rows)
