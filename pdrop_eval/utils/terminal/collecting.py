"""How often Python looks for garbage: seldom while a command starts, and as usual once a model is there.

Importing torch and transformers makes a million objects that stay until the end: none of them is garbage.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = (50_000, 20, 100)  # new objects before a look, and looks before one among older ones
_usual: list[tuple[int, int, int]] = []  # the thresholds that `collect_as_usual` sets again


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for garbage seldom, until `collect_as_usual` is called or the end."""
    _usual[:] = [gc.get_threshold()]
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        collect_as_usual()


def collect_as_usual() -> None:
    """Look for garbage as often as usual from now on: tensors may be part of it."""
    if _usual:
        gc.set_threshold(*_usual.pop())
