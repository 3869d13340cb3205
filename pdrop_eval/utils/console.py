"""How the console scripts are called here, for commands that a record, a page or a message prints."""

import re

from pdrop_eval.utils.paths import PACKAGE

_SCRIPT = re.compile(r"(?:\.venv/bin/)?(pdrop-eval[a-z-]*)(?= |$)")


def script(name: str) -> str:
    """A console script as it is called: in a checkout where `make` has put it, `.venv/bin/NAME`."""
    return f".venv/bin/{name}" if in_checkout() else name


def in_checkout() -> bool:
    """Whether the package lies beside its Makefile, so that `make` has what it needs."""
    return (PACKAGE.parent / "Makefile").is_file()


def as_run_here(command: str) -> str:
    """A recorded command as it can be run here: its console script is called as `script` says."""
    found = _SCRIPT.match(command)
    return script(found[1]) + command[found.end() :] if found else command
