"""How many questions run together where that may decide an answer."""

# So that answers don't depend on the machine's memory, too.
FIXED_BATCH = 8


def is_exact(device: str, dtype: str | None) -> bool:
    """Return whether an answer doesn't depend on what else is in its batch."""
    return device.partition(":")[0] == "cpu" and dtype in ("float32", "auto")
