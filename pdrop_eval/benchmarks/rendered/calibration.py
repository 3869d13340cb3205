"""Questions to calibrate with: the benchmarks' in form, about pictures that no evaluation shows.

They come from random numbers of their own, and a picture that is one of the rendered suite's by chance, in
any of its benchmarks, is left out.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import groupby, islice
from pathlib import Path

from pdrop_eval.benchmarks.rendered.asked import TASKS, Asked, asked
from pdrop_eval.benchmarks.rendered.pictures import Picture
from pdrop_eval.benchmarks.rendered.suite import (
    Rendered,
    as_rows,
    default_root,
    ensure_folder,
    render,
    suite_version,
)
from pdrop_eval.utils.files import write_atomically


def render_calibration(task: str, number: int, seed: int) -> list[Rendered]:
    """The first `number` calibration questions of a task, as `suite.render` returns those of the suite.

    Args:
        task: the benchmark's.
        number: of questions.
        seed: other seeds ask about other pictures.
    """
    return as_rows(task, islice(_unseen(task, seed), number))


def ensure_calibration(tasks: Sequence[str], number: int, seed: int, root: Path | None = None) -> Path:
    """The folder with `<task>.parquet` for some tasks and `manifest.json`, rendered if it is missing.

    Args:
        tasks: the tasks.
        number: of questions a task.
        seed: see `render_calibration`.
        root: where such folders are kept; None: beside the suite's.

    Raises:
        UserError: The folder cannot be written.
    """
    said = hashlib.sha256(json.dumps([suite_version(), _version(), [*tasks], number, seed]).encode())
    folder = Path(root or default_root()) / f"calibration-{said.hexdigest()[:10]}"
    return ensure_folder(folder, tasks, partial(render_calibration, number=number, seed=seed))


def pixels_sha256(picture: Picture) -> str:
    """SHA-256 of a picture's pixels and size."""
    shape = "x".join(map(str, picture.image.shape))
    return hashlib.sha256(shape.encode() + picture.image.tobytes()).hexdigest()


@cache
def evaluated_pictures() -> frozenset[str]:
    """The hashes of all pictures of the rendered suite; they are kept, because rendering takes seconds."""
    path = default_root() / f"pictures-{suite_version()}-{_version()}.json"
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        found = {pixels_sha256(picture) for task in TASKS for picture, _, _ in render(task)}
    with contextlib.suppress(OSError):  # they are rendered again the next time
        write_atomically(path, json.dumps(sorted(found)))
    return frozenset(found)


def _unseen(task: str, seed: int) -> Iterator[Asked]:
    """The endless questions about pictures that the suite doesn't show."""
    seen = evaluated_pictures()
    for _, questions in groupby(asked(task, f"calibration:{seed}"), key=lambda one: one[2]):
        group = list(questions)
        if pixels_sha256(group[0][0]) not in seen:
            yield from group


def _version() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:10]
