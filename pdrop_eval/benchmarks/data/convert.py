"""Data in other forms than the Hub's, as Parquet with pictures that the package datasets knows as such.

pandas and pyarrow write a picture as bytes, as a struct, as base64 or as a path, and nothing says that it is
one; VLMEvalKit has tab-separated text. What is plain is converted once and kept in the cache; all else is
refused here, before a model is loaded. Needs no torch.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from pdrop_eval.benchmarks.data.encoded import NoPictureError, encoded
from pdrop_eval.benchmarks.data.read import batches, schema_of
from pdrop_eval.benchmarks.data.tsv import tsv_schema, tsv_tables
from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS
from pdrop_eval.benchmarks.task_files import TaskInfo
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.errors import UserError

_VERSION = "1"  # of the conversion: what was converted otherwise is converted again
Tables = Callable[[], Iterable[Any]]  # reads all batches of rows, from the beginning
_ADDRESS = re.compile(r" ?<[^<>]*>")
_PICTURE = re.compile(r"(decoded_)?(image|picture|img)s?(_\d+)?")
_ALLOWED = "Write pictures as bytes of PNG or JPEG, as a struct of bytes and path, as base64, or as paths."


def readable(path: Path, info: TaskInfo) -> Path:
    """A task's data file itself, or what it was converted to: Parquet, an Arrow stream, or VLMEvalKit's TSV.

    Raises:
        UserError: a column of pictures of a type that isn't one of pictures, a value that is none.
    """
    if path.suffix == ".tsv" and not info.columns:
        raise UserError(
            f"{path}: of {info.task}, a task without an entry in the registry, data are read as Parquet or "
            "Arrow files. Write it as Parquet."
        )
    if path.suffix == ".tsv":
        numbers = ("image_path", "index") if info.scoring == "pair_sum" else ("index",)
        schema = tsv_schema(path, info.columns, numbers)
        odd = [name for name in schema.names if _PICTURE.fullmatch(name)]
        return _converted(path, schema, odd, lambda: tsv_tables(path, info.columns, numbers))
    schema = schema_of(path)
    named = info.columns or [name for name in schema.names if not _is_text(schema.field(name).type)]
    pictures = [name for name in named if _PICTURE.fullmatch(name) and name in schema.names]
    odd = [name for name in pictures if not _declared(schema, name)]
    for name in odd:
        _check_type(path, name, schema.field(name).type)
    if odd:
        return _converted(path, schema, odd, lambda: batches([path]))
    for name in pictures:
        _check_first(path, name)
    return path


@contextmanager
def named_as(paths: Sequence[Path], shown: Sequence[Path]) -> Iterator[None]:
    """Lets complaints about converted files name those that the user has."""
    try:
        yield
    except UserError as error:
        text = str(error)
        for path, own in zip(paths, shown, strict=True):
            text = text.replace(str(path), str(own)).replace(str(path.parent), str(own.parent))
        raise UserError(text) from error


def _declared(schema: Any, name: str) -> bool:
    """Whether the file says, as the package datasets does, that a column holds pictures to be opened."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][name]
    except (KeyError, ValueError, TypeError):
        return False
    found = found[0] if isinstance(found, list) and found else found
    if isinstance(found, dict) and found.get("_type") in ("Sequence", "List", "LargeList"):
        found = found.get("feature")
    return isinstance(found, dict) and found.get("_type") == "Image" and found.get("decode", True)


def _check_type(path: Path, name: str, kind: Any) -> None:
    """Refuses a column that can't hold pictures, with its type."""
    import pyarrow as pa

    inner = _plain(kind)
    if _is_list(inner):
        inner = _plain(inner.value_type)
    if pa.types.is_struct(inner):
        children = {field.name: _plain(field.type) for field in inner}
        fits = {*children} <= {"bytes", "path"} and all(map(_is_value, children.values()))
    else:
        fits = _is_value(inner)
    if not fits:
        raise UserError(
            f"The column {name!r} of {path} has the type {kind}, which is not one of pictures. {_ALLOWED}"
        )


def _is_value(kind: Any) -> bool:
    import pyarrow as pa

    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_null, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary,
            pa.types.is_string, pa.types.is_large_string,
        )
    )  # fmt: skip


def _is_text(kind: Any) -> bool:
    """Whether a type is one of text: of data without a known column, it may be a file's name or a caption."""
    import pyarrow as pa

    return bool(pa.types.is_string(_plain(kind)) or pa.types.is_large_string(_plain(kind)))


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _plain(kind: Any) -> Any:
    """A type without the ways in which its values are kept: dictionaries and views."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    views = {"string_view": pa.string(), "binary_view": pa.binary()}
    return views.get(str(kind), kind)


def _check_first(path: Path, name: str) -> None:
    """Refuses data whose first picture can't be opened: lmms-eval would read it while it loads the task."""
    for batch in batches([path], [name]):
        for row, value in enumerate(batch.column(0).to_pylist()):
            contents = [one.get("bytes") for one in _listed(value) if isinstance(one, dict)]
            if any(contents):
                _identify(path, name, row, contents)
                return
        return


def _identify(path: Path, name: str, row: int, contents: Sequence[bytes | Path | None]) -> None:
    """Refuses a picture that Pillow doesn't know, by its header."""
    for content in contents:
        try:
            if content is not None:
                with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content):
                    continue
        except PICTURE_ERRORS as error:
            svg = isinstance(content, bytes) and b"<svg" in content[:1000]
            reason = "it is SVG, a drawing without pixels" if svg else _ADDRESS.sub("", str(error))
            raise UserError(
                f"In {path} the picture of row {row} (column {name!r}) can't be opened: {reason}. Replace it "
                "with a whole PNG or JPEG, or leave the task out with tasks=[...]."
            ) from error


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _value(path: Path, name: str, row: int, value: Any) -> Any:
    try:
        return encoded(value, path.parent)
    except NoPictureError as error:
        raise UserError(
            f"In {path} the column {name!r} holds no picture in row {row}: {error}. {_ALLOWED}"
        ) from error


def _converted(path: Path, schema: Any, odd: Sequence[str], tables: Tables) -> Path:
    """The file that another was converted to, made unless it is there."""
    from pdrop_eval.benchmarks.rendered.suite import default_root

    sha256, several = _survey(path, odd, tables)
    target = default_root() / "converted" / f"{path.stem}-{sha256[:20]}.parquet"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            _write(path, schema, {name: name in several for name in odd}, tables, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


def _survey(path: Path, odd: Sequence[str], tables: Tables) -> tuple[str, set[str]]:
    """A hash of the file and of all that it names, and the columns in which a row has several pictures.

    Raises:
        UserError: A value that is no picture, or none at all; a first picture that can't be opened.
    """
    whole = hashlib.sha256(f"{_VERSION}\0{file_sha256(path)}\0".encode())
    several: set[str] = set()
    seen: set[str] = set()
    start = 0
    for batch in tables():
        for name in odd:
            for row, stored in enumerate(_column(batch, name), start):
                value = _value(path, name, row, stored)
                if isinstance(value, list):
                    several.add(name)
                if any(_listed(value)) and name not in seen:
                    seen.add(name)
                    _identify(path, name, row, _listed(value))
                for one in _listed(value):
                    if isinstance(one, Path):  # what is not in the file itself
                        whole.update(file_sha256(one).encode())
        start += batch.num_rows
    for name in (one for one in odd if start and one not in seen):
        raise UserError(f"The column {name!r} of {path} holds no picture in any of {start} rows. {_ALLOWED}")
    return whole.hexdigest(), several


def _column(batch: Any, name: str) -> list[Any]:
    return batch.column(batch.schema.names.index(name)).to_pylist()


def _write(path: Path, schema: Any, odd: Mapping[str, bool], tables: Tables, target: Path) -> None:
    """Writes a file with its pictures as structs, and with what says so to the package datasets.

    odd: the columns that are converted, and whether a row of them has several pictures.
    """
    import pyarrow as pa
    from datasets import Features, List
    from datasets import Image as Picture
    from pyarrow import parquet

    plain = [pa.field(f.name, pa.binary() if f.name in odd else _plain(f.type)) for f in schema]
    features = Features.from_arrow_schema(pa.schema(plain, metadata=schema.metadata))
    features.update({name: List(Picture()) if several else Picture() for name, several in odd.items()})
    with parquet.ParquetWriter(target, features.arrow_schema) as writer:
        row = 0
        for batch in tables():
            columns = []
            for field in features.arrow_schema:
                if field.name not in odd:
                    columns.append(batch.column(batch.schema.names.index(field.name)).cast(field.type))
                    continue
                values = [
                    _value(path, field.name, row + i, v) for i, v in enumerate(_column(batch, field.name))
                ]
                columns.append(pa.array([_cell(v, odd[field.name]) for v in values], field.type))
            writer.write_batch(pa.record_batch(columns, schema=features.arrow_schema))
            row += batch.num_rows


def _cell(value: Any, several: bool) -> Any:
    """A picture as the package datasets stores it; of several, a list."""
    if several:
        return None if value is None else [_cell(one, False) for one in _listed(value) if one is not None]
    if value is None:
        return None
    return {"bytes": value.read_bytes() if isinstance(value, Path) else value, "path": None}
