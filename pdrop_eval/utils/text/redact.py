"""Keeps secrets out of logs, records and messages.

By where they stand (a password in an address, what follows `--token` or `api_key=`), by their form (keys of
well known services), and by value: what the environment holds in variables such as HF_TOKEN.
"""

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

_HIDDEN = "***"
_SHORTEST = 8  # a value of an environment variable that is shorter is no secret, and would blot out words
_VARIABLES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.I)
# eos_token and image_token are no secrets
_NAME = (
    r"(?:[\w.-]*(?:api[_-]?key|secret(?:[_-]?key)?|passw(?:or)?d|(?:hf|access|auth|api|github|bearer)[_-]token)"
    r"|(?<![\w.-])(?:--?)?token)"
)
_NAMED = re.compile(_NAME, re.I)
# Each with what a text that it finds has one of, beside letters and digits.
_PATTERNS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (
        re.compile(rf"(?P<kept>{_NAME}[\"']?\s*[=:]\s*[\"']?)(?!null\b|None\b)[^\s&,;'\"{{}}\[\]]+", re.I),
        ("=", ":"),
    ),
    (re.compile(r"(?P<kept>--(?:api-?key|secret|password|token)\s+)\S+", re.I), ("--",)),
    (re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.I), ("",)),
    (re.compile(r"(?P<kept>\bhf_)[A-Za-z0-9]{30,}"), ("hf_",)),
    (
        re.compile(r"(?P<kept>\bsk-|\bgh[oprsu]_|\bgithub_pat_|\bglpat-|\bxox[abps]-)[A-Za-z0-9_-]{16,}"),
        ("sk-", "gh", "glpat-", "github_pat_", "xox"),
    ),
    (re.compile(r"(?P<kept>\bAKIA)[0-9A-Z]{16}\b"), ("AKIA",)),
)

_USER = (  # https://user:password@host, also with signs in the password that an address can't hold
    re.compile(r"(?P<kept>://)[^/\s?#'\"]+(?=@)"),
    re.compile(r"(?P<kept>://)[^/\s?#'\":@]*:(?!\d{1,5}(?:[/?#]|$))[^\s'\"]*(?=@)"),
)
_ADDRESS = re.compile(r"(?P<place>\w://[^\s?#'\"<>]*)(?P<mark>[?#])(?P<query>[^\s'\"<>]+)")
# Nobody knows what a server calls its key: what is long is hidden whatever its name, unless that is harmless.
_HARMLESS = re.compile(
    r"(?:api-version|version|revision|ref|download|format|page|limit|offset)=[\w.-]{1,20}"
    rf"|(?![^=]*(?:key|token|secret|sig|auth|pass|pwd|code|cred))[^=]*=.{{0,{_SHORTEST - 1}}}",
    re.I,
)


def redact_address(address: str) -> str:
    """An address without user, password and what is asked with it, wherever it is read: by its form alone."""
    for pattern in _USER:
        address = pattern.sub(rf"\g<kept>{_HIDDEN}", address)
    return _ADDRESS.sub(_without_query, address)


def secrets_of(address: str) -> list[str]:
    """What `redact_address` hides in an address, as it stands there and as it is meant; longest first."""
    place, _, query = address.partition("?")
    user = place.partition("://")[2].rpartition("@")[0]
    found = [user, *user.split(":", 1), query]
    found += [part.partition("=")[2] for part in query.split("&") if not _HARMLESS.fullmatch(part)]
    return sorted({*found, *map(unquote, found)}, key=len, reverse=True)


def hide_in(text: str, secrets: Sequence[str]) -> str:
    """The text without some secrets, as far as they are long enough to be told from other words."""
    for secret in secrets:
        if len(secret) >= _SHORTEST // 2:
            text = text.replace(secret, _HIDDEN)
    return text


def _without_query(found: re.Match[str]) -> str:
    parts = [_part(part, found["mark"]) for part in found["query"].split("&")]
    return found["place"] + found["mark"] + "&".join(parts)


def _part(part: str, mark: str) -> str:
    name, sign, _ = part.partition("=")
    if _HARMLESS.fullmatch(part) or (not sign and (mark == "#" or not re.search(r"\w", part))):
        return part
    return f"{name}={_HIDDEN}" if sign else _HIDDEN


def redact(text: str) -> str:
    """The text without secrets; `***` stands in their place."""
    return redact_values(text, environment_secrets())


def redact_all(value: Any) -> Any:
    """The same for all texts inside of dicts and lists; one under a name such as `password` goes whole."""
    return _all(value, environment_secrets())


def environment_secrets() -> list[str]:
    """What the environment holds in variables whose names say that it is a secret; longest first."""
    found = {v for name, v in os.environ.items() if _VARIABLES.search(name) and len(v) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)  # one may be a part of another


def redact_values(text: str, values: Sequence[str]) -> str:
    """`redact` for many texts: values are those of `environment_secrets`, which is then asked once."""
    for value in values:
        if value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _HIDDEN, text)
    if "://" in text:
        text = redact_address(text)
    if text.isalnum() and "AKIA" not in text:  # most texts are a hash or a word
        return text
    for pattern, marks in _PATTERNS:
        if any(mark in text for mark in marks):
            text = pattern.sub(rf"\g<kept>{_HIDDEN}", text)
    return text


def _all(value: Any, values: Sequence[str]) -> Any:
    if isinstance(value, str):
        return redact_values(value, values)
    if isinstance(value, dict):
        return {key: _entry(str(key), item, values) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_all(item, values) for item in value]
    return value


def _entry(name: str, value: Any, values: Sequence[str]) -> Any:
    return _HIDDEN if isinstance(value, str) and _NAMED.fullmatch(name) else _all(value, values)
