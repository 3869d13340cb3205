"""A table of anyone's: a row a question, with its id, the answer and what it earned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.run.importing.benchmarks import benchmark_of_task, check_asked, check_task, in_order, is_task
from pdrop_eval.run.importing.readers.files import TABLES, Placed, read_rows
from pdrop_eval.run.importing.source import (
    Row,
    Source,
    TaskRows,
    check_rows,
    folder_of,
    one_model,
    one_of_each,
    own_score,
    unit_score,
)
from pdrop_eval.utils.errors import UserError

# The columns, by what they may be called; a name's spaces and capitals don't count.
COLUMNS = {
    "doc_id": ("doc_id",),
    "question_id": ("question_id", "questionid", "id", "index"),
    "answer": ("answer", "prediction", "response", "output"),
    "score": ("score", "hit", "correct"),
    "question": ("question", "prompt"),
    "target": ("target", "label", "ground_truth", "reference"),
    "part": ("part", "category"),
    "image": ("image", "image_path", "image_id"),
    "task": ("task", "benchmark", "dataset"),
    "model": ("model",),
}
_LONGEST = 1024  # characters of a path
_DIGITS = 15  # of a number of a row


def read_table(path: str, asked: Sequence[str] | None) -> Source:
    """Return what a table holds, or the tables of a folder, each of one task.

    Args:
        path: A file, or a folder of them.
        asked: The tasks to take; of a table that names none, the one that it is of.

    Raises:
        UserError: There is no table, a column is missing, or a value isn't allowed.
    """
    root = folder_of(path)
    files = [root] if root.is_file() else sorted(f for f in root.iterdir() if f.suffix.lower() in TABLES)
    if not files:
        raise UserError(f"from={path} has no table: no file ends in {', '.join(TABLES)}.")
    for name in asked or ():
        check_task("task", name)
    placed: dict[str, list[tuple[Placed, Path]]] = {}
    homes: list[tuple[str, Path]] = []
    seen: list[str] = []
    models: list[tuple[str, Path]] = []
    for file in files:
        rows = [(place, _named(row)) for place, row in read_rows(file)]
        for task, found in _by_task(file, rows, asked, alone=len(files) == 1).items():
            seen.append(task)
            if asked is not None and task not in asked:
                continue
            homes.append((task, file))
            placed[task] = [(one, file.parent) for one in found]
        models += [(str(row["model"]), file) for _, row in rows if row.get("model") not in (None, "")]
    one_of_each(homes)
    check_asked(asked or (), dict.fromkeys(seen), "table")
    fix = "A record is of one model: give each a table of its own."
    return Source(
        [_task_rows(task, placed[task]) for task in in_order(placed)], files, one_model(models, fix)
    )


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the columns by our names; others stay."""
    plain = {
        str(name).strip().lower().replace(" ", "_").replace("-", "_"): value for name, value in row.items()
    }
    found = dict(plain)
    for ours, names in COLUMNS.items():
        known = next((name for name in names if name in plain), None)
        if known is not None:
            found[ours] = found.pop(known) if known != ours else plain[known]
    return found


def _by_task(
    file: Path, rows: Sequence[Placed], asked: Sequence[str] | None, alone: bool
) -> dict[str, list[Placed]]:
    """The rows of each task: by a column, by the file's name, or by what was asked for."""
    if not rows:
        raise UserError(f"{file} has no rows.")
    if _all_have("task", rows):
        found: dict[str, list[Placed]] = {}
        for place, row in rows:
            task = str(row["task"])
            check_task(f"task ({place})", task)
            found.setdefault(task, []).append((place, row))
        return found
    if asked and len(asked) == 1 and alone:
        return {asked[0]: list(rows)}
    task = file.stem
    if not is_task(task):
        fix = "A table says its task by a column `task`, by its file's name, or by tasks=[gqa]."
        check_task(f"task of {file.name}", task, fix)
    return {task: list(rows)}


def _all_have(column: str, rows: Sequence[Placed]) -> bool:
    """Whether the rows have a column. Raises UserError where only some do, as rows of JSON may."""
    lacking = [place for place, row in rows if column not in row]
    if lacking and len(lacking) < len(rows):
        raise UserError(
            f"{lacking[0]}: there is no {column}, and other rows have one. Give each row its own."
        )
    return not lacking


def _task_rows(task: str, placed: Sequence[tuple[Placed, Path]]) -> TaskRows:
    place, first = placed[0][0]
    there = ", ".join(first)
    rows_of = [one for one, _ in placed]
    named = [_all_have(column, rows_of) for column in ("doc_id", "question_id")]
    if not any(named):
        raise UserError(
            f"{place}: no column numbers the questions; there are {there}. Name one doc_id (the row in the "
            "benchmark's data, from 0) or question_id (any text, no value twice)."
        )
    if "score" not in first and "answer" not in first:
        raise UserError(f"{place}: there is no column of score or answer; there are {there}.")
    rows = [_row(task, one, folder) for one, folder in placed]
    check_rows(task, rows)
    by = "the table" if "score" in first else None
    return TaskRows(task, rows, None, by, "a table doesn't say how many questions there are")


def _row(task: str, placed: Placed, folder: Path) -> Row:
    place, found = placed
    read = own_score if benchmark_of_task(task).scoring == "own_mean" else unit_score
    images = found.get("image")
    pictures = str(images) if images not in (None, "") else None
    question = str(found["question"]) if found.get("question") not in (None, "") else None
    content, pixels = None, None
    if question and pictures and len(pictures) < _LONGEST:
        content, pixels = _hashes(question, folder / pictures)
    part = found.get("part")
    return Row(
        place=place,
        doc_id=_doc_id(found["doc_id"], place) if "doc_id" in found else None,
        question_id=_question_id(found, place),
        question=question,
        answer=None if found.get("answer") is None else str(found["answer"]),
        target=found.get("target"),
        score=read(found["score"], place) if "score" in found else None,
        doc={name: value for name, value in found.items() if name not in COLUMNS},
        part=None if part in (None, "") else str(part),
        pictures=pictures,
        images_sha256=pixels,
        content_sha256=content,
    )


def _doc_id(value: Any, place: str) -> int:
    digits = str(value).strip().removesuffix(".0")
    if not isinstance(value, bool) and digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS:
        return int(digits)
    raise UserError(
        f"{place}: the doc_id is {value!r}, no whole number from 0. Ids of another kind: name it question_id."
    )


def _question_id(found: Mapping[str, Any], place: str) -> str | None:
    if "question_id" not in found:
        return None
    value = found["question_id"]
    if value in (None, ""):
        raise UserError(f"{place}: the question has no id. Give each row one.")
    return str(value)


def _hashes(question: str, path: Path) -> tuple[str | None, str | None]:
    """The hashes of question and pixels, and of the pixels, as records have them; None if it is no file."""
    if not path.is_file():
        return None, None
    from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS
    from pdrop_eval.models.pictures.images import open_picture
    from pdrop_eval.utils.code.hashing import content_hashes

    try:
        return content_hashes(question, [open_picture(path)])
    except PICTURE_ERRORS as error:
        raise UserError(f"The picture {path} can't be read: {error}. Replace it, or leave it out.") from error
