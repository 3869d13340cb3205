"""Training data of the miniature in LLaVA's format: pictures, conversations about them, and captions.

    python -m tools.mini.conversations --out data/mini --pictures 3000

Equal arguments give equal files, whatever the number of processes. `dialogues` says what they hold.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pdrop_eval.utils.code.hashing import file_sha256, hash_files
from pdrop_eval.utils.code.provenance import code_identity
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import Lock, write_atomically
from pdrop_eval.utils.terminal.log import log_rank_zero
from tools.mini import dialogues
from tools.mini.dialogues import Job, make

Results = Iterator[tuple[list[dict[str, Any]], dict[str, str]]]
_CHUNK = 50  # pictures that a process draws at a time


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
    conversation. `small`: the share of the questions about small print that can be drawn, 0 to 1; None is the
    lessons' share, for models that see too little to read it. Complete data of the same arguments are left
    alone; an interrupted rendering leaves `out` as it was and starts over.

    Raises:
        UserError: Wrong arguments, and if `out` holds something else.
    """
    out = Path(out)
    arguments = {
        "pictures": pictures,
        "captions": captions,
        "turns": list(turns),
        "seed": seed,
        "small": small,
    }
    _check(arguments, processes)
    if _is_complete(out, arguments):
        return out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(out)
        work = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        lock = Lock(work)
        try:
            _render(work, arguments, processes)
            (work / ".lock").unlink()
            work.chmod(0o755)
            _publish(work, out, arguments)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            lock.release()
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
    lowest = {"pictures": 0, "captions": 0, "processes": 1}
    for name, value in {**arguments, "processes": processes}.items():
        if name in lowest and value < lowest[name]:
            raise UserError(f"{name}={value}: {lowest[name]} or more is allowed.")
    if not arguments["pictures"] + arguments["captions"]:
        raise UserError("pictures=0 and captions=0: there is nothing to render. Name a number of pictures.")
    small = arguments["small"]
    if small is not None and not 0 <= small <= 1:
        raise UserError(f"small={small}: a share from 0 to 1 is allowed, or none for the lessons' own.")


def _is_complete(out: Path, arguments: dict[str, Any]) -> bool:
    """Whether `out` holds these very data. Raises UserError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    fix = "Name another folder, or remove this one."
    try:
        data = json.loads((out / "data.json").read_text(encoding="utf-8"))
        made = dict(data["arguments"])
        hashes = {str(name): str(said["sha256"]) for name, said in data["files"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{out} is there and is no folder of rendered conversations. {fix}") from None
    other = [f"{k} {made.get(k)} instead of {v}" for k, v in arguments.items() if made.get(k) != v]
    if other:
        raise UserError(f"{out} holds conversations that were rendered with {', '.join(other)}. {fix}")
    for name, sha256 in hashes.items():
        if not _is_whole(out / name, sha256):
            raise UserError(f"{out / name} is not as it was rendered: it was changed or is missing. {fix}")
    aged = data.get("renderer") != _renderer()
    hint = ", rendered by other code than this; remove the folder to render them anew" if aged else ""
    log_rank_zero(f"{out} already holds these conversations{hint}.")
    return True


def _is_whole(path: Path, sha256: str) -> bool:
    if path.is_dir():
        return hash_files(sorted(path.glob("*.png"))) == sha256
    return path.is_file() and file_sha256(path) == sha256


def _prefix(out: Path) -> str:
    return f".{out.name}-rendering-"


def _clear_leftovers(out: Path) -> None:
    """Removes what killed renderings of `out` left; nobody holds their locks any more."""
    for path in list(out.parent.iterdir()):
        if path.name.startswith(_prefix(out)) and path.is_dir():
            with suppress(UserError):
                Lock(path).release()
                shutil.rmtree(path, ignore_errors=True)


def _render(folder: Path, arguments: dict[str, Any], processes: int) -> None:
    """Renders into an empty folder; data.json comes last."""
    images = folder / "images"
    images.mkdir()
    files: dict[str, Any] = {}
    written: dict[str, str] = {}
    settings = arguments["seed"], tuple(arguments["turns"]), arguments["small"], images
    numbers = {"instruct": arguments["pictures"], "captions": arguments["captions"]}
    with _workers(min(processes, -(-max(numbers.values()) // _CHUNK))) as run:
        for name, number in numbers.items():
            starts = range(0, number, _CHUNK)
            jobs = [Job(name == "captions", i, min(i + _CHUNK, number), *settings) for i in starts]
            if jobs:
                files[f"{name}.json"], made = _write(folder / f"{name}.json", run(jobs), number)
                written.update(made)
    lines = "".join(f"{name}\0{written[name]}\n" for name in sorted(written))  # as hash_files does it
    files["images"] = {"pictures": len(written), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    data = {
        "schema": 1,
        "arguments": arguments,
        "files": files,
        "renderer": _renderer(),
        "code": code_identity(),
    }
    write_atomically(folder / "data.json", json.dumps(data, indent=1) + "\n")


def _write(path: Path, results: Results, number: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Writes one file of conversations, an entry a line; returns what is said of it, and its pictures."""
    counts = {"conversations": 0, "text_only": 0, "turns": 0}
    written: dict[str, str] = {}
    bar = tqdm(total=number, desc=path.stem, unit=" pictures", disable=None)  # on a terminal only
    with open(path, "w", encoding="utf-8", newline="\n") as file, bar:
        for entries, images in results:
            for entry in entries:
                file.write(",\n" if counts["conversations"] else "[\n")
                file.write(json.dumps(entry, ensure_ascii=False))
                counts["conversations"] += 1
                counts["text_only"] += "image" not in entry
                counts["turns"] += len(entry["conversations"]) // 2
            written.update(images)
            bar.update(len(images))
        file.write("\n]\n")
    return {**counts, "sha256": file_sha256(path)}, written


@contextmanager
def _workers(processes: int) -> Iterator[Callable[[list[Job]], Results]]:
    """Makes jobs in so many processes, or in this one; results come in the jobs' order."""
    if processes < 2:
        yield lambda jobs: map(make, jobs)
        return
    context = multiprocessing.get_context("spawn")  # torch is imported, so no fork
    with ProcessPoolExecutor(processes, context) as pool:
        try:
            yield lambda jobs: pool.map(make, jobs)
        finally:
            pool.shutdown(cancel_futures=True)


def _renderer() -> str:
    """Ten hexadecimal digits that change with the code of pictures, questions and answers."""
    return hash_files([Path(dialogues.__file__), *dialogues.SOURCES])[:10]


def _publish(work: Path, out: Path, arguments: dict[str, Any]) -> None:
    """Renames the finished folder into place; another process may have been faster."""
    try:
        os.replace(work, out)
    except OSError:
        if not _is_complete(out, arguments):
            raise


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    return int(least), int(most or least)


def main() -> None:
    """Parse the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--pictures", type=int, default=3000, help="conversations about a picture")
    parser.add_argument("--captions", type=int, default=1000, help="pictures with a caption")
    parser.add_argument("--turns", type=_range, default=(1, 5), metavar="1-5", help="questions each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--small", type=float, metavar="SHARE", help="share of the questions about small print, 0 to 1"
    )
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    try:
        out = render_conversations(**vars(options))
    except UserError as error:
        parser.error(str(error))
    print(f"The conversations are in {out}.")


if __name__ == "__main__":
    main()
