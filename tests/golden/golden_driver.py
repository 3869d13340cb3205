"""Finds the golden cases of a folder and the check of each: by family, then by method, then by level."""

import importlib
import json
import pkgutil
from pathlib import Path

FOLDER = Path(__file__).parent / "cases"


class MissingError(Exception):
    """A case of a method or family that isn't there yet."""


def names(folder: Path) -> list[str]:
    """The cases of a folder: each JSON, and tensors without one, which will fail."""
    return sorted({path.stem for path in folder.iterdir() if path.suffix in (".json", ".safetensors")})


def kind(folder: Path, name: str) -> tuple:
    """What the fast run takes one case of: the family, method and level."""
    try:
        data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return _family(data, name), data["method"], data.get("level")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return (name,)


def run(folder: Path, name: str) -> str:
    """Compares a case with ours; returns its method, its level and what was compared.

    Raises:
        MissingError: nobody has written the method or the family yet.
        MismatchError: it can't be read, or its values aren't ours.
    """
    from golden_case import Case, MismatchError

    case = Case(folder, name)
    check = _check(case)
    try:
        check(case)
    except (MismatchError, MissingError):
        raise
    except Exception as error:
        raise MismatchError(f"{type(error).__name__}: {error}") from error
    if not case.checked:
        raise MismatchError("nothing was compared")
    what = ", ".join(dict.fromkeys(case.checked))
    return f"{case.data['method']}{_in_words(case.data.get('level'))}: {what}"


def _check(case):
    from golden_case import MismatchError

    methods, families = registered()
    family, method, level = _family(case.data, case.name), case.data["method"], case.data.get("level")
    if family is not None:
        family = _known(family, case.name, families)
        if family not in families:
            raise MissingError(f"family {family}")
        methods = families[family]
    if method not in methods:
        raise MissingError(f"method {method}" + (f" of family {family}" if family else ""))
    levels = methods[method]
    if level not in levels:
        raise MismatchError(f"{method} has no level {level!r} (known: {', '.join(map(str, levels))})")
    return levels[level]


def registered() -> tuple[dict, dict]:
    """The checks that are written: (method -> level -> check, family -> method -> level -> check)."""
    import golden_methods

    methods: dict = {}
    families: dict = {}
    for found in pkgutil.iter_modules(golden_methods.__path__):
        module = importlib.import_module(f"golden_methods.{found.name}")
        methods |= getattr(module, "METHODS", {})
        families |= getattr(module, "FAMILIES", {})
    return methods, families


def _family(data: dict, name: str) -> str | None:
    """The family that the JSON names, or that of the name: fam_<family>_<strategy>."""
    if data.get("family") is not None or not name.startswith("fam_"):
        return data.get("family")
    return name.removeprefix("fam_").rpartition("_")[0]


def _known(family: str, name: str, families: dict) -> str:
    """The family, or of a name that goes on behind its strategy the longest known one that it begins with."""
    told = name.removeprefix("fam_")
    begun = [one for one in families if family not in families and told.startswith(f"{one}_")]
    return max(begun, key=len, default=family)


def _in_words(level: str | None) -> str:
    return f" ({level})" if level else ""
