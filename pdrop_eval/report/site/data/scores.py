"""The scores of all runs in a file of their own: an index was nearly all scores, and its tables need none."""

from collections.abc import Mapping
from typing import Any


def apart(index: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an index without its runs' scores, and these: lists of values, by run and benchmark.

    Args:
        index: With `runs`, each with `scores`: by benchmark, all with the same fields.
    """
    every = [score for run in index["runs"] for score in run["scores"].values()]
    fields = list(every[0]) if every else []
    runs = [{name: value for name, value in run.items() if name != "scores"} for run in index["runs"]]
    scores = {
        run["key"]: {key: [score[name] for name in fields] for key, score in run["scores"].items()}
        for run in index["runs"]
    }
    return {**index, "runs": runs}, {"fields": fields, "runs": scores}
