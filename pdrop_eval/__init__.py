"""pdrop-eval: compare visual-token-dropping strategies for large vision-language models.

`from pdrop_eval import PyramidDrop`: each strategy's class is here, and is imported on first use, so that
`import pdrop_eval` costs nothing. `score`, too: it needs lmms-eval, which the strategies don't.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pdrop_eval.run.lmms.tasks.score_answers import score, score_folder
    from pdrop_eval.strategies.combine import Combine
    from pdrop_eval.strategies.fastv import FastV
    from pdrop_eval.strategies.pyramiddrop import PyramidDrop
    from pdrop_eval.strategies.vanilla import Vanilla
    from pdrop_eval.utils.errors import UserError

__all__ = ["Combine", "FastV", "PyramidDrop", "UserError", "Vanilla", "__version__", "score", "score_folder"]


def __getattr__(name: str):
    homes = _homes()
    if name in homes:
        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})


def _homes() -> dict[str, str]:
    """The module of each name that is imported on first use; no strategy is imported for it."""
    registry = import_module("pdrop_eval.strategies.registry")
    homes = {info.class_name: info.module for info in registry.installed().values()}
    return {
        **homes,
        "Combine": "pdrop_eval.strategies.combine",
        "PrefixCache": "pdrop_eval.engine.prefix.cache",
        "UserError": "pdrop_eval.utils.errors",
        **dict.fromkeys(("score", "score_folder"), "pdrop_eval.run.lmms.tasks.score_answers"),
    }
