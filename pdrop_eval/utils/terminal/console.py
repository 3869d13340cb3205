"""How the console scripts are called here, for commands that a record, a page or a message prints."""

import os
import re
import shlex
from collections.abc import Iterable

from pdrop_eval.utils.paths import PACKAGE

_SCRIPT = re.compile(r"(?:\.venv/bin/)?(pdrop-eval[a-z-]*)(?= |$)")
_PLAIN = re.compile(r"[\w@%+:,./-]*", re.ASCII)  # a value that neither a shell nor Hydra reads otherwise
# A command within a sentence: a script of ours with what it is given, or torchrun, which lies beside it.
_MENTIONED = re.compile(
    r"(?<![\w./'-])(?:pdrop-eval(?:-[a-z]+)?(?= (?:--help|-m |\.\.\.|[a-z_.]+=))|torchrun(?= --))"
    r"|(?<=--no-python )pdrop-eval(?:-[a-z]+)?\b"
)


def script(name: str) -> str:
    """A console script as it is called: in a checkout where `make` has put it, `.venv/bin/NAME`."""
    return f".venv/bin/{name}" if in_checkout() else name


def in_checkout() -> bool:
    """Whether the package lies beside its Makefile, so that `make` has what it needs."""
    return (PACKAGE.parent / "Makefile").is_file()


def for_hydra(setting: str) -> str:
    """A setting, `root=/a (1)`, as Hydra's grammar takes it: a text with special characters is quoted.

    What begins as a list, a group or a quoted text stays as it is, and so does a placeholder (`<folder>`).
    """
    name, equals, value = setting.partition("=")
    plain = _PLAIN.fullmatch(value) and not ("," in value and "/" in value)  # else a list of paths
    if not equals or plain or value[0] in "[{\"'<":
        return setting
    return f"{name}={_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    return '"' + re.sub(r'(\\*)"', r'\1\1\\"', value) + '"'


def typed(setting: str) -> str:
    """A setting as it is typed: quoted for Hydra's grammar, and around that for the shell, where needed."""
    return shlex.quote(for_hydra(setting))


def command(name: str, settings: Iterable[str], target: str = "") -> str:
    """A command that can be typed as it stands, in the words of make where make has called this process.

    Args:
        name: Of the console script.
        settings: What it is given.
        target: Of make, which takes them as ARGS; empty for none.
    """
    settings = list(settings)
    plain = all(setting == for_hydra(setting) == typed(setting) for setting in settings)
    if target and plain and "MAKELEVEL" in os.environ:
        return f"make {target}" + (f" ARGS='{' '.join(settings)}'" if settings else "")
    return " ".join([script(name), *map(typed, settings)])


def made_here(target: str, otherwise: str) -> str:
    """What does a thing here: a target of make in a checkout, else a command of the installed package."""
    return f"make {target}" if in_checkout() else otherwise


def as_typed_here(message: str) -> str:
    """A message whose commands can be typed as they stand: in a checkout, `make` put them into .venv/bin."""
    return _MENTIONED.sub(lambda found: f".venv/bin/{found[0]}", message) if in_checkout() else message


def as_run_here(command: str) -> str:
    """A recorded command as it can be run here: its console script is called as `script` says."""
    found = _SCRIPT.match(command)
    return script(found[1]) + command[found.end() :] if found else command


def unquoted(text: str) -> str:
    """A value of the command line without quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
