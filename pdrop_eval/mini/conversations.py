"""Training data of the miniature in LLaVA's format: pictures, conversations about them, and captions.

    python -m pdrop_eval.mini.conversations --out data/mini --pictures 3000

The questions are those of `lessons`: the prompts of all sixteen benchmarks and some exercises. Pictures come
from other random streams than those of the suite and of `make train-mini`. Equal arguments give equal files,
whatever the number of processes.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from pdrop_eval.errors import UserError
from pdrop_eval.files import write_atomically
from pdrop_eval.identity import file_sha256, hash_files
from pdrop_eval.mini import canvas, claims, facts, lessons, packing, pictures, questions
from pdrop_eval.mini.facts import SCENES
from pdrop_eval.mini.packing import draw
from pdrop_eval.mini.pictures import Item, Picture
from pdrop_eval.mini.questions import Question, open_questions
from pdrop_eval.provenance import code_identity

TEXT_EVERY = 50  # pictures to one conversation without a picture, so that mixed batches occur
_CHUNK = 50  # pictures that a process draws at a time
_NOTHING = Picture("nothing", np.zeros((0, 0, 3), np.uint8), (), np.zeros((4, 0), np.int64))
_SOURCES = (canvas, pictures, facts, questions, claims, lessons, packing)


@dataclass(frozen=True)
class Job:
    """Pictures `first` to `last` - 1 of one file; `small` and `turns` as in `render_conversations`."""

    captions: bool
    first: int
    last: int
    seed: int
    turns: tuple[int, int]
    small: float | None
    images: Path


def caption(picture: Picture) -> str:
    """What a picture shows, in the words of the vocabulary: its kind, then each thing with its text."""
    shown = ", ".join(_described(picture, item) for item in picture.items)
    return f"{SCENES[picture.kind]}: {shown}" if picture.kind in SCENES else shown


def _described(picture: Picture, item: Item) -> str:
    text = "" if picture.blurred else item.text
    return " ".join(part for part in (item.color, item.thing, text) if part)


def picture_questions(rng: Random, picture: Picture, small: float | None) -> list[Question]:
    """What can be asked about a picture, in random order.

    `small` is the share of the questions about small print that are kept; None is the lessons' own.
    """
    asked = lessons.training_questions(rng, picture)
    if small is None:
        return asked
    kept = [question for question in asked if not question.small]
    kept += [q for q in open_questions(rng, picture) if q.small and rng.random() < small]
    rng.shuffle(kept)
    return kept


def varied(asked: list[Question]) -> list[Question]:
    """The same questions, those first that look at a place of the picture that none before them looks at.

    So that an early answer seldom gives a later one away, which could then be copied without looking.
    """
    seen: set[int] = set()
    fresh: list[Question] = []
    again: list[Question] = []
    for question in asked:
        (again if seen.intersection(question.evidence) else fresh).append(question)
        seen.update(question.evidence)
    return fresh + again


def text_questions(rng: Random, count: int) -> list[Question]:
    """Different exercises that need no picture: which option is the named color or shape?"""
    asked: dict[str, Question] = {}
    while len(asked) < count:
        found = lessons.exercises(rng, _NOTHING)[0]
        asked[found.prompt] = found
    return list(asked.values())


def _entry(name: str, asked: list[tuple[str, str]], image: str | None) -> dict[str, Any]:
    """One entry of LLaVA's JSON."""
    turns = []
    for prompt, answer in asked:
        mark = "<image>\n" if image and not turns else ""
        turns += [{"from": "human", "value": (mark + prompt).strip()}, {"from": "gpt", "value": answer}]
    return {"id": name, **({"image": image} if image else {}), "conversations": turns}


def make(job: Job) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Writes a job's pictures; returns its entries, and the pictures' SHA-256 by name."""
    entries: list[dict[str, Any]] = []
    written: dict[str, str] = {}
    for number in range(job.first, job.last):
        name = f"{'caption' if job.captions else 'picture'}-{number:06d}"
        rng = Random(f"conversation:{job.seed}:{'caption:' if job.captions else ''}{number}")
        picture = draw(rng)
        if job.captions:
            asked = [("", caption(picture))]
        else:
            chosen = varied(picture_questions(rng, picture, job.small))[: rng.randint(*job.turns)]
            asked = [(question.prompt, question.answer) for question in chosen]
        entries.append(_entry(name, asked, f"{name}.png"))
        data = _png(picture)
        (job.images / f"{name}.png").write_bytes(data)
        written[f"{name}.png"] = hashlib.sha256(data).hexdigest()
        if not job.captions and number % TEXT_EVERY == TEXT_EVERY - 1:
            entries.append(_text_entry(job, number // TEXT_EVERY))
    return entries, written


def _text_entry(job: Job, number: int) -> dict[str, Any]:
    rng = Random(f"conversation:{job.seed}:text:{number}")
    asked = [(q.prompt, q.answer) for q in text_questions(rng, rng.randint(*job.turns))]
    return _entry(f"text-{number:06d}", asked, None)


def _png(picture: Picture) -> bytes:
    """The picture as a PNG file, quickly rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@contextmanager
def _made(jobs: list[Job], processes: int) -> Iterator[Iterator[tuple[list[dict], dict[str, str]]]]:
    """The jobs' results in order, made by so many processes."""
    if min(processes, len(jobs)) < 2:
        yield map(make, jobs)
        return
    context = multiprocessing.get_context("spawn")  # torch is imported, so no fork
    with ProcessPoolExecutor(min(processes, len(jobs)), context) as pool:
        try:
            yield pool.map(make, jobs)
        finally:
            pool.shutdown(cancel_futures=True)


def _write(path: Path, jobs: list[Job], processes: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Writes one file of conversations, an entry a line; returns what is said of it, and its pictures."""
    counts = {"conversations": 0, "text_only": 0, "turns": 0}
    written: dict[str, str] = {}
    with open(path, "w", encoding="utf-8", newline="\n") as file, _made(jobs, processes) as results:
        for entries, images in results:
            for entry in entries:
                file.write(",\n" if counts["conversations"] else "[\n")
                file.write(json.dumps(entry, ensure_ascii=False))
                counts["conversations"] += 1
                counts["text_only"] += "image" not in entry
                counts["turns"] += len(entry["conversations"]) // 2
            written.update(images)
        file.write("\n]\n")
    return {**counts, "sha256": file_sha256(path)}, written


def _render(folder: Path, arguments: dict[str, Any], processes: int) -> None:
    """Renders into an empty folder; data.json comes last."""
    images = folder / "images"
    images.mkdir()
    found: dict[str, Any] = {}
    written: dict[str, str] = {}
    settings = arguments["seed"], tuple(arguments["turns"]), arguments["small"], images
    for name, number in (("instruct", arguments["pictures"]), ("captions", arguments["captions"])):
        bounds = [(first, min(first + _CHUNK, number)) for first in range(0, number, _CHUNK)]
        jobs = [Job(name == "captions", first, last, *settings) for first, last in bounds]
        if jobs:
            found[f"{name}.json"], made = _write(folder / f"{name}.json", jobs, processes)
            written.update(made)
    found["images"] = {"pictures": len(written), "sha256": _combined(written)}
    data = {"schema": 1, "arguments": arguments, "files": found, "code": code_identity()}
    write_atomically(folder / "data.json", json.dumps(data, indent=1) + "\n")


def _combined(hashes: dict[str, str]) -> str:
    """One SHA-256 for all pictures, as `hash_files` makes it of the files in the order of their names."""
    lines = "".join(f"{name}\0{hashes[name]}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _renderer() -> str:
    """Ten hexadecimal digits that change with the code that renders."""
    return hash_files([Path(__file__), *(Path(str(module.__file__)) for module in _SOURCES)])[:10]


def render_conversations(
    out: Path,
    pictures: int,
    captions: int = 0,
    turns: tuple[int, int] = (1, 5),
    seed: int = 0,
    small: float | None = None,
    processes: int = 1,
) -> Path:
    """Renders instruct.json, captions.json, images/ and data.json, which says how they were made, into `out`.

    `pictures`: conversations of instruct.json that have a picture; for every 50 there is one without.
    `captions`: pictures of captions.json, which are others. `turns`: least and most questions to a
    conversation. `small`: the share of the questions about small print that can be drawn, 0 to 1; None is
    the lessons' share, for models that see too little to read it. Complete data of the same arguments are
    left alone; an interrupted rendering leaves `out` as it was. Raises UserError for wrong arguments, and if
    `out` holds something else.
    """
    arguments = {
        "pictures": pictures,
        "captions": captions,
        "turns": list(turns),
        "seed": seed,
        "small": small,
        "renderer": _renderer(),
    }
    _check(arguments, processes)
    out = Path(out)
    if _is_complete(out, arguments):
        print(f"{out} already holds these conversations; nothing is rendered.")
        return out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-rendering-", dir=out.parent))
        try:
            _render(work, arguments, processes)
            work.chmod(0o755)
            os.replace(work, out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"Conversations can't be written to {out}: {error.strerror or error}. Free some space, or choose "
            "a folder that can be written, and run the same command again."
        ) from error
    return out


def _check(arguments: dict[str, Any], processes: int) -> None:
    """Refuses numbers that make no sense."""
    least, most = arguments["turns"]
    if not 1 <= least <= most:
        raise UserError(f"turns={least}-{most}: name two whole numbers, 1 or more, the lesser first: 1-5.")
    for name, value, lowest in (
        ("pictures", arguments["pictures"], 0),
        ("captions", arguments["captions"], 0),
        ("processes", processes, 1),
    ):
        if value < lowest:
            raise UserError(f"{name}={value}: {lowest} or more is allowed.")
    if not arguments["pictures"] + arguments["captions"]:
        raise UserError("pictures=0 and captions=0: there is nothing to render. Name a number of pictures.")
    small = arguments["small"]
    if small is not None and not 0 <= small <= 1:
        raise UserError(f"small={small}: a share from 0 to 1 is allowed, or nothing for the lessons' own.")


def _is_complete(out: Path, arguments: dict[str, Any]) -> bool:
    """Whether `out` holds these very data. Raises UserError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    fix = "Name another folder, or remove this one."
    try:
        data = json.loads((out / "data.json").read_text(encoding="utf-8"))
        made, files = dict(data["arguments"]), dict(data["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{out} is there and is no folder of rendered conversations. {fix}") from None
    other = [
        f"{key} {made.get(key)} instead of {value}"
        for key, value in arguments.items()
        if made.get(key) != value
    ]
    if other:
        raise UserError(f"{out} holds conversations that were rendered with {', '.join(other)}. {fix}")
    damaged = [name for name, said in files.items() if not _is_whole(out / name, said["sha256"])]
    if damaged:
        raise UserError(f"{out / damaged[0]} is not as it was rendered: it was changed or is missing. {fix}")
    return True


def _is_whole(path: Path, sha256: str) -> bool:
    if path.is_dir():
        return hash_files(sorted(path.glob("*.png"))) == sha256
    return path.is_file() and file_sha256(path) == sha256


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    return int(least), int(most or least)


def main() -> None:
    """Parse the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--pictures", type=int, default=3000, help="conversations about a picture")
    parser.add_argument("--captions", type=int, default=1000, help="pictures with a caption")
    parser.add_argument(
        "--turns", type=_range, default=(1, 5), metavar="1-5", help="questions to a conversation"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--small", type=float, metavar="SHARE", help="of the questions about small print; 0 to 1"
    )
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    try:
        out = render_conversations(**vars(options))
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"The conversations are in {out}.")


if __name__ == "__main__":
    main()
