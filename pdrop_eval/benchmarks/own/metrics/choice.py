"""One of several choices, by its letter."""

from collections.abc import Sequence
from typing import Any

from pdrop_eval.benchmarks.own.metric import LETTER, OwnMetric, letters
from pdrop_eval.benchmarks.own.rows import Row

_MOST = 26


class Choice(OwnMetric):
    """The letter of the right choice, as lmms-eval finds it in an answer; or the choice's own words."""

    name = "choice"
    shown = "choice"
    prompt_ending = LETTER
    options = True

    def fault(self, row: Row) -> str | None:
        """See `OwnMetric.fault`."""
        of_choices = _fault_of(row.choices)
        if of_choices:
            return of_choices
        for answer in row.answers:
            found = _places(answer, row.choices)
            last = letters(len(row.choices))[-1]
            if not found:
                known = ", ".join(map(repr, row.choices))
                return f"the answer {answer!r} is none of its choices: {known}, or a letter up to {last}"
            if len(found) > 1:
                one, other = (letters(place + 1)[-1] for place in found)
                return (
                    f"the answer {answer!r} is choice {one} by its text and choice {other} by its letter; "
                    "write choices that are no letters of others"
                )
        return None

    def targets(self, answers: Sequence[str], choices: Sequence[str]) -> tuple[str, ...]:
        """See `OwnMetric.targets`: the letters."""
        return tuple(letters(_places(answer, choices)[0] + 1)[-1] for answer in answers)

    def score(self, answer: str, doc: dict[str, Any]) -> float:
        """See `OwnMetric.score`."""
        from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer

        known = letters(len(doc["choices"]))
        said = answer.strip().strip(".").strip().casefold()
        texts = [choice.strip().strip(".").strip().casefold() for choice in doc["choices"]]
        if said.upper() in known:
            found = said.upper()
        elif said in texts:
            found = known[texts.index(said)]
        else:
            found = extract_mcq_answer(answer, choices=known)
        return float(found in doc["answers"])


def _fault_of(choices: Sequence[str]) -> str | None:
    if not choices:
        return "it has no choices, and choice asks for one of them; give choices, a list of texts"
    if not 2 <= len(choices) <= _MOST:
        return f"it has {len(choices)} choice{'s' * (len(choices) > 1)}; give 2 to {_MOST}"
    twice = next((one for one in choices if choices.count(one) > 1), None)
    if not all(choices) or twice:
        return f"its choices have {twice!r} twice" if twice else "one of its choices is empty"
    return None


def _places(answer: str, choices: Sequence[str]) -> list[int]:
    """The choices that an answer names, by its text and by its letter: one, if it is clear."""
    known = letters(len(choices))
    by_text = [place for place, choice in enumerate(choices) if choice == answer]
    by_letter = [known.index(answer.upper())] if len(answer) == 1 and answer.upper() in known else []
    return list(dict.fromkeys([*by_text, *by_letter]))


process_results = Choice().process_results
