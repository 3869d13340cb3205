"""How far the building of a page is: only where someone looks, and only if it takes a while."""

from typing import Any

from tqdm import tqdm


def progress(title: str, total: int) -> Any:
    """A bar on standard error, to be used in `with`."""
    shape = "{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}]"
    return tqdm(total=total, desc=title, unit="", disable=None, leave=False, delay=1, bar_format=shape)
