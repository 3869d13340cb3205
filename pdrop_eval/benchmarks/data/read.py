"""The rows of stored data: Parquet files, or the Arrow streams that `save_to_disk` writes.

Raises UserError for a file that can't be read. Needs pyarrow where it is called, and no torch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError

_ROWS = 64  # of a batch, pictures and all


def column_names(path: Path) -> list[str]:
    """The columns of a file."""
    return list(schema_of(path).names)


def schema_of(path: Path) -> Any:
    """The columns of a file with their types, and what it says of them."""
    with _opened(path) as file:
        return file.schema_arrow if path.suffix == ".parquet" else file.schema


def parts(path: Path) -> Iterator[tuple[int, Callable[[list[str] | None], Any]]]:
    """The number of rows of each part of a file, and what loads some columns of it (None: all) as a table."""
    import pyarrow as pa

    with _opened(path) as file:
        if path.suffix == ".parquet":
            for group in range(file.num_row_groups):
                yield file.metadata.row_group(group).num_rows, partial(file.read_row_group, group)
            return
        for batch in file:
            table = pa.Table.from_batches([batch])
            yield table.num_rows, partial(_selected, table)


def count_rows(paths: Iterable[Path]) -> int:
    """The number of rows of all files."""
    return sum(rows for path in paths for rows, _ in parts(path))


def batches(paths: Iterable[Path], columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Some columns of all files, or all columns, in small parts."""
    chosen = None if columns is None else list(columns)
    for path in paths:
        if path.suffix == ".parquet":  # pandas writes one part, however large
            with _opened(path) as file:
                yield from _guarded(path, file.iter_batches(_ROWS, columns=chosen))
            continue
        for _, load in parts(path):
            with _readable(path):
                table = load(chosen)
            yield from table.to_batches(_ROWS)


def rows(paths: Iterable[Path], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of all files."""
    return [row for batch in batches(paths, columns) for row in batch.to_pylist()]


def _guarded(path: Path, found: Iterator[Any]) -> Iterator[Any]:
    while True:
        with _readable(path):
            batch = next(found, None)
        if batch is None:
            return
        yield batch


def _selected(table: Any, columns: list[str] | None) -> Any:
    return table if columns is None else table.select(columns)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as stack:
        with _readable(path):
            if path.suffix == ".parquet":
                file = stack.enter_context(parquet.ParquetFile(path))
            else:
                file = pa.ipc.open_stream(stack.enter_context(pa.memory_map(str(path))))
        yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise UserError(
            f"The data file {path} can't be read ({error}). Download it again; one that was rendered is "
            "rendered again once it is deleted."
        ) from error
