"""HTML pages from jinja templates; whatever is put into one is escaped."""

import html
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pdrop_eval.utils.escape import visible_lines


def fill(template: Path, **values: Any) -> str:
    """The page that a template makes of values. Its filter `visible(most)` is `visible_lines`."""
    return _environment().from_string(template.read_text(encoding="utf-8")).render(values)


@cache
def _environment() -> Environment:
    made = Environment(
        autoescape=True, finalize=_escaped, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["visible"] = visible_lines
    return made


def _escaped(value: Any) -> Any:
    """As Python's html module escapes it: quotes by their names, not by numbers as jinja does."""
    return value if hasattr(value, "__html__") else Markup(html.escape(str(value)))
