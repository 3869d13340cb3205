"""The runs of an experiment that can't be made, each with the reason: a file beside the records.

A run that is refused before it begins has no record; a table still has a row for it.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically, writing_to

FILE = "left_out.json"
_SCHEMA = 1
_TEXTS = ("model", "suite", "strategy", "reason")


@dataclass(frozen=True)
class LeftOut:
    """A run that isn't there.

    Attributes:
        model: Its name in `conf/model`.
        suite: Its name in `conf/suite`.
        strategy: Its name in records.
        settings: Its settings that aren't the default, and its budget, as overrides.
        reason: Why it can't be made, in one line.
    """

    model: str
    suite: str
    strategy: str
    settings: tuple[str, ...]
    reason: str

    @property
    def run(self) -> tuple[str, str, str, tuple[str, ...]]:
        """What was to be run."""
        return self.model, self.suite, self.strategy, self.settings


def read_left_out(root: Path) -> list[LeftOut]:
    """Return the runs that experiments with records in this folder have left out.

    Raises:
        UserError: The file can't be read.
    """
    path = root / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [_entry(one) for one in found["runs"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} can't be read: {type(error).__name__}: {error}. Remove it; the same experiment again "
            "writes it anew."
        ) from error


def note_left_out(root: Path, found: Iterable[LeftOut], tried: Collection[tuple]) -> None:
    """Write down what was left out of the runs that were tried; what is known of others stays.

    Args:
        root: The folder of the records.
        found: Those that can't be made.
        tried: `LeftOut.run` of all.

    Raises:
        UserError: It can't be written.
    """
    before = read_left_out(root)
    now = [*(one for one in before if one.run not in tried), *found]
    if now != before:
        entries = [asdict(one) for one in sorted(now, key=lambda one: one.run)]
        text = json.dumps({"schema": _SCHEMA, "runs": entries}, indent=2, ensure_ascii=False) + "\n"
        with writing_to(root):
            root.mkdir(parents=True, exist_ok=True)
            write_atomically(root / FILE, text)


def _entry(found: Any) -> LeftOut:
    texts = {name: found[name] for name in _TEXTS}
    if not all(isinstance(text, str) for text in [*texts.values(), *found["settings"]]):
        raise TypeError("an entry that is no text")
    return LeftOut(**texts, settings=tuple(found["settings"]))
