"""An OpenAI-compatible server, asked with care: the judge of MM-Vet and `model=endpoint` share it.

What it says is read strictly, in bounded time and size; nothing follows a redirection; keys stay out of every
message. A failure that may pass (no connection, a timeout, a server's error, an answer cut short) is tried
again, after twice the pause of the time before or after the pause that the server asks for.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server.bounded_request import MOST, NoReplyError, Reply, exchange, open_client
from pdrop_eval.utils.text.redact import hide_in, redact_address, secrets_of
from pdrop_eval.utils.validation import parse

_PAUSE = 1.0  # seconds before the first repetition; doubled each time
_LONGEST_PAUSE = 60.0
_PATIENCE = 300.0  # seconds that a server may ask to be left alone
_TEMPORARY = (408, 409, 425, 429, 500, 502, 503, 504)
_OF_THE_QUESTION = (400, 413, 414, 415, 422)  # another question may be answered
_LONGEST_NAME = 200  # characters of a model's name, as the server says it

T = TypeVar("T")


class ServerError(UserError):
    """The server doesn't answer."""


class QuestionError(ServerError):
    """The server refuses this question, or all tries have failed; others may be answered."""


class TemporaryError(Exception):
    """A failure that may be gone at the next try, `pause` seconds from now if the server says so."""

    def __init__(self, what: str, pause: float | None = None):
        super().__init__(what)
        self.pause = pause


@dataclass(frozen=True)
class ChatServer:
    """What answers at `<base_url>/chat/completions`.

    A user and a password in the address are sent as they are meant there (basic authentication).

    Attributes:
        title: What messages call it.
        base_url: Its address, the part before `/chat/completions`.
        key: Sent as a bearer token, if there is one.
        timeout: Seconds for each reply.
        retries: After a failure that may pass.
        group: The group of settings that messages name: `judge` for `judge.base_url`.
        setting: The setting that names the model.
        wanted: What messages say that it gave none of.
        most: Bytes of a reply.
        stopped: Lets all that waits, in other threads, end at once.
    """

    title: str
    base_url: str = field(repr=False)
    key: str | None = field(repr=False)
    timeout: float
    retries: int
    group: str
    setting: str
    wanted: str = "answer"
    most: int = MOST
    stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def shown(self) -> str:
        """What messages and records call it: without what is secret in the address."""
        return f"{self.title} at {redact_address(self.base_url)}"

    def stop(self) -> None:
        """Let all that waits for the server, in other threads, end at once with a ServerError."""
        self.stopped.set()

    def retrying(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, which is tried again after a `TemporaryError`.

        Raises:
            QuestionError: All tries have failed.
            ServerError: As `attempt` does.
        """
        import tenacity

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=_wait,
            sleep=tenacity.sleep_using_event(self.stopped),
            retry=tenacity.retry_if_exception_type(TemporaryError),
        )
        try:
            return retrying(attempt)
        except tenacity.RetryError as error:
            why = error.last_attempt.exception()
            tries = f"{self.retries + 1} {'tries' if self.retries else 'try'}"
            raise QuestionError(f"{self.shown} gave no {self.wanted} in {tries}: {why}.") from why

    def complete(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the server says to a chat completion's request, as it came: a JSON object.

        Raises:
            TemporaryError: What may pass.
            QuestionError: This question is refused.
            ServerError: The server refuses whatever is asked.
        """
        reply = self._exchange("/chat/completions", json.dumps(asked).encode(), self.timeout)
        self._check_status(reply)
        return self._object(reply)

    def models(self, seconds: float) -> list[dict[str, Any]] | None:
        """What the server says of each of its models, which has an `id`; None if it doesn't list them.

        Raises:
            TemporaryError: It can't be reached.
            ServerError: It refuses whatever is asked.
        """
        reply = self._exchange("/models", None, min(seconds, self.timeout))
        if reply.status in (404, 405, 501):  # not every server lists them
            return None
        self._check_status(reply)
        found = self._object(reply).get("data")
        entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [one for one in entries if isinstance(one.get("id"), str)] or None

    def named(self, name: str) -> str:
        """A model's name as the server says it, without secrets and not too long."""
        return self.without_secrets(name)[:_LONGEST_NAME]

    def without_secrets(self, text: str) -> str:
        """The text without the key, and without what is secret in the address."""
        return hide_in(text, [*([self.key] if self.key else []), *secrets_of(self.base_url)])

    def unfit(self, reply: Any, why: str = "") -> TemporaryError:
        """The error for a reply that is no chat completion."""
        shown = self.without_secrets(
            reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
        )[:200]
        return TemporaryError(f"the answer is no chat completion{why}: {shown!r}")

    @cached_property
    def _client(self) -> Any:
        try:
            return open_client(self.timeout)
        except Exception as error:  # a proxy that the environment names, certificates that aren't there
            raise ServerError(
                f"{self.shown} can't be asked: {error}. Check the proxy and the certificates that the "
                "environment names (HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE)."
            ) from error

    def _exchange(self, path: str, body: bytes | None, seconds: float) -> Reply:
        if self.stopped.is_set():
            raise ServerError(f"{self.shown} was not asked any more: interrupted.")
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            url = address_of(self.base_url, path)
            return exchange(self._client, url, body, headers, seconds, self.stopped, self.most)
        except NoReplyError as error:
            raise TemporaryError(self.without_secrets(str(error))) from error

    def _object(self, reply: Reply) -> dict[str, Any]:
        try:
            found = parse(reply.text)
        except ValueError as error:
            raise self.unfit(reply.text) from error
        if not isinstance(found, dict):
            raise self.unfit(reply.text)
        return found

    def _check_status(self, reply: Reply) -> None:
        """Raises TemporaryError for what may pass and ServerError for what will not."""
        if 200 <= reply.status < 300:
            return
        said = " ".join(part for part in (f"HTTP {reply.status}", reply.reason) if part)
        what = self.without_secrets(f"{said}: {reply.text}")[:300]
        if 300 <= reply.status < 400:
            place = self.without_secrets(redact_address(reply.headers.get("location", "")))[:200]
            raise ServerError(
                f"{self.shown} redirects ({said}) to {place or 'nowhere'}. Answers and key are sent only "
                f"to the address that was given: give the other one as {self.group}.base_url if you trust it."
            )
        if reply.status not in _TEMPORARY:
            kind = QuestionError if reply.status in _OF_THE_QUESTION else ServerError
            raise kind(
                f"{self.shown} refused: {what}. Check {self.group}.{self.setting} and the key, and "
                f"{self.group}.base_url."
            )
        if (reply.pause or 0) > _PATIENCE:
            raise ServerError(
                f"{self.shown} wants to be asked again in {reply.pause:g} s, not before: {what}. Run the "
                "same command then."
            )
        raise TemporaryError(what, reply.pause)


def _wait(state: Any) -> float:
    """The seconds before the next try: what the server says, else twice as long as before."""
    error = state.outcome.exception()
    if isinstance(error, TemporaryError) and error.pause is not None:
        return error.pause
    return min(_PAUSE * 2 ** min(state.attempt_number - 1, 20), _LONGEST_PAUSE)


def address_of(base_url: str, path: str) -> Any:
    """The address that is asked: a path beneath the given one, with its query. Raises ValueError."""
    import httpx

    try:
        address = httpx.URL(base_url)
        root, mark, query = address.raw_path.partition(b"?")
        found = address.copy_with(raw_path=root.rstrip(b"/") + path.encode() + mark + query, fragment=None)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise ValueError(str(error)) from error
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("it names no server")
    return found
