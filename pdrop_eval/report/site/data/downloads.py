"""The page's files for spreadsheets, which compute nothing in them, and the comparisons that were made."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import columns as shown_columns
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.data.samples import SHEET, Asked
from pdrop_eval.report.site.folder import Site
from pdrop_eval.report.site.names import file_name, public, unique, without_folders
from pdrop_eval.report.site.notices import Notices
from pdrop_eval.report.tables.cells import measured_cell
from pdrop_eval.report.tables.csv_export import CELL, cell_columns, run_columns, write_csv

_RUN = ("key", "status", "suite", "source", "model", "size", "strategy", "label", "created", "command")
_ANSWERS = ".answers.html"
_TAG = re.compile(r"(<[^<>]*>)")
FOLDER = "downloads/compare"


def sample_sheet(asked: Asked, head: bool) -> Iterator[str]:
    """A line for each of a run's samples of a benchmark, in pieces; head: the columns' names before them."""
    if head:
        yield write_csv(list(SHEET), [])
    for lines in asked.sheet.batches():
        yield write_csv(list(SHEET), lines).partition("\n")[2]


def overview_sheet(recorded: Sequence[Recorded]) -> str:
    """A line a run, with the scores of all benchmarks: also of runs that no table shows."""
    keys = shown_columns(one.run.results for one in recorded)
    columns = [*_RUN, *run_columns(recorded[0].run), *keys]
    columns += [f"{key}_{name}" for key in keys for name in CELL]
    return write_csv(columns, public([_run_line(one, keys) for one in recorded]))


def _run_line(one: Recorded, keys: Sequence[str]) -> dict[str, Any]:
    run = one.run
    line: dict[str, Any] = {
        "key": one.key,
        "status": run.record["status"],
        "suite": run.suite,
        "source": run.of("suite", "source"),
        "model": run.model,
        "size": run.size,
        "strategy": run.strategy,
        "label": one.label,
        "created": run.record["created"],
        "command": run.record.get("command"),
        **run_columns(run),
    }
    for key in keys:
        line |= cell_columns(key, measured_cell(run, key))
    return line


def copy_comparisons(folder: Path, site: Site, notices: Notices) -> list[dict[str, Any]]:
    """The pages of changed answers that pdrop-eval-compare has written, with their pictures."""
    found: list[dict[str, Any]] = []
    taken = set[str]()
    for path in sorted(folder.glob(f"*{_ANSWERS}")) if folder.is_dir() else ():
        stem = path.name.removesuffix(_ANSWERS)
        name = unique(file_name(stem), taken)
        taken.add(name.lower())
        try:
            title = _title(json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))["runs"])
            if any(one["title"] == title for one in found):
                title = f"{title} ({stem})"
            text = path.read_text(encoding="utf-8")
            pictures = {
                one.name: one.read_bytes() for one in sorted((folder / f"{stem}.pictures").glob("*.png"))
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            notices.add(f"The comparison {stem} can't be read: {type(error).__name__}.")
            continue
        site.write(f"{FOLDER}/{name}{_ANSWERS}", _public_page(text))
        for file, content in pictures.items():
            site.write(f"{FOLDER}/{stem}.pictures/{file}", content)
        found.append({"title": title, "file": f"{FOLDER}/{name}{_ANSWERS}"})
    return found


def _title(runs: dict[str, Any]) -> str:
    """Two runs, and the questions they were asked: `pdrop against vanilla, mini, limit 8`."""
    sides = [runs[role] for role in ("candidate", "baseline")]
    suites = [(side.get("suite") or {}).get("name") for side in sides]
    limits = [side.get("limit") for side in sides]
    words = [f"{sides[0]['name']} against {sides[1]['name']}"]
    if any(suites):
        words.append(_either(suites))
    if limits != [None, None]:
        words.append(f"limit {_either(limits)}")
    return ", ".join(words)


def _either(values: Sequence[Any]) -> str:
    """What two runs have in common, or both."""
    return " / ".join(dict.fromkeys("none" if value is None else str(value) for value in values))


def _public_page(text: str) -> str:
    """A page of answers whose head names no folder. Tags, questions and answers stay as they are."""
    head, table, answers = text.partition("<table>")
    parts = _TAG.split(head)
    return "".join(without_folders(part) if part[:1] != "<" else part for part in parts) + table + answers
