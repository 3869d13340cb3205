"""Keeps secrets out of logs, records and messages."""

import os
import re
from typing import Any

_HIDDEN = "***"
_SHORTEST = 8  # a value of an environment variable that is shorter is no secret, and would blot out words
_NAMES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.I)
_PATTERNS = (
    (re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"), _HIDDEN),  # https://user:password@host
    (re.compile(r"\b(hf_|sk-|ghp_|github_pat_)[A-Za-z0-9_-]{16,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{_HIDDEN}"),
    (
        re.compile(r"(?i)([\w.-]*(?:api_?key|token|secret|password)=)(?!null\b|none\b)[^\s&'\"]+"),
        rf"\1{_HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """The text without secrets: values of variables such as HF_TOKEN, passwords in addresses, known keys."""
    for value in _secrets():
        text = text.replace(value, _HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


def redact_all(value: Any) -> Any:
    """The same for every text inside of dicts and lists."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_all(item) for item in value]
    return value


def _secrets() -> list[str]:
    found = [value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _SHORTEST]
    return sorted(found, key=len, reverse=True)  # one may be a part of another
