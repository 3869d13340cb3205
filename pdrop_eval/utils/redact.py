"""Keeps secrets out of logs, records and messages.

By where they stand (a password in an address, what follows `--token` or `api_key=`), by their form (keys of
well known services), and by value: what the environment holds in variables such as HF_TOKEN.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

_HIDDEN = "***"
_SHORTEST = 8  # a value of an environment variable that is shorter is no secret, and would blot out words
_VARIABLES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.I)
# eos_token and image_token are no secrets
_NAME = (
    r"(?:[\w.-]*(?:api[_-]?key|secret(?:[_-]?key)?|passw(?:or)?d|(?:hf|access|auth|api|github|bearer)[_-]token)"
    r"|(?<![\w.-])(?:--?)?token)"
)
_NAMED = re.compile(_NAME, re.I)
_PATTERNS = (
    re.compile(r"(?P<kept>://)[^/\s?#'\"]+(?=@)"),  # https://user:password@host
    re.compile(rf"(?P<kept>{_NAME}[\"']?\s*[=:]\s*[\"']?)(?!null\b|None\b)[^\s&,;'\"{{}}\[\]]+", re.I),
    re.compile(r"(?P<kept>--(?:api-?key|secret|password|token)\s+)\S+", re.I),
    re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.I),
    re.compile(r"(?P<kept>\bhf_)[A-Za-z0-9]{30,}"),
    re.compile(r"(?P<kept>\bsk-|\bgh[oprsu]_|\bgithub_pat_|\bglpat-|\bxox[abps]-)[A-Za-z0-9_-]{16,}"),
    re.compile(r"(?P<kept>\bAKIA)[0-9A-Z]{16}\b"),
)


def redact(text: str) -> str:
    """The text without secrets; `***` stands in their place."""
    return _redacted(text, _values())


def redact_all(value: Any) -> Any:
    """The same for all texts inside of dicts and lists; one under a name such as `password` goes whole."""
    return _all(value, _values())


def _redacted(text: str, values: Sequence[str]) -> str:
    for value in values:
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _HIDDEN, text)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<kept>{_HIDDEN}", text)
    return text


def _all(value: Any, values: Sequence[str]) -> Any:
    if isinstance(value, str):
        return _redacted(value, values)
    if isinstance(value, dict):
        return {key: _entry(str(key), item, values) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_all(item, values) for item in value]
    return value


def _entry(name: str, value: Any, values: Sequence[str]) -> Any:
    return _HIDDEN if isinstance(value, str) and _NAMED.fullmatch(name) else _all(value, values)


def _values() -> list[str]:
    found = {v for name, v in os.environ.items() if _VARIABLES.search(name) and len(v) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)  # one may be a part of another
