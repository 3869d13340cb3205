"""Records as the runner writes them, without a model: runs, samples with grids and masks, and their pictures.

    python tests/page/synthetic.py FOLDER [RUNS]    FOLDER/runs and FOLDER/data, to look at a page

All of it follows from the numbers given: the same call writes the same answers.
"""

import contextlib
import hashlib
import io
import random
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image, ImageDraw

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.models.pictures.token_grid import Geometry
from pdrop_eval.records.store import Run
from pdrop_eval.records.token_mask import pack
from pdrop_eval.utils.code.hashing import content_hashes

LAYERS = 8
SQUARE = Geometry(tile=96, patch=8)
TILED = Geometry(tile=96, patch=8, resolutions=((96, 192), (192, 96), (192, 192), (96, 288), (288, 96)))
MODELS: dict[str, tuple[dict[str, Any], Geometry]] = {
    "mini576": ({"architecture": "llava-1.5", "patches": 1, "train": "vanilla", "train_ratio": None}, SQUARE),
    "mini576_pdrop_05": (
        {"architecture": "llava-1.5", "patches": 1, "train": "pdrop", "train_ratio": 0.5},
        SQUARE,
    ),
    "mini576_next_p5": (
        {"architecture": "llava-next", "patches": 5, "train": "vanilla", "train_ratio": None},
        TILED,
    ),
}
STRATEGIES: dict[str, tuple[dict[str, Any], tuple[int, ...], float]] = {
    # its settings as in conf/strategy, the layers from which on it has fewer tokens, and the share that stays
    "vanilla": ({"_target_": "pdrop_eval.strategies.vanilla.Vanilla"}, (), 1.0),
    "pdrop": (
        {
            "_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop", "ratio": 0.5, "stages": 4,
            "layers": None, "ratios": None, "rank_with": "next_layer", "score": "softmax",
            "rounding": "floor", "positions": "renumber",
        },
        (2, 4, 6),
        0.5,
    ),
    "fastv": (
        {
            "_target_": "pdrop_eval.strategies.fastv.FastV", "k": 2, "r": 0.5, "rounding": "round",
            "attention_rank": None, "positions": "keep",
        },
        (2,),
        0.5,
    ),
}  # fmt: skip
TASKS = ("gqa", "textvqa_val", "mme")
WORDS = ("yes", "no", "red", "a circle", "2026", "blue square", "left", "four")
CONVENTION = "PyramidDrop Eq. 4 (4nd^2 + 2n^2d + 3ndm a layer), multiply-adds, image tokens only"


@cache
def picture(number: int) -> Image.Image:
    """A picture that no other number has, wide or high."""
    rng = random.Random(number)
    size = rng.choice([(192, 96), (96, 192), (160, 120), (128, 128)])
    image = Image.new("RGB", size, tuple(rng.randrange(160, 256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = rng.randrange(size[0] - 40), rng.randrange(size[1] - 40)
        colour = tuple(rng.randrange(256) for _ in range(3))
        shape = rng.choice([draw.ellipse, draw.rectangle])
        shape((left, top, left + rng.randrange(10, 40), top + rng.randrange(10, 40)), fill=colour)
    draw.text((4, 4), str(number), fill=(0, 0, 0))
    return image


@cache
def png(number: int) -> bytes:
    """The picture as a file."""
    written = io.BytesIO()
    picture(number).save(written, "PNG")
    return written.getvalue()


def write_data(folder: Path, task: str, numbers: Sequence[int]) -> str:
    """A data file with a row a picture, as the rendered suite has one; returns the hash of its content."""
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(number), "path": None} for number in numbers]
    parquet.write_table(pa.table({"image": images}), folder / f"{task}.parquet", row_group_size=16)
    return hashlib.sha256(f"{task} {list(numbers)}".encode()).hexdigest()


@cache
def _hashes(task: str, number: int) -> tuple[str, str]:
    return content_hashes(prompt(task, number), [picture(number)])


def prompt(task: str, number: int) -> str:
    """The question about a picture."""
    return (
        f"What is in the middle of picture {number} of {task}?\nAnswer the question using a word or phrase."
    )


@cache
def _masks(strategy: str, tokens: int, number: int) -> tuple[tuple[tuple[int, str], ...], tuple[int, ...]]:
    """The drops of a strategy on so many tokens, and how many each layer sees."""
    _, layers, share = STRATEGIES[strategy]
    rng, kept, counts, drops = random.Random(number), list(range(tokens)), [], []
    for layer in range(LAYERS):
        if layer in layers:
            kept = sorted(rng.sample(kept, max(1, int(len(kept) * share))))
            marks = [False] * tokens
            for token in kept:
                marks[token] = True
            drops.append((layer, pack(marks)))
        counts.append(len(kept))
    return tuple(drops), tuple(counts)


def samples(
    model: str, strategy: str, task: str, numbers: Sequence[int], seed: int = 0
) -> list[dict[str, Any]]:
    """The answers of a run to the questions about some pictures."""
    rng = random.Random(f"{model} {strategy} {task} {seed}")
    return [sample(model, strategy, task, place, number, rng) for place, number in enumerate(numbers)]


def sample(
    model: str, strategy: str, task: str, place: int, number: int, rng: random.Random
) -> dict[str, Any]:
    """One answer."""
    content, pixels = _hashes(task, number)
    grids = MODELS[model][1].grids([picture(number).size])
    tokens = sum(grid.tokens for grid in grids)
    drops, counts = _masks(strategy, tokens, number)
    target = WORDS[number % len(WORDS)]
    answer = target if rng.random() < 0.7 else rng.choice(WORDS)
    return {
        "doc_id": place,
        "prompt": prompt(task, number),
        "target": target if task != "textvqa_val" else [target] * 3 + ["other"],
        "answer": answer,
        "score": float(answer == target),
        "cluster": place,
        "part": None,
        "content_sha256": content,
        "images_sha256": pixels,
        "prompt_tokens": tokens + 12,
        "image_tokens": tokens,
        "image_tokens_per_layer": list(counts),
        "new_tokens": len(answer.split()),
        "image_sizes": [list(picture(number).size)],
        "image_grids": [grid.to_list() for grid in grids],
        "retained": [list(drop) for drop in drops],
    }


def header(
    model: str, strategy: str, fields: dict[str, Any] | None = None, tokens: int = 144, **settings: Any
) -> dict[str, Any]:
    """What a record says of its run. fields: of the strategy that are not the default; settings: others."""
    own, _, _ = STRATEGIES.get(strategy, ({"_target_": "a.B"}, (), 1.0))
    kind = MODELS.get(model, MODELS["mini576"])[0]
    config = {
        "limit": None, "batch_size": 8, "dtype": "float32", "device": "cpu", "seed": 1,
        "results": "results/runs",
        "strategy": {**own, **(fields or {})},
        "suite": {"name": "mini", "source": "rendered"},
        **settings,
    }  # fmt: skip
    counts = _masks(strategy, tokens, 0)[1] if strategy in STRATEGIES else (tokens,) * LAYERS
    given = [f"{key}={value}" for key, value in settings.items() if not isinstance(value, dict)]
    return {
        "command": " ".join(["pdrop-eval", f"model={model}", f"strategy={strategy}", *given]),
        "config": config,
        "seed": config["seed"],
        "limit": config["limit"],
        "batch_size": config["batch_size"],
        "code": {"version": "0.1.0", "commit": "c" * 40, "dirty": False},
        "packages": {"torch": "2.13.0"},
        "hardware": {"cpu": "A processor", "cores": 2, "gpus": []},
        "model": {"name": model, "size": "mini576", "sha256": "ab" * 32, "dtype": config["dtype"], **kind},
        "strategy": {"name": strategy, "fields": {}},
        "suite": config["suite"],
        "efficiency": {
            "image_tokens": tokens,
            "image_tokens_per_layer": list(counts),
            "tflops": 1e-6 * sum(counts) * 0.35,
            "convention": CONVENTION,
            "kv_cache_bytes": 1024 * sum(counts),
        },
    }


def entry(task: str, found: Sequence[dict[str, Any]], data: str) -> dict[str, Any]:
    """What a record says of a finished task; MME's score is a sum, the others' a mean."""
    known = by_task().get(task)
    share = sum(one["score"] or 0.0 for one in found) / len(found)
    score = known.rule.score(found) if known and known.scale == "sum" else 100 * share
    layers = [
        sum(column) / len(found) for column in zip(*(s["image_tokens_per_layer"] for s in found), strict=True)
    ]
    return {
        "benchmark": known.key if known else task,
        "metric": known.metric if known else "exact_match",
        "score": score,
        "stderr": 20.0 if task == "mme" else 2.5,
        "n": len(found),
        "scale": "sum" if task == "mme" else "0-100",
        "wall_seconds": 0.02 * len(found),
        "retained_tokens_per_layer": layers,
        "tflops_mean": 1e-6 * sum(layers) * 0.35,
        "image_tokens_mean": sum(one["image_tokens"] for one in found) / len(found),
        "image_tokens_max": max(one["image_tokens"] for one in found),
        "data_sha256": data,
    }


@contextlib.contextmanager
def no_sync() -> Iterator[None]:
    """Files need not outlive the machine here."""
    with mock.patch("os.fsync", return_value=None):
        yield


def write_run(
    root: Path, model: str, strategy: str, tasks: dict[str, tuple[list[dict[str, Any]], str]], *,
    status: str = "completed", identity: Any = None, head: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """A run with the samples and the data hash of each task; returns its folder."""
    made = head or header(model, strategy)
    named = {"model": model, "strategy": strategy, "config": made["config"], "more": identity}
    with no_sync(), Run.open(root, model, strategy, named, made) as run:
        for task, (found, data) in tasks.items():
            run.add_task(task, entry(task, found, data), found)
        if status == "completed":
            run.complete()
        elif status == "failed":
            run.fail("RuntimeError: the model has left")
    return run.folder


def settings_of(number: int) -> tuple[str, str, dict[str, Any]]:
    """The model, the strategy and the settings of a run; no two numbers have the same."""
    model = list(MODELS)[number % len(MODELS)]
    strategy = list(STRATEGIES)[number // len(MODELS) % len(STRATEGIES)]
    again = number // (len(MODELS) * len(STRATEGIES))
    fields: dict[str, Any] = {}
    if again and strategy == "pdrop":
        fields = {"ratio": round(0.5 + 0.01 * again, 2)}
    elif again and strategy == "fastv":
        fields = {"r": round(0.5 + 0.01 * again, 2)}
    return model, strategy, {"fields": fields, **({"seed": 1 + again} if again else {})}


def write_runs(
    root: Path,
    data: Path,
    number: int = 6,
    tasks: Sequence[str] = TASKS,
    questions: int = 20,
    limited: bool = True,
) -> list[Path]:
    """So many runs on the same questions, whose pictures lie in `data`; limited: every fifth has a limit."""
    pictures = list(range(questions))
    hashes = {task: write_data(data, task, pictures) for task in tasks}
    folders = []
    for one in range(number):
        model, strategy, settings = settings_of(one)
        limit = max(1, questions // 2) if limited and one % 5 == 4 else None
        head = header(model, strategy, limit=limit, data={"root": str(data)}, **settings)
        asked = pictures[:limit]
        found = {task: (samples(model, strategy, task, asked, one), hashes[task]) for task in tasks}
        folders.append(write_run(root, model, strategy, found, head=head, identity=one))
    return folders


if __name__ == "__main__":
    place, wanted = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12
    print(*write_runs(place / "runs", place / "data", wanted), sep="\n")
