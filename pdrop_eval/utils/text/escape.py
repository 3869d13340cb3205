"""Text that a model, a data set or a foreign record has written, made harmless for where it is shown."""

import html
import re
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

LINE_BREAK = " ⏎ "
# Punctuation that means nothing in the middle of a line; a colon only before a space, or it makes addresses.
_HARMLESS = " .,;-='\"/%?()"
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format (bidirectional too), surrogates


def visible(text: object, most: int | None = None) -> str:
    r"""On one line, with what can't be seen written out (`\x1b`, `\u202e`); cut behind `most` characters.

    Safe on a terminal, and in XML, which forbids control characters and surrogates.
    """
    raw = str(text)
    if most is None and raw.isprintable():
        return raw
    raw = raw.replace("\r\n", "\n")
    if most is not None and len(raw) > most:
        raw = f"{raw[: most - 1]}…"
    lines = raw.split("\n")  # what is printable has nothing unseen in it
    return LINE_BREAK.join(line if line.isprintable() else "".join(map(_seen, line)) for line in lines)


def in_markdown(text: object, most: int | None = None) -> str:
    """Inline code of GitHub's Markdown in which nothing is special.

    Backticks would not do: a text can hold them, and a table's cells end at a pipe all the same. In `<code>`
    GitHub makes no mentions, links or references of anything, and a character reference is never markup.
    """
    if not str(text):
        return "*(empty)*"
    return f"<code>{_references(visible(text, most))}</code>"


def plain_markdown(text: object, most: int | None = None) -> str:
    """The same without the looks of code, for our own sentences with foreign words in them.

    Behind an @ or # stands a word joiner: outside of code, GitHub would still make a mention or a link of it.
    """
    joined = _references(visible(text, most))
    return joined.replace("&#64;", "&#64;&#8288;").replace("&#35;", "&#35;&#8288;")


def visible_lines(text: object, most: int | None = None) -> str:
    """The same with its lines, as they were."""
    return visible(text, most).replace(LINE_BREAK, "\n")


def _seen(letter: str) -> str:
    if letter == "\t":
        return " "
    if unicodedata.category(letter) not in _UNSEEN and letter not in "\ufffe\uffff":
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _references(text: str) -> str:
    """The text with a character reference for whatever could be markup."""
    joined = "".join(c if c.isalnum() or c in _HARMLESS or not c.isascii() else f"&#{ord(c)};" for c in text)
    return re.sub(r"(?i)(www)\.", r"\1&#46;", joined.replace("&#58; ", ": "))


def fill(template: Path, **values: Any) -> str:
    """The page that a template makes of values. Its filter `visible(most)` is `visible_lines`."""
    return _environment().from_string(template.read_text(encoding="utf-8")).render(values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True, finalize=_escaped, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["visible"] = visible_lines
    return made


def _escaped(value: Any) -> Any:
    """As Python's html module escapes it: quotes by their names, not by numbers as jinja does."""
    return value if hasattr(value, "__html__") else _markup(str(value))


@lru_cache(maxsize=2**16)  # a large table has few different cells
def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(html.escape(text))
