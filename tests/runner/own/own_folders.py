"""Folders of a user's own data, for tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = ("red", "green", "blue", "white")


def make_pictures(folder: Path, count: int = 4) -> list[str]:
    """Writes pictures of one colour each; returns their paths in the folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"images/{place}.png" for place in range(count)]
    for place, name in enumerate(names):
        Image.new("RGB", (20 + place, 16), COLOURS[place % 4]).save(folder / name)
    return names


def rows_of(count: int = 4, **more: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows about the pictures; `more` has a value for each of them."""
    return [
        {
            "id": f"q{place}",
            "image": f"images/{place}.png",
            "question": "Which colour?",
            "answer": COLOURS[place % 4],
            **{name: values[place] for name, values in more.items()},
        }
        for place in range(count)
    ]


def write_jsonl(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes data.jsonl with its pictures; returns the folder."""
    make_pictures(folder)
    lines = (json.dumps(row) + "\n" for row in rows)
    (folder / "data.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def without(rows: Sequence[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    """The rows without some fields."""
    return [{key: value for key, value in row.items() if key not in names} for row in rows]
