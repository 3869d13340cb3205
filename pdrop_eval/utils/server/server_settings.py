"""The settings of an OpenAI-compatible server: its address, its key, its model's name, checked."""

import os
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server.chat_server import address_of
from pdrop_eval.utils.text.redact import hide_in, redact_address, secrets_of
from pdrop_eval.utils.validation import is_finite_number

_LONGEST_TIMEOUT = 86400.0


def check_server(group: str, config: Any) -> None:
    """Refuse settings of a server that can't be right.

    Args:
        group: Their group, `judge`.
        config: Has `base_url`, `api_key_env`, `timeout` and `retries`.

    Raises:
        UserError: With the setting, its value and what is allowed.
    """
    _check_address(group, str(config.base_url), config.api_key_env)
    if not is_finite_number(config.timeout) or not 0 < config.timeout <= _LONGEST_TIMEOUT:
        raise UserError(
            f"{group}.timeout={config.timeout} is not allowed: it must be a number of seconds, at most "
            f"{_LONGEST_TIMEOUT:g}."
        )
    if type(config.retries) is not int or config.retries < 0:
        raise UserError(f"{group}.retries={config.retries} is not allowed: it must be a whole number from 0.")


def check_model_name(setting: str, name: Any) -> str:
    """The name of a model. Raises UserError for one that is empty, or can't be written."""
    # a byte of the command line that is no UTF-8 can't be written
    written = not any("\ud800" <= letter <= "\udfff" for letter in str(name))
    if not str(name).strip() or not written:
        raise UserError(f"{setting}={str(name)!r} is no name of a model. Give the server's own.")
    return str(name)


def _check_address(group: str, base_url: str, api_key_env: str | None) -> None:
    shown = redact_address(base_url)
    try:
        address = address_of(base_url, "/chat/completions")
    except ValueError as error:
        why = hide_in(str(error), secrets_of(base_url))
        raise UserError(
            f"{group}.base_url={shown} is no web address ({why}). Give the part before /chat/completions, "
            "for example https://api.openai.com/v1 or http://localhost:8000/v1. In a user's name and a "
            "password, write other characters than letters and digits as %40 and the like."
        ) from error
    if address.userinfo and api_key_env is not None:
        raise UserError(
            f"{group}.base_url={shown} has a user and a password, and {group}.api_key_env={api_key_env} a "
            f"key: a request takes one of them. Use {group}.api_key_env=null, or leave the user and the "
            "password out."
        )


def read_key(group: str, needs: str, variable: str | None) -> str | None:
    """The key that an environment variable holds; None if none is named.

    Args:
        group: The group of settings, `judge`.
        needs: The setting that needs a key, for the message: `judge.model=gpt-4`.
        variable: Its name.

    Raises:
        UserError: It isn't set, or holds no key.
    """
    if variable is None:
        return None
    key = os.environ.get(str(variable), "").strip()
    if not key:
        raise UserError(
            f"{needs} needs a key, but the environment variable {variable} is not set. Set it, name another "
            f"one with {group}.api_key_env=NAME or use {group}.api_key_env=null for a server that asks for "
            "none."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"The environment variable {variable} holds no key: keys are letters, digits and signs "
            "without spaces and line breaks. Set it again."
        )
    return key
