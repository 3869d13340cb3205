"""Numbers of a comparison as they are printed, and the sentences that all outputs share."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.utils.numbers import NONE, difference, score

UNITS = "Scores on their own scales; differences and intervals in points of 0 to 100 (MME / 20)."
VERDICTS = {"passed": "Passed", "regressed": "Regressed", "not compared": "Could not compare"}
MEANINGS = {
    "difference": "candidate minus baseline, on the questions that both have answered.",
    "95% interval": "where the true difference lies, with 95% confidence, if these questions stand for many "
    "like them: each question is paired with itself, and what shares a picture is drawn together.",
    "adjusted": "the same for all benchmarks at once: with 95% confidence, none of these intervals is wrong.",
    "MDE": "the smallest difference that so many questions would have shown in 4 of 5 such comparisons. A "
    "smaller one can easily go unseen: no difference found is not the same as none.",
    "p": "how often a difference of this size would come about if it made no difference which run is which.",
    "p (Holm)": "the same after correction for looking at several benchmarks.",
    "gained / lost": "questions that only the candidate, and only the baseline, has right, with the exact "
    "McNemar test; only where an answer is right or wrong.",
    "agreement": "answers that are the same, letter by letter.",
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
    both = [
        ("model", *(side["model"]["name"] for side in (other, run))),
        ("suite", *((side["suite"] or {}).get("name") for side in (other, run))),
        ("limit", *("none" if side["limit"] is None else side["limit"] for side in (other, run))),
        ("", *(side["dtype"] for side in (other, run))),
        ("on", *(side["device"] for side in (other, run))),
    ]
    words = [f"{word} {one}" if one == two else f"{word} {one} / {two}" for word, one, two in both]
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
