"""Data sets that a user has downloaded: found beneath `data.root`, checked and hashed.

tasks/README.md says how the folder may look. Needs neither torch nor network.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from pdrop_eval.data_checks import check_pairs, check_unique
from pdrop_eval.errors import UserError
from pdrop_eval.files import write_atomically
from pdrop_eval.identity import file_sha256
from pdrop_eval.lmms.tasks import TaskInfo

GQA_IMAGES = "testdev_balanced_images"
_SPLITS = ("train", "validation", "val", "dev", "test", "testdev", "lite")


@dataclass(frozen=True)
class Local:
    """The files of one split, in order. `commit` is the Hub's name for their content, where it is known."""

    files: tuple[Path, ...]
    kind: str  # parquet | arrow
    commit: str | None = None
    images: tuple[Path, ...] = ()  # GQA's pictures, which the Hub keeps apart


def find_local(info: TaskInfo, root: Path) -> Local:
    """The task's split beneath `root`, with all columns. Raises UserError with what is missing."""
    found = _first(info, root, info.subset)
    if found is None:
        raise UserError(
            f"data.root={root} holds no data for {info.task}: neither {info.task}.parquet, nor its split "
            f"{info.split!r} as Parquet or Arrow files in {', '.join(str(p.relative_to(root)) for p in _places(info, root))}. "
            f"Download it (hf download --repo-type dataset {info.dataset} --local-dir "
            f"{root / info.dataset.partition('/')[2]}), or leave data.root=null for the Hub. "
            "`pdrop-eval-doctor` with the same settings lists every data set that is missing."
        )
    columns = check_files(found, needed_columns(info))
    if info.unique in columns:
        check_unique(found.files, str(info.unique), _numbers(found, info))
    if info.resample == "pairs":
        check_pairs(found.files, _rows(found, ["category", "question_id"]))
    if info.task == "gqa" and "image" not in columns:
        images = _first(info, root, GQA_IMAGES)
        if images is None:
            raise UserError(
                f"data.root={root} holds GQA's questions without their images. Download the subset "
                f"{GQA_IMAGES} of {info.dataset} beside them."
            )
        check_files(images, [("id",), ("image",)])
        return Local(found.files, found.kind, found.commit, images.files)
    return found


def needed_columns(info: TaskInfo) -> list[tuple[str, ...]]:
    """The columns that the stored data must have, each with the ones that the Hub's form has in its place."""
    instead = {"gqa": {"image": "imageId"}, "ocrvqa": {"question": "questions", "answer": "answers"}}
    other = instead.get(info.task, {})
    return [(name, other[name]) if name in other else (name,) for name in info.columns]


def check_files(local: Local, needed: list[tuple[str, ...]]) -> list[str]:
    """The columns of the files. Raises UserError if one can't be read, lacks a column, or all are empty."""
    names: list[str] = []
    rows = 0
    for path in local.files:
        try:
            names, count = _parquet(path) if local.kind == "parquet" else _arrow(path)
        except (OSError, ValueError) as error:
            raise UserError(f"The data file {path} can't be read ({error}). Download it again.") from error
        rows += count
        lacking = [" or ".join(map(repr, choice)) for choice in needed if not {*choice} & {*names}]
        if lacking:
            raise UserError(
                f"The data file {path} has no column {', '.join(lacking)}. It has: "
                f"{', '.join(sorted(names))}. Is it another data set, or an older version of it?"
            )
    if rows == 0:
        raise UserError(f"The data in {local.files[0].parent} hold no question. Download them again.")
    return names


def count_rows(local: Local) -> int:
    """The number of rows of all files."""
    return sum((_parquet(path) if local.kind == "parquet" else _arrow(path))[1] for path in local.files)


def local_sha256(local: Local, remembered: Path) -> str:
    """The commit if the files are a snapshot of the Hub, else the SHA-256 of their contents.

    Real data are large: hashes of files that have not changed since are taken from the file `remembered`.
    """
    if local.commit:
        return local.commit
    known = _read_json(remembered)
    whole = hashlib.sha256()
    for path in (*local.files, *local.images):
        status = path.stat()
        key = f"{path}|{status.st_size}|{status.st_mtime_ns}"
        known[key] = known.get(key) or file_sha256(path)
        whole.update(f"{known[key]}\n".encode())
    with contextlib.suppress(OSError):  # what can't be remembered is hashed again
        write_atomically(remembered, json.dumps(known, indent=0))
    return whole.hexdigest()


def _places(info: TaskInfo, root: Path) -> list[Path]:
    """Where a data set may lie, the user's own names first."""
    organisation, _, name = info.dataset.partition("/")
    cached = f"datasets--{organisation}--{name}"
    names = (info.task, name, f"{organisation}/{name}", cached, f"hub/{cached}")
    return [root / name for name in names]


def _first(info: TaskInfo, root: Path, subset: str | None) -> Local | None:
    if (single := root / f"{info.task}.parquet").is_file() and subset == info.subset:
        return Local((single,), "parquet")
    for place in _places(info, root):
        for folder, commit in _snapshots(place):
            for found in (_saved(folder, subset, info.split), _parquets(folder, subset, info.split)):
                if found:
                    return Local(tuple(found[0]), found[1], commit)
    return None


def _snapshots(place: Path) -> Iterator[tuple[Path, str | None]]:
    """The folder itself, or the snapshots of a Hub cache folder, the one of `main` first, then the newest."""
    if not (place / "snapshots").is_dir():
        if place.is_dir():
            yield place, None
        return
    main = place / "refs" / "main"
    chosen = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    folders = [path for path in (place / "snapshots").iterdir() if path.is_dir()]
    for path in sorted(folders, key=lambda path: (path.name != chosen, -path.stat().st_mtime)):
        yield path, path.name


def _saved(folder: Path, subset: str | None, split: str) -> tuple[list[Path], str] | None:
    """What `save_to_disk` wrote: a data set, or one a split."""
    for base in _bases(folder, subset):
        for place in (base / split, base):
            state = _read_json(place / "state.json")
            if state:
                return [place / part["filename"] for part in state["_data_files"]], "arrow"
    return None


def _parquets(folder: Path, subset: str | None, split: str) -> tuple[list[Path], str] | None:
    """Parquet files as the data set's card names them, or as the Hub does: <split>-00000-of-00001.parquet."""
    patterns = _card_patterns(folder, subset, split)
    named = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if named:
        return named, "parquet"
    for base in _bases(folder, subset):
        for place in (base, base / "data"):
            names = sorted(place.glob("*.parquet"))
            mine = [p for p in names if fnmatch(p.name, f"{split}-*") or p.stem == split]
            mine = mine or sorted((place / split).glob("*.parquet"))
            # files without any split's name are all of it; files of other splits are none of it
            unnamed = [p for p in names if p.stem.split("-")[0] not in _SPLITS]
            if mine or (unnamed and unnamed == names):
                return mine or unnamed, "parquet"
    return None


def _bases(folder: Path, subset: str | None) -> list[Path]:
    if subset is None:
        return [folder]
    return [folder / subset, *([folder] if subset != GQA_IMAGES else [])]


def _card_patterns(folder: Path, subset: str | None, split: str) -> list[str]:
    """The files of a split by the front matter of the data set's README, as the Hub reads it."""
    card = folder / "README.md"
    parts = card.read_text(encoding="utf-8").split("---\n") if card.is_file() else []
    try:
        front: Any = yaml.safe_load(parts[1]) if len(parts) > 2 and not parts[0].strip() else None
    except yaml.YAMLError:
        return []
    configs = front.get("configs") or [] if isinstance(front, dict) else []
    found: list[str] = []
    for config in configs:
        if config.get("config_name") not in ((subset,) if subset else ("default", "val")):
            continue
        for entry in config.get("data_files") or []:
            if isinstance(entry, dict) and entry.get("split") == split:
                paths = entry.get("path") or []
                found += [paths] if isinstance(paths, str) else paths
    return [pattern for pattern in found if pattern.endswith(".parquet")]


def _parquet(path: Path) -> tuple[list[str], int]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    return file.schema_arrow.names, file.metadata.num_rows


def _numbers(local: Local, info: TaskInfo) -> list[Any]:
    """The column that must be unique; of SEED-Bench only the questions about images."""
    names = [str(info.unique), *(["data_type"] if info.task == "seedbench" else [])]
    return [row[names[0]] for row in _rows(local, names) if row.get("data_type", "image") == "image"]


def _rows(local: Local, columns: list[str]) -> list[dict[str, Any]]:
    """Some columns of all files."""
    import pyarrow as pa
    from pyarrow import parquet

    rows: list[dict[str, Any]] = []
    for path in local.files:
        if local.kind == "parquet":
            rows += parquet.read_table(path, columns=columns).to_pylist()
        else:
            with pa.memory_map(str(path)) as source:
                rows += pa.ipc.open_stream(source).read_all().select(columns).to_pylist()
    return rows


def _arrow(path: Path) -> tuple[list[str], int]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        return table.schema.names, table.num_rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
