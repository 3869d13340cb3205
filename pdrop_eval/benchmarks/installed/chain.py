"""A task's files merged as lmms-eval merges them, each function with its file. Nothing is imported."""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pdrop_eval.utils.errors import UserError

_DEPTH = 20  # files that include each other


@dataclass(frozen=True)
class Function:
    """What a `!function` tag names.

    Attributes:
        text: As it is written: `utils.ocrbench_doc_to_text`.
        file: Of its module; None where there is none.
        name: In the module.
    """

    text: str
    file: Path | None
    name: str


@cache
def task_chain(path: Path) -> dict[str, Any]:
    """The settings of a task of lmms-eval.

    Raises:
        UserError: A file can't be read, or has Python tags.
    """
    return _chain(path, 0)


def _chain(path: Path, depth: int) -> dict[str, Any]:
    try:
        if depth > _DEPTH:
            raise ValueError("it includes itself")
        config = _load(path)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"lmms-eval's task file {path} can't be read: {reason}. Install it again.") from error
    if not isinstance(config, dict):
        raise UserError(f"lmms-eval's task file {path} names no settings. Install it again.")
    given = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for one in reversed([given] if isinstance(given, str) else given):  # as lmms-eval does
        merged |= _chain((path.parent / one).resolve(), depth + 1)
    return {**merged, **config}


def _load(path: Path) -> Any:
    class Loader(yaml.SafeLoader):
        pass

    def function(loader: Any, node: Any) -> Function:
        text = str(loader.construct_scalar(node))
        module, _, name = text.rpartition(".")
        return Function(text, _module_file(path.parent, module), name)

    Loader.add_constructor("!function", function)
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def _module_file(folder: Path, module: str) -> Path | None:
    """The file of a module: beside the task's file, else one of lmms-eval's by its whole name."""
    beside = Path(f"{folder / module}.py").resolve()
    return beside if beside.is_file() else module_file(module)


def module_file(module: str) -> Path | None:
    """The file of one of lmms-eval's modules; None for others. Packages are not imported to find it."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec("lmms_eval") if first == "lmms_eval" else None
    if spec is None or not spec.submodule_search_locations:
        return None
    place = Path(spec.submodule_search_locations[0]).joinpath(*rest)
    found = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    return found[0] if found else None
