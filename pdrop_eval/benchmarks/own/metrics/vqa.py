"""How many of the people who were asked gave this answer: VQA accuracy."""

import string
from typing import Any

from pdrop_eval.benchmarks.own.metric import OwnMetric
from pdrop_eval.benchmarks.own.rows import Row

_FEWEST = 4  # answers of a question: with three, one that all of them gave earns 2/3
_DROPPED = ("a", "an", "the")


class Vqa(OwnMetric):
    """lmms-eval's VQA accuracy, as of TextVQA: 1 for an answer that four people gave, less for fewer."""

    name = "vqa"
    shown = "VQA accuracy"

    def fault(self, row: Row) -> str | None:
        """See `OwnMetric.fault`."""
        if len(row.answers) < _FEWEST:
            many = "one answer" if len(row.answers) == 1 else f"{len(row.answers)} answers"
            return (
                f"it has {many}, and vqa compares an answer with those of several people (usually 10, at "
                f"least {_FEWEST}, in answers): with fewer, none could earn 1"
            )
        bare = next(
            (one for one in row.answers if one.lower().strip(string.punctuation + " ") in ("", *_DROPPED)),
            None,
        )
        return f"the answer {bare!r} is an article or punctuation only, which vqa ignores" if bare else None

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.tasks.textvqa.utils import textvqa_process_results

        given = {"question_id": None, "answers": list(doc["answers"])}  # which the function changes
        return float(textvqa_process_results(given, [answer])["exact_match"])


process_results = Vqa().process_results
