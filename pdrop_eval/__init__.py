"""pdrop-eval: compare visual-token-dropping strategies for large vision-language models.

The names below are imported on first use, so that `import pdrop_eval` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pdrop_eval.strategies.fastv import FastV
    from pdrop_eval.strategies.pyramiddrop import PyramidDrop
    from pdrop_eval.strategies.vanilla import Vanilla
    from pdrop_eval.utils.errors import UserError

_HOME = {
    "FastV": "pdrop_eval.strategies.fastv",
    "PyramidDrop": "pdrop_eval.strategies.pyramiddrop",
    "UserError": "pdrop_eval.utils.errors",
    "Vanilla": "pdrop_eval.strategies.vanilla",
}
__all__ = ["FastV", "PyramidDrop", "UserError", "Vanilla", "__version__"]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
