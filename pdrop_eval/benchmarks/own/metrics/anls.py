"""How near the answer is to a right one, by the letters that differ: ANLS of DocVQA."""

from typing import Any

from pdrop_eval.benchmarks.own.metric import OwnMetric


class Anls(OwnMetric):
    """lmms-eval's ANLS: 1 minus the share of letters that differ from the nearest answer; below 0.5, 0."""

    name = "anls"
    shown = "ANLS"
    max_new_tokens = 32

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.api.metrics import anls

        return float(anls(references=list(doc["answers"]), predictions=[answer])["anls"])


process_results = Anls().process_results
