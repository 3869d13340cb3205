"""The metrics for the user's own data, by name. One is a file of this folder, `<name>.py`, with one class."""

from functools import cache
from importlib import import_module
from pathlib import Path

from pdrop_eval.benchmarks.own.metric import OwnMetric
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice


def metric_names() -> list[str]:
    """The metrics that there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def metric_module(name: str) -> str:
    """The module of a metric."""
    return f"{__name__}.{name}"


@cache
def own_metric(name: str) -> OwnMetric:
    """The metric of a name. Raises UserError for one that there isn't."""
    if name is None:
        raise UserError(f"data.folder needs a metric: give data.metric=, one of {', '.join(metric_names())}.")
    check_choice("data.metric", name, metric_names(), "docs/own_data.md says what each one does.")
    classes = vars(import_module(metric_module(name))).values()
    [found] = [kind for kind in classes if isinstance(kind, type) and getattr(kind, "name", None) == name]
    made: OwnMetric = found()
    return made
