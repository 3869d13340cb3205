"""What happens, one line an event on standard error: as text, as JSON, or (quiet) not at all.

    {"time": "2026-01-31T12:00:00.000+00:00", "level": "info", "event": "task_finished", "task": "gqa", ...}

A message for a person, as `log_rank_zero` prints it, is the event "note" in JSON; so every line is JSON then.
Secrets are left out of all of them.
"""

import json
import logging
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from pdrop_eval.utils.distributed import rank, world_size
from pdrop_eval.utils.text.redact import redact, redact_all
from pdrop_eval.utils.validation import to_plain

KINDS = ("quiet", "text", "json")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIELDS = "pdrop_eval_fields"
_logger = logging.getLogger("pdrop_eval.events")
_logger.propagate = False
_logger.addHandler(logging.NullHandler())
_logger.setLevel(logging.INFO)


def configure(kind: str) -> None:
    """Sends events from now on as `kind` says, one of KINDS."""
    _logger.disabled = False  # Hydra disables what was there before it
    formatters: dict[str, type[logging.Formatter]] = {"text": _Text, "json": _Json}
    for handler in [handler for handler in _logger.handlers if isinstance(handler, _ToStandardError)]:
        _logger.removeHandler(handler)
    if kind in formatters:
        handler = _ToStandardError()
        handler.setFormatter(formatters[kind]())
        _logger.addHandler(handler)


def asked_for(arguments: Sequence[str]) -> str:
    """What a command line's `log=` says, before all else is read; quiet if it is nothing known."""
    found = [text.partition("=")[2] for text in arguments if text.partition("=")[0] == "log"]
    return found[-1] if found and found[-1] in KINDS else "quiet"


def kind() -> str:
    """How events are sent now."""
    for handler in _logger.handlers:
        if isinstance(handler, _ToStandardError):
            return "json" if isinstance(handler.formatter, _Json) else "text"
    return "quiet"


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Tells of an event; fields are numbers, texts, and lists and dicts of them.

    Args:
        level: "info", "warning" or "error". Of several processes the first one speaks, and the others only of
            what is worse than "info".
    """
    if level == "info" and rank() > 0:
        return
    where = {"rank": rank()} if world_size() > 1 else {}
    _logger.log(_LEVELS[level], name, extra={_FIELDS: redact_all(to_plain({**where, **fields}))})


class _ToStandardError(logging.StreamHandler):
    """Writes to what standard error is at the time."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        self.stream = sys.stderr
        super().emit(record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; control characters are escaped, so that an event stays a line."""
        head = {"time": _time(record), "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps({**head, **getattr(record, _FIELDS)}, ensure_ascii=True, allow_nan=False)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """`12:00:00 task_finished task=gqa score=77.1`; texts with spaces in quotes."""
        fields = " ".join(f"{key}={_word(value)}" for key, value in getattr(record, _FIELDS).items())
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        return f"{_time(record)[11:19]} {level}{record.getMessage()} {fields}".rstrip()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' "='):
        return value
    return json.dumps(value, ensure_ascii=True)


def log_rank_zero(text: str) -> None:
    """A line for people on standard error, once however many processes there are."""
    if kind() == "json":
        event("note", text=text)
    elif rank() == 0:
        text = redact(text)
        print(textwrap.fill(text, 80, break_long_words=False, break_on_hyphens=False), file=sys.stderr)
