"""Result files of VLMEvalKit: `<model>_<dataset>.xlsx` (or .tsv, .json), and what each question earned.

Its evaluation writes the rows again with what they earned: `..._<judge>_result.xlsx` with `hit` (multiple
choice), `..._auxmatch.xlsx` with `extracted` and `score` (yes or no). Those are taken where they are there.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdrop_eval.run.importing.benchmarks import benchmark_of_task, check_asked, in_order
from pdrop_eval.run.importing.readers.files import TABLES, Placed, read_rows
from pdrop_eval.run.importing.source import (
    Row,
    Source,
    TaskRows,
    check_rows,
    folder_of,
    one_model,
    one_of_each,
    unit_score,
)
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_finite_number, shortened

# Its names of data sets, with lmms-eval's tasks. Other editions, such as MMBench's V1.1, are other data.
DATASETS = {
    "MME": "mme", "POPE": "pope", "MMBench_DEV_EN": "mmbench_en_dev", "MMBench_DEV_CN": "mmbench_cn_dev",
    "SEEDBench_IMG": "seedbench", "MMStar": "mmstar", "DocVQA_VAL": "docvqa_val",
    "InfoVQA_VAL": "infovqa_val", "TextVQA_VAL": "textvqa_val", "ChartQA_TEST": "chartqa",
    "OCRVQA_TEST": "ocrvqa", "GQA_TestDev_Balanced": "gqa", "VizWiz": "vizwiz_vqa_val",
    "ScienceQA_TEST": "scienceqa_img", "AI2D_TEST": "ai2d", "RealWorldQA": "realworldqa",
}  # fmt: skip
_FAILED = "Failed to obtain answer"  # what it writes in the place of an answer
_BESIDE = ("_acc", "_score", "_rating", "_tmp", "_PREV", "_supp", "_checkpoint")  # of all questions together
_SCORES = ("hit", "score", "eval_score")
# Of short answers, `eval_score` is the mean of `eval_match` whatever its score is made of: a match with each
# right answer, and for these the distance from it, of which the smallest counts.
_MATCHES, _DISTANCES, _BEST = "eval_match", ("docvqa_val", "infovqa_val"), ("chartqa", "ocrvqa")
_LEAST = 0.5  # of 1 - distance: below, an answer earns nothing
_NUMPY = re.compile(r"np\.\w+\(([^()]*)\)")  # how Python writes NumPy's numbers
_PARTS = {"mme": ("category",), "pope": ("category",), "mmstar": ("l2-category", "l2_category")}
_EDITION = re.compile(r"_[A-Z0-9]*[A-Z][A-Z0-9]*(_|$)")  # MMBench_DEV_EN_V11, AI2D_TEST_NO_MASK, MME_CoT_TEST
# MME's score here is of perception alone, as in the paper; it has four categories beside those.
_LEFT_OUT = {"mme": {"code_reasoning", "commonsense_reasoning", "numerical_calculation", "text_translation"}}
_WITHOUT = re.compile(r"^(image|image_path)$")

Table = list[Placed]


def read_results(path: str, asked: Sequence[str] | None) -> Source:
    """Return what a folder or a file of results holds.

    Args:
        path: The folder of a model, or one of its files.
        asked: The tasks to take; None for all.

    Raises:
        UserError: There are no answers, not all, of a data set that isn't known, or of several models.
    """
    root = folder_of(path)
    named = [(*split, file) for file in _files(root) if (split := _split(file))]
    if not named:
        raise UserError(
            f"from={path} has no results of VLMEvalKit: no file is called <model>_<dataset>.xlsx, .tsv or "
            f".json. Data sets: {', '.join(DATASETS)}. For a table of your own: kind=table."
        )
    model = one_model(
        ((model, file) for model, *_, file in named),
        "A record is of one model: import the folder of each, with a name= of its own.",
    )
    groups: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for _, dataset, rest, file in named:
        groups[DATASETS[dataset]].append((rest, file))
    check_asked(asked or (), groups, "results")
    tasks = in_order(groups if asked is None else asked)
    found, files = [], []
    for task in tasks:
        rows, used = _task_rows(task, groups[task])
        found.append(rows)
        files += used
    return Source(found, files, model, None, {})


def _files(root: Path) -> list[Path]:
    """The tables, each once: the folder of a model has links to those of its newest evaluation."""
    inside = [root] if root.is_file() else sorted(root.rglob("*"))
    tables = [one.resolve() for one in inside if one.suffix.lower() in TABLES and one.is_file()]
    return list(dict.fromkeys(tables))


def _split(file: Path) -> tuple[str, str, str] | None:
    """The model, the data set and what else a name says; None for files of other things."""
    for dataset in sorted(DATASETS, key=len, reverse=True):
        model, middle, rest = file.stem.rpartition(f"_{dataset}")
        named = middle and model and (not rest or rest.startswith("_")) and not rest.endswith(_BESIDE)
        if named and not _EDITION.search(rest):
            return model, dataset, rest
    return None


def _task_rows(task: str, files: Sequence[tuple[str, Path]]) -> tuple[TaskRows, list[Path]]:
    """The rows of a data set: those with what they earned, where there are such."""
    answers = one_of_each((task, file) for rest, file in files if not rest).get(task)
    details = [file for rest, file in files if rest]
    tables = {file: read_rows(file) for file in details}
    scored = {file: table for file, table in tables.items() if table and _score_column(table)}
    if len(scored) > 1:
        raise UserError(
            f"There are two files of what each question of {task} earned: "
            f"{' and '.join(map(str, scored))}. Name the one to take: from=FILE."
        )
    file = next(iter(scored), answers)
    if file is None:
        raise UserError(f"{details[0]} has no column of {', '.join(_SCORES)}, and the answers aren't there.")
    table = scored.get(file) or read_rows(file)
    _check_whole(task, file, table, answers)
    column = _score_column(table)
    rows = _rows(task, table, column)
    check_rows(task, rows)
    by = f"VLMEvalKit ({column})" if column else None
    used = [one for one in dict.fromkeys([file, answers]) if one is not None]
    return TaskRows(task, rows, None, by, "VLMEvalKit doesn't write how many questions there are"), used


def _score_column(table: Table) -> str | None:
    columns = table[0][1] if table else {}
    return next((name for name in _SCORES if name in columns), None)


def _check_whole(task: str, file: Path, table: Table, answers: Path | None) -> None:
    """Refuses scores of fewer questions than were answered; MMBench's copies share their question's."""
    if answers is None or answers == file:
        return
    there = {str(row.get("index")) for _, row in table}
    asked = [str(row.get("index")) for _, row in read_rows(answers)]
    copies = benchmark_of_task(task).rule.copies
    lacking = [one for one in asked if one not in there and not (copies and _copied(one))]
    if lacking:
        raise UserError(
            f"{file} has {len(table)} scored questions and {answers} has {len(asked)} answers; index "
            f"{lacking[0]} is not among the former: the results are partial. Evaluate again."
        )


def _copied(index: str) -> bool:
    return index.isdigit() and int(index) >= 1_000_000


def _rows(task: str, table: Table, column: str | None) -> list[Row]:
    columns = table[0][1] if table else {}
    lacking = [name for name in ("index", "prediction") if name not in columns]
    if lacking:
        place = table[0][0] if table else "The table"
        raise UserError(
            f"{place}: there is no column {lacking[0]!r}. VLMEvalKit's results have index, question, answer "
            f"and prediction; these have {', '.join(columns) or 'none'}."
        )
    failed = [place for place, row in table if _FAILED in str(row["prediction"])]
    if failed:
        raise UserError(
            f"{failed[0]}: {len(failed)} of {len(table)} questions have no answer ({_FAILED!r}). A failure "
            "is no score: run VLMEvalKit with --reuse until all are answered."
        )
    left_out = _LEFT_OUT.get(task, set())
    kept = [(place, row) for place, row in table if str(row.get("category")) not in left_out]
    return [row for place, found in kept for row in _in_parts(task, _row(task, place, found, column))]


def _row(task: str, place: str, found: Mapping[str, Any], column: str | None) -> Row:
    extracted = found.get("extracted")
    said = _text(found["prediction"])
    path = found.get("image_path")
    return Row(
        place=place,
        question_id=str(found["index"]).removesuffix(".0"),
        question=_text(found.get("question")) or None,
        answer=said if extracted in (None, "") else str(extracted),
        said=None if extracted in (None, "") else said,
        target=_text(found["answer"]) if "answer" in found else None,
        score=None if column is None else _earned(task, place, found, column),
        doc={name: value for name, value in found.items() if not _WITHOUT.match(name)},
        pictures=str(path) if path not in (None, "") else None,
    )


def _earned(task: str, place: str, found: Mapping[str, Any], column: str) -> float:
    """What a question earned, as VLMEvalKit's own score counts it."""
    if column != "eval_score" or task not in (*_DISTANCES, *_BEST):
        return unit_score(found[column], place)
    matches = _numbers(found.get(_MATCHES))
    if not matches:
        raise UserError(
            f"{place}: {_MATCHES} is {shortened(found.get(_MATCHES))}, no list of numbers. VLMEvalKit's "
            f"{column} alone is a mean of distances or matches, and not what {task} scores. Have the answers "
            "scored: import the file without _results, with suite=<name>."
        )
    if task in _BEST:
        return unit_score(max(matches), place)
    near = unit_score(1 - min(matches), place)
    return near if near >= _LEAST else 0.0


def _numbers(value: Any) -> list[float]:
    """A list of numbers, as pandas writes it into a cell; empty for anything else."""
    try:
        found = ast.literal_eval(_NUMPY.sub(r"\1", value)) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    listed = found if isinstance(found, (list, tuple)) else [found]
    good = all(isinstance(one, bool) or is_finite_number(one) for one in listed)
    return [float(one) for one in listed] if good else []


def _in_parts(task: str, row: Row) -> list[Row]:
    """A row for each part that it counts for: POPE's names all categories that ask a question."""
    columns = (row.doc.get(name) for name in _PARTS.get(task, ()))
    named = str(next((value for value in columns if value not in (None, "")), ""))
    parts = [one.strip() for one in named.split(",")] if task == "pope" else [named]
    return [replace(row, part=part) for part in parts if part] or [row]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
