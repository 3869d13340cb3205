"""Docstrings name arguments and fields as `name: what it is`, a line each; in the site they become a list."""

import re
from typing import Any

from griffe import Extension, Object

FIELD = re.compile(r"^(\w+(?:, \w+)*): ", re.M)


class Fields(Extension):
    """Makes list items of the lines that begin with the names of arguments or fields."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Changes the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)


def listed(text: str) -> str:
    """A docstring with its fields as a Markdown list; sections such as `Raises:` stay as they are."""
    lines: list[str] = []
    for line in text.split("\n"):
        field = FIELD.match(line)
        item = f"- `{field[1]}`: {line[field.end() :]}" if field else line
        before = lines[-1] if lines else ""
        if item.startswith("- ") and before and not before.startswith(("- ", " ")):
            lines.append("")  # Markdown wants a blank line before a list
        lines.append(item)
    return "\n".join(lines)
