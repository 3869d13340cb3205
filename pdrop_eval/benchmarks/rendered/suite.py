"""The rendered suite: the sixteen benchmarks in miniature with the columns of the real data sets.

`ensure_suite` renders on first use, deterministically and from other random streams than training. Pictures
stand for photographs, signs, charts, forms, infographics and book covers; the questions are the benchmarks'
in form, not in content.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from pdrop_eval.benchmarks.registry import check_benchmark
from pdrop_eval.benchmarks.rendered import asked, canvas, claims, columns, facts, pictures, questions
from pdrop_eval.benchmarks.rendered.asked import TASKS
from pdrop_eval.benchmarks.rendered.pictures import Picture
from pdrop_eval.benchmarks.rendered.questions import Question
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import cache_folder

QUESTIONS = 240  # a benchmark
Rendered = tuple[Picture, Question, dict]
_SOURCES = (canvas, pictures, facts, questions, claims, asked, columns)


def render(task: str, number: int = QUESTIONS) -> list[Rendered]:
    """The first `number` questions of a task: picture, question and the data set's row without its image.

    Raises:
        UserError: A task that there isn't, with those that there are.
    """
    check_benchmark("task", task, TASKS)
    return as_rows(task, islice(asked.asked(task), number))


def as_rows(task: str, questions: Iterable[asked.Asked]) -> list[Rendered]:
    """Questions of a task as `render` returns them."""
    return [
        (picture, question, columns.columns(task, picture, question, place, image))
        for place, (picture, question, image) in enumerate(questions)
    ]


def content_hash(picture: Picture, row: dict) -> str:
    """sha256 of a row's pixels and fields, whatever the file format."""
    digest = hashlib.sha256(picture.image.tobytes())
    digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()


def suite_version() -> str:
    """Ten hexadecimal digits that change whenever the code that renders the suite does."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for module in _SOURCES:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:10]


def default_root() -> Path:
    """Where rendered suites are kept: `$PDROP_EVAL_CACHE`, else `~/.cache/pdrop-eval`."""
    return cache_folder()


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "PNG")
    return buffer.getvalue()


def write_task(task: str, rendered: Sequence[Rendered], folder: Path) -> dict:
    """Write one task's parquet file; returns its entry in the manifest."""
    import datasets

    images: list = [{"bytes": png(picture), "path": None} for picture, _, _ in rendered]
    feature: Any = datasets.Image()
    if task in columns.LISTS:
        images, feature = [[image] for image in images], datasets.Sequence(datasets.Image())
    rows = [{"image": image, **row} for image, (_, _, row) in zip(images, rendered, strict=True)]
    data = datasets.Dataset.from_list(rows)
    strings = {
        name: datasets.Value("string")
        for name, kind in data.features.items()
        if getattr(kind, "dtype", "") == "null"
    }
    data = data.cast(datasets.Features({**data.features, **strings, "image": feature}))
    path = folder / f"{task}.parquet"
    data.to_parquet(path)
    hashes = [content_hash(picture, row) for picture, _, row in rendered]
    return {
        "rows": len(rows),
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def ensure_suite(root: Path | None = None) -> Path:
    """The folder with `<task>.parquet` for the sixteen tasks and `manifest.json`, rendered if it is missing.

    Raises:
        UserError: The folder cannot be written.
    """
    return ensure_folder(Path(root or default_root()) / f"suite-{suite_version()}", TASKS, render)


def ensure_folder(folder: Path, tasks: Sequence[str], rendered: Callable[[str], list[Rendered]]) -> Path:
    """A folder with `<task>.parquet` for some tasks and `manifest.json`, written if it is missing.

    Args:
        folder: where they lie; its name has to change with the questions.
        tasks: the tasks.
        rendered: gives the questions of a task.

    Raises:
        UserError: The folder cannot be written.
    """
    if (folder / "manifest.json").is_file():
        return folder
    import datasets

    quiet = datasets.utils.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="rendering-", dir=folder.parent))
        try:
            manifest = {"tasks": {task: write_task(task, rendered(task), work) for task in tasks}}
            (work / "manifest.json").write_text(json.dumps(manifest, indent=1))
            work.chmod(0o755)
            _publish(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"The rendered suite cannot be written to {folder}: {error}. "
            "Set PDROP_EVAL_CACHE to a folder that can be written."
        ) from error
    finally:
        if quiet:
            datasets.enable_progress_bars()
    return folder


def _publish(work: Path, folder: Path) -> None:
    """Rename the finished folder into place; another process may have been faster."""
    try:
        os.replace(work, folder)
    except OSError:
        if not (folder / "manifest.json").is_file():
            raise


if __name__ == "__main__":
    print(ensure_suite())
