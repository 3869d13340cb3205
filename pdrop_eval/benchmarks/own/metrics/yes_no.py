"""Yes or no."""

from typing import Any

from pdrop_eval.benchmarks.own.metric import OwnMetric
from pdrop_eval.benchmarks.own.rows import Row

_BOTH = ("yes", "no")


class YesNo(OwnMetric):
    """The answer begins with the right one of yes and no, as lmms-eval reads it for MME."""

    name = "yes_no"
    shown = "yes/no"

    def fault(self, row: Row) -> str | None:
        """See `OwnMetric.fault`."""
        if len(row.answers) > 1:
            return f"it has {len(row.answers)} answers, and yes_no takes one: yes or no"
        if row.answers[0].lower() not in _BOTH:
            return f"the answer {row.answers[0]!r} is neither yes nor no, as yes_no needs it"
        return None

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.tasks.mme.utils import parse_pred_ans

        return float(parse_pred_ans(answer) == doc["answers"][0].lower())


process_results = YesNo().process_results
