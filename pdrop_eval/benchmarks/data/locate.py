"""Where the files of a downloaded data set lie; tasks/README.md says how the folder may look.

A repository may hold several data sets as subsets, with the same columns and names of splits. So files are
taken for a subset only where that is certain.
"""

import json
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import yaml

from pdrop_eval.benchmarks.task_files import Local, TaskInfo
from pdrop_eval.utils.errors import UserError

GQA_IMAGES = "testdev_balanced_images"
_SPLITS = ("train", "validation", "val", "dev", "test", "testdev", "lite")
_PART = re.compile(r"(?P<name>.*)-(?P<number>\d+)-of-(?P<total>\d+)(?![\d])")


def places(info: TaskInfo, root: Path) -> list[Path]:
    """Where a data set may lie, the user's own names first."""
    organisation, _, name = info.dataset.partition("/")
    cached = f"datasets--{organisation}--{name}"
    names = (info.task, name, f"{organisation}/{name}", cached, f"hub/{cached}")
    return [root / name for name in names]


def task_file(folder: Path, task: str) -> Path:
    """Where a task's data lie as one file: Parquet, or else VLMEvalKit's TSV where that is there."""
    names = (folder / f"{task}.parquet", folder / f"{task}.tsv")
    return next((path for path in names if path.is_file()), names[0])


def locate(info: TaskInfo, root: Path, subset: str | None) -> Local | None:
    """The files of the task's split, of its own subset or of another one; None if there are none.

    Raises:
        UserError: A part of them is missing.
    """
    if (single := task_file(root, info.task)).is_file() and subset == info.subset:
        return Local((single,), "parquet")
    for place in places(info, root):
        # A folder with the task's name is the user's word that it holds this task and no other.
        own = place == root / info.task and subset == info.subset
        for folder, commit in _snapshots(place):
            bases = _bases(folder, subset, own)
            for found in (_saved(bases, info.split), _parquets(folder, bases, subset, info.split)):
                if found:
                    _check_parts(found[0], info)
                    return Local(tuple(found[0]), found[1], commit)
    return None


def _bases(folder: Path, subset: str | None, own: bool) -> list[Path]:
    if subset is None:
        return [folder]
    return [folder / subset, *([folder] if own else [])]


def _check_parts(files: Sequence[Path], info: TaskInfo) -> None:
    """Refuses files named <name>-00000-of-00003 unless each number is there once."""
    sets: dict[tuple[Path, str], list[tuple[int, int]]] = {}
    for path in files:
        if part := _PART.match(path.stem):
            entry = int(part["number"]), int(part["total"])
            sets.setdefault((path.parent, part["name"]), []).append(entry)
    fix = (
        f"Download them again (hf download --repo-type dataset {info.dataset} --local-dir <folder>; what is "
        "there already stays), or copy them again."
    )
    for (folder, name), parts in sets.items():
        numbers, totals = [number for number, _ in parts], {total for _, total in parts}
        if len(totals) > 1 or len(set(numbers)) < len(numbers):
            raise UserError(
                f"The files {name}-*-of-* in {folder} are of more than one version of {info.dataset} for "
                f"{info.task}. Remove the folder. {fix}"
            )
        total = totals.pop()
        first = 0 if 0 in numbers or total not in numbers else 1
        missing = [f"{name}-{i:05d}-of-{total:05d}" for i in range(first, first + total) if i not in numbers]
        if missing:
            more = f" and {len(missing) - 3} others" if len(missing) > 3 else ""
            raise UserError(
                f"The data of {info.task} in {folder} are not complete: {', '.join(missing[:3])}{more} of "
                f"{total} parts {'is' if len(missing) == 1 else 'are'} missing. {fix}"
            )


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


def _saved(bases: Sequence[Path], split: str) -> tuple[list[Path], str] | None:
    """What `save_to_disk` wrote: a data set, or one a split."""
    for base in bases:
        for place in (base / split, base):
            try:
                state = json.loads((place / "state.json").read_text(encoding="utf-8"))
                return [place / part["filename"] for part in state["_data_files"]], "arrow"
            except OSError:
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{place / 'state.json'} is damaged ({error}). Save or copy the data set again."
                ) from error
    return None


def _parquets(
    folder: Path, bases: Sequence[Path], subset: str | None, split: str
) -> tuple[list[Path], str] | None:
    """Parquet files as the data set's card names them, or as the Hub does: <split>-00000-of-00001.parquet."""
    named = _of_card(folder, subset, split)
    if named:
        return named, "parquet"
    for base in bases:
        for place in (base, base / "data"):
            names = sorted(place.glob("*.parquet"))
            mine = [p for p in names if fnmatch(p.name, f"{split}-*") or p.stem == split]
            mine = mine or sorted((place / split).glob("*.parquet"))
            # files without any split's name are all of it; files of other splits are none of it
            unnamed = [p for p in names if p.stem.split("-")[0] not in _SPLITS]
            if mine or (unnamed and unnamed == names):
                return mine or unnamed, "parquet"
    return None


def _of_card(folder: Path, subset: str | None, split: str) -> list[Path]:
    """The files that the data set's card names for a split. Raises UserError if one of them is missing."""
    found = {pattern: list(folder.glob(pattern)) for pattern in _card_patterns(folder, subset, split)}
    named = sorted({path for paths in found.values() for path in paths if path.suffix == ".parquet"})
    lost = [pattern for pattern, paths in found.items() if not paths]
    if named and lost:
        raise UserError(
            f"The data in {folder} are not complete: its README.md names {', '.join(lost[:3])} for the split "
            f"{split!r}, which is missing. Download them again; what is there already stays."
        )
    return named


def _card_patterns(folder: Path, subset: str | None, split: str) -> list[str]:
    """The files of a split by the front matter of the data set's README, as the Hub reads it."""
    from huggingface_hub.repocard import metadata_load

    try:
        front = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, yaml.YAMLError):
        return []
    configs = front.get("configs") or []
    found: list[str] = []
    for config in configs:
        if config.get("config_name") not in ((subset,) if subset else ("default", "val")):
            continue
        for entry in config.get("data_files") or []:
            if isinstance(entry, dict) and entry.get("split") == split:
                paths = entry.get("path") or []
                found += [paths] if isinstance(paths, str) else paths
    return found
