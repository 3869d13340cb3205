"""The files of a comparison: where they lie, removed before it starts, written whole when it has ended.

Files of an earlier comparison under the same name would look like this one's if it were killed, so they go
first. Of what could not be compared, the files say so.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.report.compare.place import KINDS, Place
from pdrop_eval.run.config.checks import check_results_folder
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import HeldError, Lock, unwritable, write_atomically, writing_to

if TYPE_CHECKING:
    from pdrop_eval.report.compare.runs import Side
    from pdrop_eval.report.compare.settings import Settings


@contextmanager
def held(place: Place) -> Iterator[None]:
    """Holds the place for this process, and removes the files of an earlier comparison.

    Raises:
        UserError: Another process writes them, whose files they then are, or nobody can.
    """
    lock = None
    try:
        check_results_folder(place.folder)
        place.locked.mkdir(parents=True, exist_ok=True)
        lock = Lock(place.locked)
        place.clear()
    except HeldError:  # the files are the other's
        raise UserError(
            f"Another comparison is writing {place.stem}.* right now. Wait until it has ended, or give this "
            "one another name=."
        ) from None
    except UserError:
        place.forget()
        raise
    except OSError as error:
        place.forget()
        raise unwritable(place.folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write(
    place: Place,
    settings: "Settings",
    sides: Sequence["Side"],
    document: dict[str, Any],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Writes everything; the pictures of the first changed answers before what names them."""
    from pdrop_eval.report.compare.output.changed_answers import as_lines, page, pictures

    first = _first(rows, settings.examples)
    document["files"] = {"stem": place.stem, "kinds": list(KINDS)}
    _written(place.folder, {place.pictures / name: png for name, png in pictures(sides, first)})
    texts = {"answers.jsonl": as_lines(rows), "answers.html": page(document, first, place.pictures.name)}
    _written(place.folder, {place.path(kind): text for kind, text in texts.items()})
    _written(place.folder, _texts(place, document, first))


def write_failure(
    place: Place, arguments: Sequence[str], settings: "Settings | None", error: BaseException
) -> None:
    """Writes why there is no comparison, as far as that can be written; nothing else is left in any case."""
    place.forget()
    with contextlib.suppress(Exception):  # the first error is the one to show
        from pdrop_eval.report.compare.output.failure import failed_document

        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        for path, text in _texts(place, failed_document(arguments, settings, reason), ()).items():
            with contextlib.suppress(OSError):
                write_atomically(path, text)


def _texts(
    place: Place, document: dict[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[Path, str | bytes]:
    """The files that a failure has as well; the Markdown, which people see, comes last."""
    from pdrop_eval.report.compare.output.junit import junit
    from pdrop_eval.report.compare.output.markdown import markdown

    return {
        place.path("json"): json.dumps(document, ensure_ascii=True, allow_nan=False, indent=1) + "\n",
        place.path("xml"): junit(document),
        place.path("md"): markdown(document, rows),
    }


def _first(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The first few of each benchmark."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row["benchmark"]] = seen.get(row["benchmark"], 0) + 1
        if seen[row["benchmark"]] <= most:
            kept.append(row)
    return kept


def _written(folder: Path, files: Mapping[Path, str | bytes]) -> None:
    for path, content in files.items():
        with writing_to(folder):
            write_atomically(path, content)
