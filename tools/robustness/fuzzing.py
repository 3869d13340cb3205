"""What `make fuzz` damages, and how: two small runs; bytes and values are cut, swapped or made odd."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.store import Run
from pdrop_eval.run.config import compose

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**70, 1.5, -0.0, 1e308, float("nan"), float("-inf"), "", "x", "0",
    "../../x", "/etc/passwd", "\x1b[2J\x00", "\ud800", "=1+1", "<b>|`$\\", "é" * 99, [], [None], [[1, 2]], {},
    {"a": 1}, {"name": []}, "2026-01-01T00:00:00", "1e999", "null",
)  # fmt: skip
BYTES = (b"", b"\x00", b"\xff\xfe", b"{", b"}", b"[" * 2000, b'"', b",", b"\n", b"NaN", b"1e999", b"\\ud800")
BENCHMARKS = ("gqa", "pope", "mme", "mmstar", "docvqa")
TEXT = (
    "\x1b",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    "$",
    "${",
    "=",
    ",",
    ":",
    "!!python/name:os.system",
    "\\",
    "~",
    "\n",
)


def damaged_bytes(content: bytes, luck: random.Random) -> bytes:
    """Some bytes cut, doubled, flipped, or others put between them."""
    for _ in range(luck.choice((1, 1, 2, 5))):
        start = luck.randrange(len(content) + 1)
        end = min(len(content), start + luck.choice((0, 1, 4, 50)))
        new = luck.choice((luck.choice(BYTES), luck.randbytes(3), content[start:end] * 2, b""))
        content = content[:start] + new + content[end:]
    return content


def damaged_value(value: Any, luck: random.Random) -> Any:
    """A JSON value in which some parts are gone, odd, or stand where others stood."""
    value = json.loads(json.dumps(value))
    for _ in range(luck.choice((1, 1, 1, 2, 4))):
        places = [place for place in _places(value) if place]
        if not places:
            return luck.choice(ODD)
        *parents, last = luck.choice(places)
        part = value
        for key in parents:
            part = part[key]
        if luck.random() < 0.2:
            del part[last]
        elif luck.random() < 0.2:
            part[last] = json.loads(json.dumps(_at(value, luck.choice(places))))
        else:
            part[last] = luck.choice(ODD)
    return value


def _places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _places(part, (*place, key))


def _at(value: Any, place: tuple) -> Any:
    for key in place:
        value = value[key]
    return value


def make_runs(root: Path) -> list[Path]:
    """Two runs of a few questions with their samples, as evaluations write them."""
    folders = []
    for strategy, right in (("vanilla", (1, 1, 0, 1)), ("pdrop", (1, 0, 1, 1))):
        config = compose.compose_config([f"strategy={strategy}"])
        plain: Any = OmegaConf.to_container(config, resolve=True)
        model = {**plain["model"], "sha256": "ab" * 32, "dtype": "float32", "training": None}
        header = {
            "command": "pdrop-eval", "config": plain, "seed": 1, "limit": None, "batch_size": 8,
            "model": model, "code": {"version": "1", "commit": "c" * 40, "dirty": False},
            "packages": {"torch": "2"},
            "strategy": {"name": strategy, "fields": plain["strategy"]}, "hardware": {"cpu": "x", "gpus": []},
            "suite": {"name": "mini", "source": "rendered"}, "inputs": {"images": "pad", "downsample": None},
            "budget": None, "efficiency": {"image_tokens": 144, "image_tokens_per_layer": [144] * 8,
                                           "tflops": 0.0004, "convention": "Eq. 4", "kv_cache_bytes": 9},
        }  # fmt: skip
        identity = {"config": plain, "code": {"sha256": "d" * 64}, "model_sha256": "ab" * 32}
        with Run.open(root, "mini", strategy, identity, header) as run:
            for key in BENCHMARKS:
                samples = [_sample(key, place, mark) for place, mark in enumerate(right)]
                run.add_task(benchmarks()[key].task, _entry(key, samples), samples)
            run.complete()
        folders.append(run.folder)
    return folders


def _sample(key: str, place: int, mark: int) -> dict[str, Any]:
    part = {"mme": "color", "pope": "random", "mmstar": f"group {place % 2}"}.get(key)
    return {
        "doc_id": place, "prompt": f"Question {place}?", "target": "yes", "answer": "yes" if mark else "no",
        "score": float(mark), "cluster": place // 2, **({"part": part} if part else {}),
        "content_sha256": f"{place}" * 64, "images_sha256": f"{place // 2}" * 64, "prompt_tokens": 160,
        "image_tokens": 144, "image_tokens_per_layer": [144] * 8, "new_tokens": 1,
    }  # fmt: skip


def _entry(key: str, samples: list[dict[str, Any]]) -> dict[str, Any]:
    score = benchmarks()[key].rule.score(samples)
    return {
        "benchmark": key, "metric": "m", "score": float(score), "stderr": 2.0, "n": 4,
        "clusters": 2, "parts": {}, "scale": "0-100", "higher_is_better": True, "metrics": {"m": 0.5},
        "batch_size": 8, "wall_seconds": 1.0, "retained_tokens_per_layer": [144.0] * 8,
        "image_tokens_mean": 144.0, "image_tokens_max": 144, "tflops_mean": 0.0004, "data_sha256": "e" * 64,
        "usage": {"model_seconds": 1.0, "waiting_seconds": 0.1, "images": 4, "encoded": 2, "hit_rate": 0.5},
    }  # fmt: skip
