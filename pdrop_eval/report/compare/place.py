"""Where the files of a comparison lie: found from the bare command line, so that a wrong one has them too.

Imports nothing of the package: even where that is broken, an earlier "Passed" must not stand in these files.
"""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = ("json", "xml", "answers.jsonl", "answers.html", "md")
PICTURES = ".pictures"
OUT, BASELINE, CANDIDATE = "results/compare", "vanilla", "pdrop"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST = 100  # letters of a name
_LOCKS = ".locks"


@dataclass(frozen=True)
class Place:
    """The folder, and the name that all files begin with."""

    folder: Path
    name: str

    def path(self, kind: str) -> Path:
        """The file of a kind."""
        return self.folder / f"{self.name}.{kind}"

    @property
    def stem(self) -> str:
        """What all files begin with, with the folder."""
        return str(self.folder / self.name)

    @property
    def pictures(self) -> Path:
        """The folder of the small pictures."""
        return self.folder / f"{self.name}{PICTURES}"

    @property
    def locked(self) -> Path:
        """The folder that a process holds while it writes these files."""
        return self.folder / _LOCKS / self.name

    @property
    def files(self) -> list[Path]:
        """Every file that may be there."""
        return [*map(self.path, KINDS), *self.pictures.glob("*.png")]

    def clear(self) -> None:
        """Removes all files, also the ones behind one that can't be removed. Raises the first OSError."""
        errors = []
        for path in self.files:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def forget(self) -> None:
        """Removes what can be removed."""
        with contextlib.suppress(OSError):
            self.clear()


def find(arguments: Sequence[str]) -> Place:
    """The place that a command line names, however wrong the rest of it is."""
    given = _given(arguments)
    name, out = unquoted(given.get("name", "")), unquoted(given.get("out", ""))
    usable = name != "null" and NAME.fullmatch(name)
    return Place(Path(out or OUT).expanduser(), name if usable else default_name(arguments))


def asked(arguments: Sequence[str]) -> dict[str, str]:
    """What a command line names as baseline and candidate, with what each is given alone."""
    given = _given(arguments)
    sides = {}
    for role, default in (("baseline", BASELINE), ("candidate", CANDIDATE)):
        own = given.get(f"{role}_overrides", "").strip("[]").strip()
        sides[role] = " ".join(filter(None, [_called(unquoted(given.get(role, default))), own]))
    return sides


def default_name(arguments: Sequence[str]) -> str:
    """`vanilla_vs_pdrop_mini_64`: both sides, and model and limit if they are given.

    Whatever else is given, and what these words don't say in full (a folder's path), is in a hash behind it:
    two comparisons that differ have two names.
    """
    given = _given(arguments)
    sides = [unquoted(given.get("baseline", BASELINE)), unquoted(given.get("candidate", CANDIDATE))]
    own = [given.get(f"{role}_overrides", "").strip("[]") for role in ("baseline", "candidate")]
    parts = ["-".join(filter(None, [_called(side), text])) for side, text in zip(sides, own, strict=True)]
    parts = [
        parts[0],
        "vs",
        parts[1],
        *(given[name] for name in ("model", "limit", "subset") if name in given),
    ]
    slugs = [re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") or "unnamed" for part in parts]
    said = {"baseline", "candidate", "model", "limit", "subset", "out", "name"}
    rest = sorted(argument for argument in arguments if _key(argument) not in said)
    rest += [part for part, slug in zip([*sides, *parts[3:]], [slugs[0], slugs[2], *slugs[3:]], strict=True)
             if part != slug]  # fmt: skip
    name = "_".join(slugs)
    if not rest and len(name) <= _LONGEST:
        return name
    code = hashlib.sha256("\n".join([name, *rest]).encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{name[: _LONGEST - 9]}_{code}"


def unquoted(text: str) -> str:
    """A value of the command line without quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _given(arguments: Sequence[str]) -> dict[str, str]:
    """The settings by name; the last one of a name counts."""
    return {_key(argument): argument.partition("=")[2] for argument in arguments if "=" in argument}


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")


def _called(asked_for: str) -> str:
    """A strategy, or the name of a run's folder, also where its record.json was given."""
    path = Path(asked_for)
    return (path.parent if path.name == "record.json" else path).name or asked_for
