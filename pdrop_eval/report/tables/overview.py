"""All benchmarks of all measured runs in one table, also of those that belong to no table of the paper."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pdrop_eval.benchmarks.registry import benchmark_of, columns, names
from pdrop_eval.records.rows.alike import kind_words
from pdrop_eval.records.rows.run import Run, pick, unlike
from pdrop_eval.report.formats.grid import CHANGED, Band, Grid, Line, Note, Section, Shown
from pdrop_eval.report.tables.cells import JUDGE, measured_cell, shown_score
from pdrop_eval.report.tables.commands import command
from pdrop_eval.report.tables.csv_export import CELL, cell_columns, run_columns, write_csv
from pdrop_eval.report.tables.notes import LISTED, alike_notes, imported_notes, questions
from pdrop_eval.utils.text import numbers

TITLE = "Overview: all benchmarks of all runs"
# What the user has to say, for the benchmarks that a language model judges.
JUDGE_SETTINGS = ("judge.model=<name>",)


def overview(runs: list[Run]) -> list[Section]:
    """One section a suite; in it, a band a model and kind, and a line a strategy with its settings."""
    suites: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        suites[run.suite].append(run)
    return [_section(suite, suites[suite]) for suite in sorted(suites)]


def overview_sheet(runs: list[Run]) -> str:
    """The same as CSV, with every digit."""
    keys = columns(run.results for run in runs)
    heads = ["suite", "source", "model", "size", "strategy", *run_columns(runs[0])] if runs else []
    heads += [*keys, *(f"{key}_{name}" for key in keys for name in CELL)]
    lines = []
    for chosen in chosen_runs(runs)[0]:
        line: dict[str, Any] = {"suite": chosen.suite, "source": chosen.of("suite", "source")}
        line |= {
            "model": chosen.model,
            "size": chosen.size,
            "strategy": chosen.strategy,
            **run_columns(chosen),
        }
        for key in keys:
            line |= cell_columns(key, measured_cell(chosen, key))
        lines.append(line)
    return write_csv(heads, lines)


def _section(suite: str, runs: list[Run]) -> Section:
    chosen, left = chosen_runs(runs)
    keys = columns(run.results for run in chosen)
    unit = numbers.flops_unit([run.of("efficiency", "tflops") for run in chosen])
    bands: dict[str, Band] = {}
    for run in chosen:
        name = kind_of_model(run)
        bands.setdefault(name, Band(name, [])).lines.append(_line(run, unit, keys))
    heads = ["Strategy", unit, *names(keys).values(), "Record"]
    text = [
        f"Scores on the paper's scales: MME is a sum, the others run from 0 to 100.{_own(keys)} Intervals "
        "and numbers of questions are in overview.csv, and in overview.html under the pointer.",
        f"Questions: {questions(chosen)}",
    ]
    cells = [measured_cell(run, key) for run in chosen for key in keys]
    notes = [
        *_deviations(chosen),
        *alike_notes(cells),
        *_left(left),
        *imported_notes(chosen),
        *_homeless([run for run in chosen if not run.imported]),
        *_judges(chosen),
        *_judge(chosen, keys),
    ]
    return Section(
        f"{TITLE} on suite {suite}", text, [Grid("Scores", heads, list(bands.values()), left=True)], notes
    )


def _own(keys: Sequence[str]) -> str:
    """Which benchmarks have another scale than 0 to 100."""
    own = [benchmark_of(key).name for key in keys if benchmark_of(key).scale == "own"]
    return f" On a scale of their own, lmms-eval's: {', '.join(own)}." if own else ""


def chosen_runs(runs: list[Run]) -> tuple[list[Run], list[tuple[Run, Run]]]:
    """One run for each suite, model, kind, strategy and settings of it, in this order; the others with it."""
    grouped: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        place = (run.suite, run.model, *_kind(run), run.info.order, label_of(run))
        grouped[place].append(run)
    picked = [pick(grouped[key], columns(run.results for run in grouped[key])) for key in sorted(grouped)]
    return [run for run, _ in picked if run], [(one, run) for run, rest in picked if run for one in rest]


def _kind(run: Run) -> tuple[bool, int, str]:
    """Where a kind stands: the default, then those with a limit by its size, then other settings."""
    words = kind_words(run)
    return bool(words), run.limit or 0, words


def kind_of_model(run: Run) -> str:
    """The model, and how its rows were asked where that isn't the default."""
    return ", ".join(filter(None, [run.model, kind_words(run)]))


def label_of(run: Run) -> str:
    """The strategy with its settings, and with its seed where that isn't the default."""
    own = [change.removeprefix("strategy.") for change in run.schedule]
    seed = [change for change in run.deviations if change.startswith("seed=")]
    return " ".join([run.info.display_name, *own, *seed])


def _line(run: Run, unit: str, keys: Sequence[str]) -> Line:
    label = label_of(run) + (CHANGED if run.deviations else "")
    scores = [shown_score(measured_cell(run, key)) for key in keys]
    return Line(
        [Shown(label), Shown(numbers.flops(run.of("efficiency", "tflops"), unit)), *scores, Shown(run.id)]
    )


def _deviations(runs: list[Run]) -> list[Note]:
    return [Note(f"{CHANGED} {run.id}: {' '.join(run.deviations)}.") for run in runs if run.deviations]


def _left(left: list[tuple[Run, Run]]) -> list[Note]:
    if not left:
        return []
    more = f" and {len(left) - LISTED} more" if len(left) > LISTED else ""
    listed = ", ".join(f"{run.id} ({unlike(run, chosen)})" for run, chosen in left[:LISTED])
    return [Note(f"Not shown, because another run with the same settings is shown: {listed}{more}.")]


def _homeless(runs: list[Run]) -> list[Note]:
    """Models of which the records don't say enough for a row of the paper's tables."""
    fields = ("architecture", "patches", "train")
    lacking = [run for run in runs if not all(run.record["model"].get(field) for field in fields)]
    served = sorted({run.model for run in lacking if "server" in run.record})
    models = sorted({run.model for run in lacking if "server" not in run.record})
    notes = []
    if models:
        notes.append(
            f"In none of the paper's tables: {', '.join(models)}. Their records don't say architecture, "
            "patches or train; set them in conf/model/<name>.yaml."
        )
    if served:
        notes.append(
            f"Behind a server, which alone knows what it drops and what that costs: {', '.join(served)}. In "
            "none of the paper's tables."
        )
    return [Note(words) for words in notes]


def _judges(runs: list[Run]) -> list[Note]:
    """Who judged: scores of different judges do not compare."""
    found: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for key, entry in run.results.items():
            if entry.get("judge") and entry.get("score") is not None:
                found[f"{benchmark_of(key).name} was judged by {entry['judge'].get('model')}"].append(run.id)
    return [Note(f"{words}: {', '.join(ids)}.") for words, ids in found.items()]


def _judge(runs: list[Run], keys: Sequence[str]) -> list[Note]:
    waiting: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        for key in keys:
            if measured_cell(run, key).state == JUDGE:
                waiting[benchmark_of(key).name].append(run)
    return [
        Note(
            f"{name} needs a judge: a language model behind an OpenAI-compatible address (judge.base_url). "
            "The answers are stored; nothing is generated again.",
            [
                command(run.strategy, run.model, run.suite, [*_settings(run), *JUDGE_SETTINGS])
                for run in of_benchmark
            ],
        )
        for name, of_benchmark in waiting.items()
    ]


def _settings(run: Run) -> list[str]:
    return [*run.deviations, *run.schedule]
