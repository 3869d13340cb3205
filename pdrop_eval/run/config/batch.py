"""The size of the batches of a table's runs."""

from collections.abc import Sequence

from pdrop_eval.utils.batch_setting import FIXED_BATCH, is_exact


def fixed_batch(overrides: Sequence[str]) -> list[str]:
    """Return the override by which all runs of a table have batches of one size; none where none is needed.

    Where answers may depend on the batch, as on a GPU, `batch_size=auto` would halve it for the strategies
    that take more memory, and for these alone.

    Args:
        overrides: of a run; a size that they name stays, "auto" included.
    """
    named = dict(word.lstrip("+").split("=", 1) for word in overrides if "=" in word)
    exact = is_exact(named.get("device", "cpu"), named.get("dtype", "auto"))
    return [] if exact or "batch_size" in named else [f"batch_size={FIXED_BATCH}"]
