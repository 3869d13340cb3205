"""Wrong data are found here, before a model is loaded. Raises UserError; needs no torch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.errors import UserError


def check_parquet(
    path: Path, columns: tuple[str, ...], unique: str | None = None, pairs: bool = False
) -> int:
    """The number of rows of a task's data file, after checking that it is readable and has its columns.

    No value of the column `unique` may be there twice; data of `pairs` have two questions about each image,
    as MME's score needs it.
    """
    from pyarrow import parquet

    if not path.is_file():
        raise UserError(
            f"The data file {path} is missing. Give a folder with one <task>.parquet each as data.root, or "
            "leave data.root=null and let the suite be rendered."
        )
    try:
        file = parquet.ParquetFile(path)
        rows, names = file.metadata.num_rows, set(file.schema_arrow.names)
        for _ in file.iter_batches(batch_size=64):  # damage deep inside shows only when it is read
            pass
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise UserError(
            f"The data file {path} can't be read ({error}). Delete it and let it be rendered again, or copy "
            "it again."
        ) from error
    lacking = [column for column in columns if column not in names]
    if lacking:
        raise UserError(
            f"The data file {path} has no column {', '.join(map(repr, lacking))}. Needed: "
            f"{', '.join(columns)}. It has: {', '.join(sorted(names))}."
        )
    if rows == 0:
        raise UserError(f"The data file {path} holds no question. Delete it and let it be rendered again.")
    if unique is not None:
        check_unique([path], unique, file.read([unique])[unique].to_pylist())
    if pairs:
        check_pairs([path], file.read(["category", "question_id"]).to_pylist())
    return rows


def check_pairs(paths: Sequence[Path], rows: Sequence[dict[str, Any]]) -> None:
    """Refuses data for MME in which a picture has not just two questions: lmms-eval would fail at the end."""
    counts = Counter((row["category"], row["question_id"]) for row in rows)
    odd = [f"{name} ({category}): {count}" for (category, name), count in counts.items() if count != 2]
    if odd:
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise UserError(
            f"In {where} every picture must have two questions, but {len(odd)} have not, such as {odd[0]}. "
            "Is a part missing, or there twice? Copy or download the data again."
        )


def check_unique(paths: Sequence[Path], column: str, values: Sequence[Any]) -> None:
    """Refuses data in which two questions have the same number: their answers would be mixed up."""
    twice = [str(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        more = f" and {len(twice) - 3} others" if len(twice) > 3 else ""
        where = paths[0] if len(paths) == 1 else paths[0].parent
        raise UserError(
            f"In {where} every question must have its own {column}, but there is more than one with "
            f"{', '.join(twice[:3])}{more}. Was a file copied twice? Remove the copies."
        )
