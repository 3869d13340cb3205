"""Numbers of a comparison as they are printed, and the sentences that all outputs share."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.utils.text.numbers import NONE, difference, score

UNITS = "Scores on their own scales; differences and intervals in points of 0 to 100 (MME / 20)."
VERDICTS = {"passed": "Passed", "regressed": "Regressed", "not compared": "Could not compare"}
MEANINGS = {
    "difference": "candidate minus baseline, on the questions that both answered.",
    "95% interval": "contains the true difference with 95% confidence, if these questions represent all such "
    "questions. Each question is paired with itself, and questions about one picture count together.",
    "adjusted": "the same for all benchmarks together: with 95% confidence, all of these intervals hold.",
    "MDE": "minimum detectable effect: the smallest difference that 4 of 5 such comparisons would detect. "
    "Smaller ones are easily missed: no difference found is not the same as no difference.",
    "p": "how often a random exchange of the two runs' answers gives a difference this large.",
    "p (Holm)": "the same, corrected for the number of benchmarks.",
    "gained / lost": "questions that only the candidate, and only the baseline, answers rightly, with "
    "McNemar's exact test; only where an answer is right or wrong.",
    "agreement": "the share of identical answers.",
    "relative": "the mean over benchmarks of candidate divided by baseline.",
}


def interval(ends: Sequence[float] | None) -> str:
    """Both ends with signs."""
    return NONE if ends is None else f"{difference(ends[0])} to {difference(ends[1])}"


def percent(value: float | None, places: int = 1) -> str:
    """A number of percent."""
    return NONE if value is None else f"{value:.{places}f}%"


def probability(value: float | None) -> str:
    """With three decimals."""
    return NONE if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def points(value: float | None) -> str:
    """A size without a sign; nothing on a scale to 100 can differ by more."""
    return ">100" if value is not None and value > 100 else score(value)


def mcnemar(found: Mapping[str, Any] | None) -> str:
    """Gained and lost questions with the test's p."""
    return NONE if not found else f"{found['gained']} / {found['lost']} ({probability(found['p'])})"


def setting(document: Mapping[str, Any]) -> str:
    """On what both runs were compared, in one line."""
    run = document["runs"]["candidate"]
    other = document["runs"]["baseline"]
    subsets = [side.get("subset") for side in (other, run)]
    both = [
        ("model", *(side["model"]["name"] for side in (other, run))),
        ("suite", *((side["suite"] or {}).get("name") for side in (other, run))),
        ("limit", *("none" if side["limit"] is None else side["limit"] for side in (other, run))),
        *([("subset", *(one or "none" for one in subsets))] if any(subsets) else []),
        ("", *(side["dtype"] for side in (other, run))),
        ("on", *(side["device"] for side in (other, run))),
    ]
    both = [(word, *sides) for word, *sides in both if sides != [None, None]]
    known = [(word, *("unknown" if side is None else side for side in sides)) for word, *sides in both]
    words = [f"{word} {one}" if one == two else f"{word} {one} / {two}" for word, one, two in known]
    return ", ".join(text.strip() for text in words)


def groups(found: Mapping[str, Any]) -> str:
    """VTC-Bench's groups over all benchmarks."""
    hard, easy = found["hard"], found["easy"]
    if not hard["n"]:
        return (
            f"No question that the baseline has right is wrong on images shrunk by {found['factor']}: none "
            "is hard. Are they still as large as what the model looks at? Try a larger factor."
        )
    return (
        f"Of the questions that the baseline has right, {hard['n']} are hard (wrong on images shrunk by "
        f"{found['factor']}): the candidate has {percent(hard['candidate'])} of them right. {easy['n']} are "
        f"easy (right on both): {percent(easy['candidate'])}. {found['neither']} are in neither group."
    )


def changes(document: Mapping[str, Any]) -> str:
    """How many answers changed."""
    changed = sum(one["changed"] for one in document["benchmarks"])
    questions = sum(one["n"] for one in document["benchmarks"])
    return f"{changed:,} of {questions:,} answers changed"
