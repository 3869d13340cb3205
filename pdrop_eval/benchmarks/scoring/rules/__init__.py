"""The scoring rules by name. A rule is a file of this folder, `<name>.py`, with one class.

A rule is imported by its name, when a task has it: a new or a changed one makes no record of other tasks
stale.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pdrop_eval.benchmarks.scoring import PERCENT
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
def score_range(name: str) -> tuple[float, float]:
    """The lowest and the highest score of a rule, read from its file: this needs no numpy."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    lines = [line for node in tree.body if isinstance(node, ast.ClassDef) for line in node.body]
    for line in lines:
        if isinstance(line, ast.Assign) and "range" in [getattr(one, "id", None) for one in line.targets]:
            low, high = ast.literal_eval(line.value)
            return float(low), float(high)
    return PERCENT


@cache
def scoring_rule(name: str) -> "Metric":
    """The rule of a name; this needs numpy. Raises UserError for one that there isn't."""
    classes = vars(import_module(rule_module(name))).values()
    [rule] = [kind for kind in classes if isinstance(kind, type) and getattr(kind, "name", None) == name]
    made: Metric = rule()
    return made
