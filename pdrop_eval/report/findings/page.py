"""`results/training/findings.md`: what the records say of the paper's claims, in plain words.

Every sentence is chosen by the numbers; none is written for a certain result.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pdrop_eval.benchmarks.registry import benchmark_of, benchmarks
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.findings.models import standing, trained
from pdrop_eval.report.findings.questions import (
    QUESTIONS,
    Comparison,
    Question,
    answer,
    by_set,
    find,
    printed,
)
from pdrop_eval.report.formats.markdown import escaped
from pdrop_eval.report.formats.pipes import pipes
from pdrop_eval.report.paired.pairing import shown
from pdrop_eval.report.tables.notes import questions
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.utils.files import write_atomically, writing_to
from pdrop_eval.utils.presets import DEFAULT_SIZE
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.text import numbers

RUNS, PAGE = Path("results/runs"), Path("results/training/findings.md")
TITLE = "# The paper's claims, asked of the records"
_MADE = """Made by `make findings` from the evaluation records; no sentence here is written by hand. A
difference is one row's score minus another's, in points on the 0-to-100 scale (MME / 20), on the same
questions, with a 95% interval in brackets."""
_HOW = """## How the intervals were computed

As in `pdrop-eval-compare`: each question is paired with itself, and what belongs together is resampled
together (all questions about one picture; MME's pairs, within their category; the copies of a question). The
standard error is that of the benchmark's own score, whose rule is checked: for all questions it must give the
score of the record. Benchmarks about the same pictures are not taken as independent in the mean. [How often
these intervals hold the truth](../compare/coverage.md) was simulated. Of twenty intervals with nothing to
find, one excludes zero by chance: a single benchmark that does so among many is no finding. The intervals
say what other questions would change, not what another seed of the training would."""
_MINI = """## What the miniature can't show

- **One seed.** Another order of the data gives other weights and other scores; by how much was not measured,
  and no interval here includes it.
- **Few steps.** The lengths of the trainings are above; the paper's models saw hundreds of thousands of
  samples.
- **The start knows dropped tokens.** All members of the family go back to one model that had learned all its
  tasks already, and in most steps of the last two stages of that training random image tokens were left out.
  So the member that was trained without dropping begins with what the paper gives to the other one alone,
  from the first step of both phases; the two differ in the steps above.
- **Tokens alike.** A tile has 576 image tokens, and λ=0.5 leaves 72 of them in the last quarter of the
  layers, as in LLaVA-1.5-7B. But four tokens show what one cell of a rendered picture holds, and each was
  taught all of it, so that three of them can be left out: how much can be dropped of a photograph is not
  shown.
- **Where the attention comes from.** None was guided in the trainings of these members, nor in that of their
  start. But its first layers began as those of an earlier miniature, which was told in a part of its training
  which patches hold the answer. PDrop and FastV rank tokens by attention, so a part of what they find may be
  left from there.
- **Size.** 16 layers of width 128, rendered pictures and questions: these numbers are no evidence for or
  against the paper's claims about 7B models."""


def findings_page(found: Sequence[Comparison]) -> str:
    """The whole page."""
    parts = [TITLE, _MADE]
    if not found:
        parts.append(
            "**Nothing to compare yet:** no record is of a model that was trained with PDrop. `make family` "
            "trains the miniatures, `make experiment EXPERIMENT=table1` (to `table4`) evaluates them."
        )
    sets = by_set(found)
    for (size, suite), comparisons in sets.items():
        level = "##" if len(sets) == 1 else "###"
        if len(sets) > 1:
            parts.append(f"## Size {size}, suite {suite}")
        used = list({id(run): run for c in comparisons for run in c.runs or ()}.values())
        parts.append(f"Size {size}, suite {suite}. Questions: {questions(used)}" if used else "")
        parts += [trained(used), standing(used)]
        for number, question in enumerate(QUESTIONS, 1):
            asked = [c for c in comparisons if c.question is question]
            parts.append(f"{level} {number}. {question.title}")
            parts += _question(question, asked)
    parts.append(_HOW)
    if any(size == DEFAULT_SIZE for size, _ in sets):
        parts.append(_MINI)
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(found: Sequence[Comparison]) -> str:
    """The answers alone, as lists, for a page that links to this one. Empty if nothing can be compared."""
    lines = []
    for question in QUESTIONS:
        asked = [c for c in found if c.question is question and c.mean]
        if asked:
            lines += [f"**{question.title}**", "\n".join(f"- {_sentence(c)}" for c in asked)]
    return "\n\n".join(lines)


def _question(question: Question, asked: Sequence[Comparison]) -> list[str]:
    there = [comparison for comparison in asked if comparison.mean]
    parts = [f"{escaped(question.words)}."]
    if there:
        parts.append("\n".join(f"- {_sentence(comparison)}" for comparison in there))
        parts.append(_overall(question, there))
        parts.append(_each(there))
    parts += [text for comparison in there if (text := _cautions(comparison))]
    lost = [comparison for comparison in asked if not comparison.mean]
    if lost:
        parts.append(_missing(lost))
    return parts


def _sentence(comparison: Comparison) -> str:
    """One comparison's answer."""
    mean = comparison.mean
    assert mean is not None
    low, high = comparison.beyond(-1), comparison.beyond(1)
    single = [
        f"{word} in {', '.join(benchmark_of(key).name for key in keys)}"
        for word, keys in (("lower", low), ("higher", high))
        if keys
    ]
    count = len(comparison.by_benchmark)
    alone = "no interval of a single benchmark excludes zero"
    if single:
        alone = f"{' and '.join(single)} (intervals that exclude zero)"
    unfair = " **Not a fair comparison, see below.**" if comparison.unfair else ""
    return (
        f"**{escaped(comparison.name)}**: {answer(comparison.question, mean)}. Mean of {count} of the "
        f"{len(benchmarks())} benchmarks: {shown(mean)}, {mean.n:,} questions; {alone}.{unfair}"
    )


def _overall(question: Question, found: Sequence[Comparison]) -> str:
    """The means, with the averages of the paper's tables, and what the paper prints for its own models."""
    tables = [number for number in question.tables if any(number in c.averages for c in found)]
    heads = ["Model", "Mean of all", *(f"{TABLES[number].average} of Table {number}" for number in tables)]
    heads += ["The paper's 7B models"] if question.tables else []
    rows = []
    for comparison in found:
        assert comparison.mean is not None
        row = [escaped(comparison.name), shown(comparison.mean)]
        row += [shown(comparison.averages.get(number)) for number in tables]
        if question.tables:
            paper = [f"Table {n}: {numbers.difference(v)}" for n, v in printed(question, comparison.one)]
            row.append(", ".join(paper) or "not printed")
        rows.append(row)
    mixed = len({tuple(comparison.by_benchmark) for comparison in found}) > 1
    warning = "The lines have means of different benchmarks: don't compare them with each other."
    return "\n\n".join([pipes(heads, rows), *([warning] if mixed else [])])


def _each(found: Sequence[Comparison]) -> str:
    """A line a benchmark, a column a comparison."""
    keys = [key for key in benchmarks() if any(key in c.by_benchmark or key in c.skipped for c in found)]
    counts = {key: {c.by_benchmark[key].n for c in found if key in c.by_benchmark} for key in keys}
    rows = [
        [
            benchmark_of(key).name,
            " or ".join(f"{n:,}" for n in sorted(counts[key])) or numbers.NONE,
            *(shown(c.by_benchmark.get(key)) for c in found),
        ]
        for key in keys
    ]
    table = pipes(["Benchmark", "Questions", *(escaped(c.name) for c in found)], rows, {1})
    reasons: dict[tuple[str, str], list[str]] = {}
    for comparison in found:
        for key, reason in comparison.skipped.items():
            reasons.setdefault((benchmark_of(key).name, reason), []).append(comparison.name)
    notes = [
        f"- {name} isn't compared: {escaped(reason)}"
        + ("." if len(of) == len(found) else f" ({'; '.join(of)}).")
        for (name, reason), of in reasons.items()
    ]
    return "\n\n".join([table, "\n".join(notes)]) if notes else table


def _cautions(comparison: Comparison) -> str:
    """What stands against a comparison."""
    lines = []
    if comparison.unfair:
        lines.append(
            f"- **Not a fair comparison, {escaped(comparison.name)}**: beside their strategy, the trainings "
            f"differ in {escaped('; '.join(comparison.unfair))}. The difference is not the strategy's alone."
        )
    if comparison.settings:
        lines.append(
            f"- {escaped(comparison.name)}: the rows were not evaluated alike "
            f"({escaped(' '.join(comparison.settings))})."
        )
    return "\n".join(lines)


def _missing(lost: Sequence[Comparison]) -> str:
    """Comparisons that lack a row, and the commands for it."""
    names, commands, reasons = [], [], []
    for comparison in lost:
        for key, found in comparison.missing:
            text = f"{key.model}, {key.inferred} at inference" + (
                f" λ={key.ratio:g}" if key.ratio is not None else ""
            )
            needs = f" (needs {found.needs})" if found.needs else ""
            names.append(f"- Not measured yet: {escaped(text + needs)}.")
            commands += [found.command] if found.command else []
        if not comparison.missing:
            why = sorted(set(comparison.skipped.values())) or ["the rows have no benchmark in common"]
            reasons.append(f"- Not compared: {escaped(comparison.name)}: {escaped('; '.join(why))}.")
    listed = "\n".join(dict.fromkeys(names + reasons))
    if not commands:
        return listed
    return "\n".join([listed, "", "```sh", *dict.fromkeys(commands), "```"])


def main() -> None:
    """Read the records and write the page."""
    parser = argparse.ArgumentParser(description="Writes what the records say of training with PDrop.")
    parser.add_argument("--root", type=Path, default=RUNS, help="folder of the evaluation records")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    with ending("findings"):
        text = findings_page(find(to_runs(load_records(options.root))))
        with writing_to(options.out.parent):
            write_atomically(options.out, text)
        print(f"Written: {options.out}")


if __name__ == "__main__":
    main()
