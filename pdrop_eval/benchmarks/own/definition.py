"""What records and reports know of a user's own benchmark."""

from typing import Any

from pdrop_eval.benchmarks.own.metrics import own_metric
from pdrop_eval.utils import definitions

SPLIT = "test"
GROUP = "group"  # the column of what is resampled together
SCALE = "percent_of_one"


def own_definition(name: str, metric: str) -> dict[str, str]:
    """The fields of a benchmark that a record has as `definition`."""
    return {
        "name": name,
        "split": SPLIT,
        "scale": SCALE,
        "direction": "higher",
        "scoring": own_metric(metric).scoring,
        "cluster": GROUP,
        "why": "These are questions of the user's own.",
    }


def remember_own(name: str, metric: str) -> None:
    """Lets the reports of this process know the benchmark before a record of it is read."""
    said: dict[str, Any] = {"task": name, "metric": metric, **own_definition(name, metric)}
    definitions.remember(name, said)
