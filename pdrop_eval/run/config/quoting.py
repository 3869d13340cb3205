"""The quoting that a value needs to pass the shell and Hydra's grammar, for messages that can be copied."""

import shlex
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException

from pdrop_eval.utils.errors import UserError


def quoted(override: str) -> str | None:
    """Return an override as a shell takes it, its value read as the text that it is; None where none works.

    `data.root=/data/a(1)` becomes `'data.root="/data/a(1)"'`; of a list, each text is quoted.
    """
    name, equals, value = override.partition("=")
    if not equals or not value:
        return None
    inside = value.strip()
    tried: list[tuple[str, str | list[str]]] = []
    if inside.startswith("[") and inside.endswith("]"):
        parts = [part.strip() for part in inside[1:-1].split(",") if part.strip()]
        bare = [part[1:-1] if part[0] == part[-1] and part[0] in "'\"" else part for part in parts]
        tried += [(f"[{','.join(_in(mark, part) for part in bare)}]", bare) for mark in "\"'"]
    tried += [(_in(mark, value), value) for mark in "\"'"]
    for text, meant in tried:
        if _read(f"{name}={text}") == meant:
            return shlex.quote(f"{name}={text}")
    return None


def advice(override: str) -> str:
    """Return a sentence with the quoting that works; without one, what there is to know of it."""
    text = quoted(override)
    if text is None:
        return "Put quotes around values with commas or brackets, and quotes for the shell around all."
    return f"Quotes for Hydra inside of quotes for the shell make a text of it: {text}"


def parsed(arguments: Iterable[str]) -> list[Override]:
    """Return overrides as Hydra reads them.

    Raises:
        UserError: one that it can't read.
    """
    try:
        return OverridesParser.create().parse_overrides(list(arguments))
    except OverrideParseException as error:
        raise UserError(
            f"Can't read the override {error.override!r}. Write name=value, for example limit=32 or "
            f"strategy.ratio=0.6. {advice(error.override)}"
        ) from error


def _in(mark: str, text: str) -> str:
    return f"{mark}{text.replace(mark, chr(92) + mark)}{mark}"


def _read(override: str) -> object:
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None
