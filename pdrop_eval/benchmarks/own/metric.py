"""What a metric for the user's own data is. Needs no torch and no lmms-eval until it scores."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pdrop_eval.benchmarks.own.rows import Row

SHORT = "\nAnswer the question using a single word or phrase."  # as lmms-eval asks for GQA and others
LETTER = "\nAnswer with the option's letter from the given choices directly."  # as for ScienceQA


class OwnMetric:
    """A metric: how an answer is scored, and what it is asked for with.

    A new one is a subclass, in `metrics/<name>.py`, with its function `process_results` for lmms-eval.

    Attributes:
        shown: Its name in tables.
        scoring: The rule that makes the score of all questions, of `benchmarks.scoring.rules`.
        prompt_ending: What stands behind a question, unless the user gives another.
        max_new_tokens: The longest answer, unless the user gives another.
        options: Whether the question is asked with its choices.
    """

    name: ClassVar[str]
    shown: ClassVar[str]
    scoring: ClassVar[str] = "mean"
    prompt_ending: ClassVar[str] = SHORT
    max_new_tokens: ClassVar[int] = 16
    options: ClassVar[bool] = False

    def fault(self, row: Row) -> str | None:
        """Why it can't score a row, in words after "line 3: "; None if it can."""
        return None

    def fault_of_all(self, rows: Sequence[Row]) -> str | None:
        """Why it is the wrong one for all rows together, in words; None if it isn't."""
        return None

    def targets(self, answers: Sequence[str], choices: Sequence[str]) -> tuple[str, ...]:
        """The right answers as they are stored and scored."""
        return tuple(answers)

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """What an answer earns, 0 to 1.

        Args:
            answer: The model's.
            doc: The stored row: its `answers`, as `targets` gave them, and its `choices`.
        """
        raise NotImplementedError

    def process_results(self, doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
        """As lmms-eval calls it for each question."""
        return {self.name: float(self.score(results[0], doc))}


def letters(count: int) -> list[str]:
    """The letters of so many choices."""
    return [chr(ord("A") + place) for place in range(count)]
