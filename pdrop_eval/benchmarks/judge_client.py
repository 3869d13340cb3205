"""A language model that scores answers, behind any OpenAI-compatible address."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pdrop_eval.benchmarks.judge_request import NoReplyError, Reply, open_client, post
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.redact import hide_in, redact_address, secrets_of
from pdrop_eval.utils.validation import is_finite_number, parse, shortened

_PAUSE = 1.0  # seconds before the first repetition; doubled each time
_LONGEST_PAUSE = 60.0
_PATIENCE = 300.0  # seconds that a server may ask to be left alone
_TEMPORARY = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST_NAME = 200  # characters of a model's name, as the server says it
_LONGEST_TIMEOUT = 86400.0


class JudgeError(UserError):
    """The judge gave no score. What it was to score is kept, and nothing of it counts as wrong."""


@dataclass(frozen=True)
class Judge:
    """A model behind `<base_url>/chat/completions`. `key` is sent as a bearer token, if there is one.

    A user and a password in the address are sent as they are meant there (basic authentication).
    """

    model: str
    base_url: str = field(repr=False)
    key: str | None = field(repr=False)
    timeout: float
    retries: int
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def describe(self) -> dict[str, str]:
        """What the record says about the judge: neither the key, nor what is secret in the address."""
        return {"model": self.model, "base_url": redact_address(self.base_url)}

    def stop(self) -> None:
        """Lets all that waits for the judge, in other threads, end at once with a JudgeError."""
        self._stopped.set()

    def ask(self, prompt: str, read: Callable[[str], float]) -> tuple[float, str]:
        """The score that `read` finds in the judge's answer, and the model that the server says has answered.

        As in MM-Vet's own protocol the first try is greedy, and a try after an answer that `read` refuses
        (with a ValueError) is warmer.

        Raises:
            JudgeError: All tries have failed.
        """
        import tenacity

        temperature = 0.0

        def attempt() -> tuple[float, str]:
            nonlocal temperature
            text, model = self._complete(prompt, temperature)
            try:
                return read(text), model
            except ValueError as error:
                temperature = min(temperature + 0.5, 1.5)
                raise _TemporaryError(self._without_secrets(str(error))) from error

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=_wait,
            sleep=tenacity.sleep_using_event(self._stopped),
            retry=tenacity.retry_if_exception_type(_TemporaryError),
        )
        try:
            return retrying(attempt)
        except tenacity.RetryError as error:
            why = error.last_attempt.exception()
            raise JudgeError(f"{self._name()} gave no score in {self.retries + 1} tries: {why}.") from why

    @cached_property
    def _client(self) -> Any:
        try:
            return open_client(self.timeout)
        except Exception as error:  # a proxy that the environment names, certificates that aren't there
            raise JudgeError(
                f"{self._name()} can't be asked: {error}. Check the proxy and the certificates that the "
                "environment names (HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE)."
            ) from error

    def _complete(self, prompt: str, temperature: float) -> tuple[str, str]:
        """The text of one answer, and the model that gave it."""
        if self._stopped.is_set():
            raise JudgeError(f"{self._name()} was not asked any more: interrupted.")
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": temperature,
            "max_tokens": 128,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            reply = post(
                self._client, completions_address(self.base_url), json.dumps(asked).encode(), headers,
                self.timeout, self._stopped,
            )  # fmt: skip
        except NoReplyError as error:
            raise _TemporaryError(self._without_secrets(str(error))) from error
        self._check_status(reply)
        try:
            found = parse(reply.text)
            content, model = found["choices"][0]["message"]["content"], found.get("model")
            if not isinstance(content, str):
                raise TypeError(f"its content is {shortened(content)}")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            shown = self._without_secrets(reply.text)[:200]
            raise _TemporaryError(f"the answer is no chat completion: {shown!r}") from error
        named = isinstance(model, str) and model
        return content, self._without_secrets(model)[:_LONGEST_NAME] if named else self.model

    def _check_status(self, reply: Reply) -> None:
        """Raises _TemporaryError for what may pass and JudgeError for what will not."""
        if 200 <= reply.status < 300:
            return
        said = " ".join(part for part in (f"HTTP {reply.status}", reply.reason) if part)
        what = self._without_secrets(f"{said}: {reply.text}")[:300]
        if 300 <= reply.status < 400:
            place = self._without_secrets(redact_address(reply.headers.get("location", "")))[:200]
            raise JudgeError(
                f"{self._name()} redirects ({said}) to {place or 'nowhere'}. Answers and key are sent only "
                "to the address that was given: give the other one as judge.base_url if you trust it."
            )
        if reply.status not in _TEMPORARY:
            raise JudgeError(
                f"{self._name()} refused: {what}. Check judge.model and the key, and judge.base_url."
            )
        if (reply.pause or 0) > _PATIENCE:
            raise JudgeError(
                f"{self._name()} wants to be asked again in {reply.pause:g} s, not before: {what}. Run the "
                "same command then."
            )
        raise _TemporaryError(what, reply.pause)

    def _without_secrets(self, text: str) -> str:
        return hide_in(text, [*([self.key] if self.key else []), *secrets_of(self.base_url)])

    def _name(self) -> str:
        return f"The judge {self.model} at {redact_address(self.base_url)}"


class _TemporaryError(Exception):
    """A failure that may be gone at the next try, `pause` seconds from now if the server says so."""

    def __init__(self, what: str, pause: float | None = None):
        super().__init__(what)
        self.pause = pause


def _wait(state: Any) -> float:
    """The seconds before the next try: what the server says, else twice as long as before."""
    error = state.outcome.exception()
    if isinstance(error, _TemporaryError) and error.pause is not None:
        return error.pause
    return min(_PAUSE * 2 ** min(state.attempt_number - 1, 20), _LONGEST_PAUSE)


def completions_address(base_url: str) -> Any:
    """The address that is asked: a path beneath the given one, with its query. Raises ValueError."""
    import httpx

    try:
        address = httpx.URL(base_url)
        path, mark, query = address.raw_path.partition(b"?")
        found = address.copy_with(
            raw_path=path.rstrip(b"/") + b"/chat/completions" + mark + query, fragment=None
        )
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise ValueError(str(error)) from error
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("it names no server")
    return found


def make_judge(config: Any) -> Judge | None:
    """The judge of `conf/evaluate.yaml`'s `judge`; None if no model is named. Raises UserError."""
    if config.model is None:
        return None
    _check_address(str(config.base_url), config.api_key_env)
    if not str(config.model).strip() or not _is_text(str(config.model)):
        raise UserError(f"judge.model={str(config.model)!r} is no name of a model. Give the server's own.")
    if not is_finite_number(config.timeout) or not 0 < config.timeout <= _LONGEST_TIMEOUT:
        raise UserError(
            f"judge.timeout={config.timeout} is not allowed: it must be a number of seconds, at most "
            f"{_LONGEST_TIMEOUT:g}."
        )
    if type(config.retries) is not int or config.retries < 0:
        raise UserError(f"judge.retries={config.retries} is not allowed: it must be a whole number from 0.")
    return Judge(
        model=str(config.model),
        base_url=str(config.base_url),
        key=_key(config),
        timeout=float(config.timeout),
        retries=config.retries,
    )


def _is_text(name: str) -> bool:
    """Whether a name can be written: a byte of the command line that is no UTF-8 can't."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _check_address(base_url: str, api_key_env: str | None) -> None:
    shown = redact_address(base_url)
    try:
        address = completions_address(base_url)
    except ValueError as error:
        why = hide_in(str(error), secrets_of(base_url))
        raise UserError(
            f"judge.base_url={shown} is no web address ({why}). Give the part before /chat/completions, "
            "for example https://api.openai.com/v1 or http://localhost:8000/v1. In a user's name and a "
            "password, write other characters than letters and digits as %40 and the like."
        ) from error
    if address.userinfo and api_key_env is not None:
        raise UserError(
            f"judge.base_url={shown} has a user and a password, and judge.api_key_env={api_key_env} a key: a "
            "request takes one of them. Use judge.api_key_env=null, or leave the user and the password out."
        )


def _key(config: Any) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(str(config.api_key_env), "").strip()
    if not key:
        raise UserError(
            f"judge.model={config.model} needs a key, but the environment variable {config.api_key_env} is "
            "not set. Set it, name another one with judge.api_key_env=NAME or use judge.api_key_env=null "
            "for a server that asks for none."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"The environment variable {config.api_key_env} holds no key: keys are letters, digits and signs "
            "without spaces and line breaks. Set it again."
        )
    return key
