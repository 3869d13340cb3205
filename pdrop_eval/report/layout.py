"""What Table 5 says, as sections of text and small tables of strings; `render` gives them a format."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdrop_eval.paths import PACKAGE
from pdrop_eval.report.published import CITATION
from pdrop_eval.report.table5 import BENCHMARKS, LABELS, Cell, Group, Row, published_groups

MISSING = "-"
DELTA = "Δ"
CHANGED = "*"
LAYERS = "Image tokens x layers"
RUN = "Run: "  # what follows it in a note is a command, kept whole


@dataclass
class Section:
    """A part of the report: what it is, its tables with their titles, and notes."""

    title: str
    text: list[str]
    tables: list[tuple[str, pd.DataFrame]]
    notes: list[str]


def sections(measured: list[Group]) -> list[Section]:
    """The whole report: a section for each measured model and suite, then the published table."""
    return [*map(_measured, measured), _published()]


def _measured(group: Group) -> Section:
    rows = [row for row in group.rows if row.run]
    text = [
        "Scores on the paper's scales: MME is a sum, the others run from 0 to 100. Avg is the mean with "
        f"MME / 20; {DELTA} is {LABELS['pdrop']} minus {LABELS['fastv']}, with MME / 20. "
        f"Settings: {_settings(rows)}",
        f"Questions: {_questions(rows)}",
        f"TFLOPs: {_values(rows, 'convention') or 'convention not recorded'}.",
    ]
    errors = (
        "Standard errors (Avg: the benchmarks taken as independent). Rows with the same questions are "
        f"paired: {DELTA} is then mostly more certain than the errors of the two rows suggest."
    )
    cost = (
        f"Cost of a question's image tokens: by the schedule, for {_values(rows, 'image_tokens') or '?'} of "
        "them, and the mean TFLOPs at those that the questions really had."
    )
    tables = [("Scores", scores_table(group)), (errors, errors_table(rows)), (cost, cost_table(rows))]
    notes = [*_run_notes(group), *_comparison_notes(rows), *_missing_notes(group)]
    return Section(f"Table 5, measured: {group.model} on suite {group.suite}", text, tables, notes)


def _published() -> Section:
    groups = published_groups()
    text = [
        f"Printed numbers of Table 5 of {CITATION}. TFLOPs: multiply-adds of the image tokens only (its "
        f"Eq. 4). Avg and {DELTA} are computed here by the rules above and agree with what is printed, but "
        f"for MMB-CN of LLaVA-NeXT-7B, where the paper prints {DELTA} +0.1."
    ]
    tables = [(group.model, scores_table(group)) for group in groups]
    return Section("Table 5, published (not measured here)", text, tables, [])


def scores_table(group: Group) -> pd.DataFrame:
    """Table 5 itself: TFLOPs, scores and average as text; a row a strategy, then the delta row."""
    rows = {
        _label(row): [
            _tflops(row.tflops),
            *(_score(row.cells.get(name)) for name in BENCHMARKS),
            _score(row.average),
        ]
        for row in group.rows
    }
    delta = group.delta
    rows[DELTA] = ["", *(_difference(delta.get(name)) for name in [*BENCHMARKS, "avg"])]
    return _table("Strategy", rows, ["TFLOPs", *BENCHMARKS.values(), "Avg"])


def errors_table(rows: list[Row]) -> pd.DataFrame:
    """The standard error of every score, and the number of questions behind it."""
    names = list(BENCHMARKS)
    table = {
        _label(row): [*(_stderr(row.cells.get(name)) for name in names), _stderr(row.average)] for row in rows
    }
    counts = {_label(row): [*(_count(row.cells.get(name)) for name in names), ""] for row in rows}
    shown = {tuple(values) for values in counts.values()}
    if len(shown) == 1:
        table["questions"] = next(iter(counts.values()))
    else:
        table |= {f"n {label}": values for label, values in counts.items()}
    return _table("± of", table, [*BENCHMARKS.values(), "Avg"])


def cost_table(rows: list[Row]) -> pd.DataFrame:
    """TFLOPs, by the schedule and as processed, KV cache and image tokens a layer."""
    table = {
        _label(row): [
            _tflops(row.tflops),
            _tflops(row.tflops_mean),
            _bytes(row.run.get("kv_cache_bytes")),
            _run_lengths(row.run.get("image_tokens_per_layer")),
        ]
        for row in rows
    }
    return _table("Strategy", table, ["TFLOPs", "TFLOPs mean", "KV cache", LAYERS])


def command(strategy: str, model: str, suite: str | None, limit: Any = None, changes: str = "") -> str:
    """The command that measures a row: `make` in a checkout, the console script elsewhere."""
    if (PACKAGE.parent / "Makefile").is_file():
        run, limit_name = f"make eval STRATEGY={strategy} MODEL={model} SUITE={suite}", "LIMIT"
        rest = f" ARGS='{changes}'" if changes else ""
    else:
        run, limit_name = f"pdrop-eval strategy={strategy} model={model} suite={suite}", "limit"
        rest = f" {changes}" if changes else ""
    return run + (f" {limit_name}={int(limit)}" if limit else "") + rest


def _table(corner: str, rows: dict[str, list[str]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis(corner).reset_index()


def _label(row: Row) -> str:
    return row.label + (CHANGED if row.run.get("limit") or row.run.get("changes") else "")


def _run_notes(group: Group) -> list[str]:
    notes = []
    for row in group.rows:
        if not row.run:
            continue
        described = _described(row.run)
        if described:
            notes.append(f"{_label(row)} was run with {described}.")
    records = [f"{row.label} {row.run['run_id']}" for row in group.rows if row.run]
    notes.append(f"Records: {', '.join(records)}.")
    if group.others:
        listed = [f"{run['run_id']} ({_described(run) or 'older or less complete'})" for run in group.others]
        notes.append(
            "Not shown, because the run nearest to the default configuration stands for its strategy: "
            f"{', '.join(listed)}."
        )
    return notes


def _described(run: dict[str, Any]) -> str:
    limit = f"limit={int(run['limit'])} (the first questions of each benchmark)" if run.get("limit") else ""
    return ", ".join(part for part in (limit, run.get("changes")) if part)


def _comparison_notes(rows: list[Row]) -> list[str]:
    if len(rows) < 2:
        return []
    names = ("checkpoint", "dtype", "batch_size", "seed", "commit")
    unlike = [name.replace("_", " ") for name in names if len({str(row.run.get(name)) for row in rows}) > 1]
    notes = [f"The rows differ in {', '.join(unlike)}: compare them with care."] if unlike else []
    first = rows[0]
    for row in rows[1:]:
        differ = Group.other_questions(first, row)
        if differ:
            which = "all" if set(differ) == first.cells.keys() & row.cells.keys() else _names(differ)
            notes.append(f"{first.label} and {row.label} answered other questions: {which} benchmarks.")
    return notes


def _missing_notes(group: Group) -> list[str]:
    limits = {row.run.get("limit") for row in group.rows if row.run}
    shared = limits.pop() if len(limits) == 1 else None  # so that the new row can be compared with the others
    notes = []
    for row in group.rows:
        missing = [name for name in BENCHMARKS if name not in row.cells]
        if missing:
            limit, changes = (row.run.get("limit"), row.run.get("changes") or "") if row.run else (shared, "")
            what = "" if len(missing) == len(BENCHMARKS) else f" {_names(missing)}"
            run = command(row.strategy, group.model, group.suite, limit, changes)
            notes.append(f"Not measured yet: {row.label}{what}. {RUN}{run}")
    return notes


def _settings(rows: list[Row]) -> str:
    checkpoint = ", ".join(
        sorted({str(row.run["checkpoint"])[:12] for row in rows if row.run.get("checkpoint")})
    )
    commits = sorted({_commit(row.run) for row in rows})
    parts = {
        "checkpoint": checkpoint,
        "dtype": _values(rows, "dtype"),
        "batch": _values(rows, "batch_size"),
        "seed": _values(rows, "seed"),
        "code": ", ".join(commits),
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items() if value) + "."


def _questions(rows: list[Row]) -> str:
    sources = {row.run.get("source") for row in rows}
    if sources == {"rendered"}:
        return "rendered by this project in the form of the eight benchmarks; not the benchmarks themselves."
    if sources == {"hub"}:
        return "the benchmarks themselves, from the Hugging Face Hub."
    return f"from {_values(rows, 'source') or 'an unknown source'}."


def _commit(run: dict[str, Any]) -> str:
    commit = f" at {run['commit'][:10]}" if run.get("commit") else ""
    return f"{run.get('version') or 'unknown version'}{commit}{' with changes' if run.get('dirty') else ''}"


def _values(rows: Iterable[Row], name: str) -> str:
    values = {row.run[name] for row in rows if row.run.get(name) is not None}
    plain = {
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value) for value in values
    }
    return ", ".join(sorted(plain))


def _names(benchmarks: Iterable[str]) -> str:
    return ", ".join(BENCHMARKS[name] for name in benchmarks)


def _score(cell: Cell | None) -> str:
    return MISSING if cell is None else f"{cell.score:.1f}"


def _stderr(cell: Cell | None) -> str:
    return MISSING if cell is None or cell.stderr is None else f"{cell.stderr:.1f}"


def _count(cell: Cell | None) -> str:
    return MISSING if cell is None or cell.n is None else str(cell.n)


def _difference(value: float | None) -> str:
    if value is None:
        return MISSING
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text


def _tflops(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"


def _bytes(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.2f} MB"


def _run_lengths(tokens: Any) -> str:
    """`[144, 144, 72]` as `144 x2, 72 x1`."""
    if not isinstance(tokens, (list, tuple)):
        return MISSING
    runs: list[list[int]] = []
    for count in tokens:
        if runs and runs[-1][0] == count:
            runs[-1][1] += 1
        else:
            runs.append([count, 1])
    return ", ".join(f"{count} x{layers}" for count, layers in runs)
