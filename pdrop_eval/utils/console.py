"""How the console scripts are called here, for commands that a record, a page or a message prints."""

import re

from pdrop_eval.utils.paths import PACKAGE

_SCRIPT = re.compile(r"(?:\.venv/bin/)?(pdrop-eval[a-z-]*)(?= |$)")
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
