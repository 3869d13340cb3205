"""What computes the cells of a sweep: one file an engine, found by its name, imported when it is chosen.

An engine's file defines `ENGINE`, an instance of a subclass of `engines.base.Engine`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.run.sweep.engines.base import Engine

_NOT_ONE = ("__init__", "base")


def names() -> list[str]:
    """Return the engines that there are; `local` is the first."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_ONE)
    return sorted(found, key=lambda name: name != "local")


def engine_of(name: str) -> "Engine":
    """Return the engine of a name. Raises UserError for a name that there isn't."""
    check_choice("engine", name, names())
    found: Engine = import_module(f"{__name__}.{name}").ENGINE
    return found
