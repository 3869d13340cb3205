"""The 95% interval of a score, from its bootstrap standard error. Needs no numpy."""

# Half of a 95% interval is so many standard errors, if the score is about normally distributed.
WIDTH_95 = 1.96
# A standard error below this is that of equal values: zero, but for rounding.
_ZERO = 1e-9


def is_alike(stderr: float | None) -> bool:
    """Tell whether all that was drawn came out alike: a standard error of 0 is no certainty."""
    return stderr is not None and stderr < _ZERO


def half_width(stderr: float | None) -> float | None:
    """Return half the width of the 95% interval; None where the bootstrap can't see one."""
    return None if stderr is None or is_alike(stderr) else WIDTH_95 * stderr


def interval_95(
    value: float | None, stderr: float | None, low: float, high: float | None
) -> tuple[float, float] | None:
    """Return the 95% interval, cut at the ends of the scale; None where there is none.

    Args:
        value: the score.
        stderr: its standard error; None where it isn't known.
        low: the lower end of the scale.
        high: the upper end; None where the scale has none.
    """
    half = half_width(stderr)
    if value is None or half is None:
        return None
    top = value + half
    return max(value - half, low), top if high is None else min(top, high)
