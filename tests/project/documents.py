"""What tests of the documents share: their texts, and the commands in them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tasks" / "README.md"]
PATHS += sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path for path in PATHS}
SCRIPTS = dict(
    re.findall(r'^(pdrop-eval[a-z-]*) = "([\w.]+):main"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
)


def prose(text):
    """A document without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)


def inline(text):
    """The inline code of a document, each on one line."""
    return [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", prose(text))]


def code(text):
    """The lines of a document's shell blocks, and its inline code."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    return [*map(str.strip, blocks.splitlines()), *inline(text)]


def commands(text, name):
    """Every call of a command in a document's shell blocks and inline code, as words without comments."""
    return [shlex.split(line, comments=True)[1:] for line in code(text) if line.startswith(f"{name} ")]
