"""Numbers may be 5% off: relaxed accuracy of ChartQA."""

import math
import re
from collections.abc import Sequence
from typing import Any

from pdrop_eval.benchmarks.own.metric import OwnMetric
from pdrop_eval.benchmarks.own.rows import Row

# A number that lmms-eval's function reads as a text, such as 1,234 or $5.
_DRESSED = re.compile(r"[-+]?[$€£¥]?\s?[-+]?\d[\d,' ]*(\.\d+)?\s?[%$€£¥]?")


class Relaxed(OwnMetric):
    """lmms-eval's relaxed accuracy: a number may be 5% off, a text must match but for case."""

    name = "relaxed"
    shown = "relaxed"
    prompt_ending = "\nAnswer the question with a single word."  # as lmms-eval asks for ChartQA

    def fault(self, row: Row) -> str | None:
        """See `OwnMetric.fault`."""
        for answer in row.answers:
            number = number_of(answer)
            if number is None and _DRESSED.fullmatch(answer):
                return (
                    f"the answer {answer!r} is a number that relaxed reads as a text; write digits, a point "
                    "and % only"
                )
            if number is not None and not math.isfinite(number):
                return (
                    f"the answer {answer!r} is no finite number, so that no answer could be right by relaxed"
                )
        return None

    def fault_of_all(self, rows: Sequence[Row]) -> str | None:
        """See `OwnMetric.fault_of_all`."""
        if any(number_of(answer) is not None for row in rows for answer in row.answers):
            return None
        return "relaxed lets numbers be 5% off, and none of the answers is a number. Use exact_match or anls"

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.tasks.chartqa.utils import relaxed_correctness

        return float(any(relaxed_correctness(answer, right) for right in doc["answers"]))


def number_of(text: str) -> float | None:
    """The number that relaxed accuracy reads, 5% as 0.05; None for a text."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


process_results = Relaxed().process_results
