"""Wrong data are found here, before a model is loaded. Raises UserError; needs no torch."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.read import batches, column_names, count_rows, rows
from pdrop_eval.utils.errors import UserError


def check_parquet(
    path: Path, columns: tuple[str, ...], unique: tuple[str, ...] = (), pairs: bool = False
) -> int:
    """The number of rows of a task's data file, after checking that it is readable and has its columns.

    No values of the columns `unique` may be there twice; in data without them, no row. Data of `pairs` have
    two questions about each image, as MME's score needs it.
    """
    if not path.is_file():
        raise UserError(
            f"The data file {path} is missing. Give a folder with one <task>.parquet each as data.root, or "
            "leave data.root=null and let the suite be rendered."
        )
    names = check_columns([path], [(name,) for name in columns])
    digests = row_digests([path])  # damage deep inside shows only when it is read
    check_gold([path], names)
    if pairs:
        check_pairs([path])
    if unique and {*names}.issuperset(unique):
        check_unique([path], unique, rows([path], unique))
    else:
        check_copies([path], digests)
    return len(digests)


def check_columns(paths: Sequence[Path], needed: Iterable[tuple[str, ...]]) -> list[str]:
    """The columns of the files. needed: columns, each with those that may stand in its place.

    Raises:
        UserError: A file can't be read or lacks a column, or all are empty.
    """
    names: list[str] = []
    for path in paths:
        names = column_names(path)
        lacking = [" or ".join(map(repr, choice)) for choice in needed if not {*choice} & {*names}]
        if lacking:
            raise UserError(
                f"The data file {path} has no column {', '.join(lacking)}. It has: "
                f"{', '.join(sorted(names))}. Is it another data set, or an older version of it?"
            )
    if count_rows(paths) == 0:
        raise UserError(f"The data in {paths[0].parent} hold no question. Download or render them again.")
    return names


# Without them there is nothing to ask, or lmms-eval scores the answer as wrong.
_GOLD = ("question", "questions", "answer", "answers", "choices")


def check_gold(paths: Sequence[Path], names: Sequence[str]) -> None:
    """Refuses data in which a question or its answer is null. names: the columns that there are."""
    start = 0
    for batch in batches(paths, [name for name in _GOLD if name in names]):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                where = paths[0] if len(paths) == 1 else paths[0].parent
                row = start + column.is_null().to_pylist().index(True)
                raise UserError(
                    f"In {where} row {row} has no {name} (null): nothing could be scored there. "
                    "Remove such rows."
                )
        start += batch.num_rows


def check_pairs(paths: Sequence[Path]) -> None:
    """Refuses data for MME in which a picture has not just two questions: lmms-eval would fail at the end."""
    found = rows(paths, ["category", "question_id"])
    counts = Counter((row["category"], row["question_id"]) for row in found)
    odd = [f"{name} ({category}): {count}" for (category, name), count in counts.items() if count != 2]
    if odd:
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise UserError(
            f"In {where} every picture must have two questions, but {len(odd)} have not, such as {odd[0]}. "
            "Is a part missing, or there twice? Copy or download the data again."
        )


def check_unique(paths: Sequence[Path], columns: Sequence[str], found: Iterable[dict[str, Any]]) -> None:
    """Refuses data in which two questions have the same number: their answers would be mixed up."""
    counts = Counter(tuple(row[name] for name in columns) for row in found)
    twice = ["/".join(map(str, values)) for values, count in counts.items() if count > 1]
    if twice:
        more = f" and {len(twice) - 3} others" if len(twice) > 3 else ""
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise UserError(
            f"In {where} every question must have its own {'/'.join(columns)}, but there is more than one "
            f"with {', '.join(twice[:3])}{more}. Was a file copied twice? Remove the copies."
        )


def row_digests(paths: Sequence[Path]) -> list[bytes]:
    """A short hash of each row of all files, pictures included."""

    def text(value: Any) -> str:
        return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)

    texts = (json.dumps(row, sort_keys=True, default=text) for b in batches(paths) for row in b.to_pylist())
    return [hashlib.sha256(row.encode()).digest()[:16] for row in texts]


def check_copies(paths: Sequence[Path], digests: Sequence[bytes], allowed: float = 0.0) -> None:
    """Refuses data in which more than a share of the rows are exact copies, which would count twice."""
    first: dict[bytes, int] = {}
    copies = [row for row, digest in enumerate(digests) if first.setdefault(digest, row) != row]
    if len(copies) > allowed * len(digests):
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise UserError(
            f"In {where} {len(copies)} of {len(digests)} rows are exact copies of others: row {copies[0]} is "
            f"row {first[digests[copies[0]]]} again. Was a file copied twice? Remove the copies."
        )
