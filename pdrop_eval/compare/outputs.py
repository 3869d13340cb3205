"""The files of a comparison: where they lie, removed before it starts, written whole when it has ended.

Files of an earlier comparison under the same name would look like this one's if it were killed, so they go
first. Of what could not be compared, the files say so.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.checks import check_results_folder
from pdrop_eval.compare.settings import Settings
from pdrop_eval.errors import UserError
from pdrop_eval.files import unwritable, write_atomically

if TYPE_CHECKING:
    from pdrop_eval.compare.runs import Side

KINDS = ("md", "json", "xml", "answers.jsonl", "answers.html")
PICTURES = ".pictures"
_LONGEST = 100  # letters of a name


@dataclass(frozen=True)
class Place:
    """The folder, and the name that all files begin with."""

    folder: Path
    name: str

    def path(self, kind: str) -> Path:
        """The file of a kind."""
        return self.folder / f"{self.name}.{kind}"

    @property
    def pictures(self) -> Path:
        """The folder of the small pictures."""
        return self.folder / f"{self.name}{PICTURES}"


def prepare(settings: Settings) -> Place:
    """The place of the outputs, without those of an earlier comparison. Raises UserError."""
    place = Place(settings.out, settings.name or default_name(settings))
    check_results_folder(place.folder)
    try:
        for old in [*map(place.path, KINDS), *place.pictures.glob("*.png")]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(place.folder, error) from error
    return place


def default_name(settings: Settings) -> str:
    """`vanilla_vs_pdrop_mini_64`: both sides with their own settings, and model and limit if they are given.

    Cut, with a hash of all of it, where it would become too long.
    """
    given = dict(text.split("=", 1) for text in settings.common if "=" in text)
    sides = [
        "-".join([Path(settings.baseline).name, *settings.baseline_overrides]),
        "-".join([Path(settings.candidate).name, *settings.candidate_overrides]),
    ]
    parts = [sides[0], "vs", sides[1], *(given[name] for name in ("model", "limit") if name in given)]
    slugs = [re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") or "unnamed" for part in parts]
    name = "_".join(slugs)
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write(
    place: Place,
    settings: Settings,
    sides: Sequence["Side"],
    document: dict[str, Any],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Writes everything; the pictures of the first changed answers before what names them."""
    from pdrop_eval.compare.answers import as_lines, page, pictures

    first = _first(rows, settings.examples)
    document["files"] = {"stem": str(place.folder / place.name), "kinds": list(KINDS)}
    _written(place.folder, {place.pictures / name: png for name, png in pictures(sides, first)})
    texts = {"answers.jsonl": as_lines(rows), "answers.html": page(document, first, place.pictures.name)}
    _written(place.folder, {place.path(kind): text for kind, text in texts.items()})
    _write(place, document, first)


def write_failure(place: Place, settings: Settings, error: BaseException) -> None:
    """Writes why there is no comparison, as far as that can be written at all."""
    from pdrop_eval.compare.document import failed_document

    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    try:
        _write(place, failed_document(settings, reason), ())
    except Exception:  # the first error is the one to show
        return


def _write(place: Place, document: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    from pdrop_eval.compare.junit import junit
    from pdrop_eval.compare.markdown import markdown

    texts = {
        "md": markdown(document, rows),
        "xml": junit(document),
        "json": json.dumps(document, ensure_ascii=True, allow_nan=False, indent=1) + "\n",
    }
    _written(place.folder, {place.path(kind): text for kind, text in texts.items()})


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
        try:
            write_atomically(path, content)
        except OSError as error:
            raise unwritable(folder, error) from error
