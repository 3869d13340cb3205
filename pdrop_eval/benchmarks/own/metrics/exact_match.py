"""The answer is one of the right ones, letter by letter but for case and punctuation."""

import re
import string
from typing import Any

from pdrop_eval.benchmarks.own.metric import OwnMetric, letters
from pdrop_eval.benchmarks.own.rows import Row

# lmms-eval's GQA ignores all punctuation, which makes 3.5 of 35: what stands before a digit counts here,
# but for the commas of thousands.
_IGNORED = (r"(?<=\d),(?=\d{3}(?!\d))", rf"[{re.escape(string.punctuation)}](?!\d)")


class ExactMatch(OwnMetric):
    """lmms-eval's exact match: 1 if the answer is one of the right ones, without case and punctuation."""

    name = "exact_match"
    shown = "exact match"

    def fault(self, row: Row) -> str | None:
        """See `OwnMetric.fault`."""
        if row.choices and all(
            a.upper() in letters(len(row.choices)) and a not in row.choices for a in row.answers
        ):
            return (
                f"the answer {row.answers[0]!r} is the letter of a choice, and exact_match doesn't show "
                "the choices (choice does)"
            )
        bare = next((answer for answer in row.answers if not self._bare(answer).strip()), None)
        return f"the answer {bare!r} is punctuation only, which exact_match ignores" if bare else None

    @staticmethod
    def _bare(answer: str) -> str:
        for pattern in _IGNORED:
            answer = re.sub(pattern, "", answer)
        return answer

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.api.metrics import exact_match_hf_evaluate

        found = (
            exact_match_hf_evaluate([answer], [right], regexes_to_ignore=_IGNORED, ignore_case=True)
            for right in doc["answers"]
        )
        return max(float(one["exact_match"]) for one in found)


process_results = ExactMatch().process_results
