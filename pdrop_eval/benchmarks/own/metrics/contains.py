"""The answer has a right one somewhere in it."""

from typing import Any

from pdrop_eval.benchmarks.own.metric import OwnMetric
from pdrop_eval.benchmarks.own.rows import Row


class Contains(OwnMetric):
    """lmms-eval's rule of OCRBench: 1 if a right answer stands anywhere in the model's, without case."""

    name = "contains"
    shown = "contains"
    prompt_ending = ""
    max_new_tokens = 128

    def fault(self, row: Row) -> str | None:
        """See `OwnMetric.fault`."""
        for answer in row.answers:
            if answer.lower() in ("yes", "no"):
                return (
                    f"the answer {answer!r} is part of other words (no: know, not), so that contains says "
                    "little; yes_no is made for it"
                )
            if len(answer) == 1 and answer.isascii():
                return (
                    f"the answer {answer!r} is part of most texts, so that contains says little; exact_match "
                    "is made for it"
                )
        return None

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.tasks.ocrbench.utils import ocrbench_process_results

        asked = {"dataset": "", "question_type": "", "answer": list(doc["answers"])}
        return float(ocrbench_process_results(asked, [answer])["ocrbench_accuracy"]["score"])


process_results = Contains().process_results
