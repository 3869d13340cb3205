"""The answers that changed, and pictures of the first of them: small copies, checked against the record."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.images import NotThereError, Stored, Wanted, find_pictures
from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.report.compare.runs import Side
from pdrop_eval.utils.text.escape import fill

TEMPLATE = Path(__file__).with_name("answers.html.jinja")
SIDE = 320  # pixels of a small copy's longer side
_TEXT = 1000  # characters of a question or an answer on the page


def changed_answers(benchmark: str, pairs: Iterable[tuple[dict, dict]]) -> list[dict[str, Any]]:
    """Every pair with two answers, those that lost most first; pairs are (baseline, candidate) samples."""
    rows = [_row(benchmark, one, other) for one, other in pairs if _words(one) != _words(other)]
    return sorted(rows, key=lambda row: (row["gain"], row["doc_id"]))


def as_lines(rows: Iterable[dict[str, Any]]) -> str:
    """JSON lines; ASCII only, so that no text in them can be anything but text."""
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def pictures(sides: Sequence[Side], rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """File names and PNGs of the rows' pictures; each row is told its file as `picture`.

    A row without one (data that are on the Hub, several pictures, another picture than the record's) keeps
    the hash of its content, by which it can be found.
    """
    for row in rows:
        image = _picture(_data(sides, row["task"]), row)
        if image is not None:
            row["picture"] = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', row['task'])}-{int(row['doc_id'])}.png"
            yield row["picture"], image


def _row(benchmark: str, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    scores = one.get("score"), other.get("score")
    gain = 0.0 if None in scores else float(scores[1]) - float(scores[0])  # type: ignore[arg-type]
    return {
        "benchmark": benchmark,
        "task": benchmark_of(benchmark).task,
        "doc_id": one["doc_id"],
        "content_sha256": one.get("content_sha256"),
        "images_sha256": one.get("images_sha256"),
        "question": one.get("prompt"),
        "target": one.get("target"),
        "targets": _distinct(one.get("target")),
        "baseline": one.get("answer"),
        "candidate": other.get("answer"),
        "baseline_score": scores[0],
        "candidate_score": scores[1],
        "gain": gain,
        "picture": None,
    }


def _distinct(target: Any) -> str:
    """A target as it is shown: of a list of answers, as VQA's ten people gave them, each one once."""
    return " | ".join(dict.fromkeys(map(str, target))) if isinstance(target, list) else str(target)


def _words(sample: dict[str, Any]) -> str:
    return str(sample.get("answer")).strip()


def _data(sides: Sequence[Side], task: str) -> Stored | None:
    """A task's data as a run of this comparison read them; those of the rendered suite too."""
    for plan in (side.plan for side in sides if side.plan):
        local = plan.data.local.get(task)
        if plan.data.folder is not None and local is None:
            return Stored(task, (plan.data.folder / f"{task}.parquet",))
        return Stored(task, local.read[0]) if local else None
    from pdrop_eval.benchmarks.rendered.suite import default_root, suite_version

    return Stored(task, (default_root() / f"suite-{suite_version()}" / f"{task}.parquet",))


def _picture(data: Stored | None, row: dict[str, Any]) -> bytes | None:
    """A small copy of the row's only picture; None if it isn't certainly that one, or can't be read."""
    if data is None or not row["images_sha256"]:
        return None
    try:
        found = [
            pictures for _, pictures in find_pictures(data, [Wanted(row["images_sha256"], row["doc_id"])])
        ]
    except NotThereError:
        return None  # the comparison doesn't need the picture
    if not found or len(found[0]) != 1:
        return None
    image = found[0][0]
    image.thumbnail((SIDE, SIDE))
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def page(document: dict[str, Any], rows: Sequence[dict[str, Any]], folder: str) -> str:
    """An HTML page of changed answers with their pictures, for a person to look at; no scripts, no links."""
    return fill(TEMPLATE, runs=document["runs"], rows=rows, folder=folder, most=_TEXT)
