"""The scoring rules by name. A rule is a file of this folder, `<name>.py`, with one class.

A rule is imported by its name, when a task has it: a new or a changed one makes no record of other tasks
stale.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.benchmarks.scoring.metric import Metric


def rule_names() -> list[str]:
    """The rules that there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def rule_module(name: str) -> str:
    """The module of a rule. Raises UserError for one that there isn't."""
    check_choice("scoring", name, rule_names())
    return f"{__name__}.{name}"


@cache
def scoring_rule(name: str) -> "Metric":
    """The rule of a name; this needs numpy. Raises UserError for one that there isn't."""
    classes = vars(import_module(rule_module(name))).values()
    [rule] = [kind for kind in classes if isinstance(kind, type) and getattr(kind, "name", None) == name]
    made: Metric = rule()
    return made
