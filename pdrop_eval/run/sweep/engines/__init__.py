"""What computes the cells of a sweep: one file an engine, found by its name, imported when it is chosen.

An engine's file defines `ENGINE`, an instance of a subclass of `engines.base.Engine`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.run.sweep.engines.base import Engine

_DEFINES = "\nENGINE = "


def names() -> list[str]:
    """Return the engines that there are; `local` is the first."""
    files = Path(__file__).parent.glob("*.py")
    found = [path.stem for path in files if _DEFINES in path.read_text(encoding="utf-8")]
    return sorted(found, key=lambda name: (name != "local", name))


def engine_of(name: str) -> "Engine":
    """Return the engine of a name. Raises UserError for a name that there isn't."""
    check_choice("engine", name, names())
    found: Engine = import_module(f"{__name__}.{name}").ENGINE
    return found
