"""A request to a server that may be slow, broken or hostile: bounded in time and size, never redirected."""

import threading
import time
import zlib
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

MOST = 1 << 20  # bytes of a reply, unless more is allowed
THREAD = "pdrop-eval exchange"  # of a request; a task that asks by itself has none of this name
_OF_ERRORS = 2.0  # seconds for what a server says beside the status of an error
_TICK = 0.05  # seconds until an interruption is noticed


class NoReplyError(Exception):
    """The server gave no whole reply."""


@dataclass(frozen=True)
class Reply:
    """What a server said. Of an error, the text is what came of it."""

    status: int
    reason: str
    headers: Mapping[str, str]
    text: str = ""

    @property
    def pause(self) -> float | None:
        """The seconds after which the server wants to be asked again; None if it doesn't say so."""
        return _pause(self.headers.get("retry-after", ""))


def open_client(timeout: float) -> "httpx.Client":
    """A client for `exchange`, which threads may share."""
    import httpx

    # no limit of connections: one that a server holds open would count until it lets go
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    return httpx.Client(timeout=timeout, limits=limits, follow_redirects=False)


def exchange(
    client: "httpx.Client", url: Any, body: bytes | None, headers: Mapping[str, str], seconds: float,
    stopped: threading.Event, most: int = MOST,
) -> Reply:  # fmt: skip
    """Sends a request and returns the reply; a redirection is one, too. Without a body it is a GET.

    The exchange runs in a thread of its own, because nothing else ends a name that isn't resolved or a header
    that comes byte by byte in time. One that is given up ends with its connection, or with the process.

    Raises:
        NoReplyError: There is none, it is longer than `most` bytes, or takes longer than `seconds`; or
            `stopped` was set.
    """
    running = _Exchange(seconds, most)
    arguments = (client, url, body, {"Accept-Encoding": "identity", **headers})
    threading.Thread(target=running.run, args=arguments, daemon=True, name=THREAD).start()
    while not futures.wait([running.done], timeout=_TICK).done:
        if stopped.is_set():
            raise NoReplyError("it was interrupted")
        if time.monotonic() > running.ends:
            if running.begun is not None and running.begun.status >= 300:
                return running.begun
            raise NoReplyError(f"no answer within {seconds:g} s")
    return running.done.result()


class _Exchange:
    """One request with its reply, as far as that has come.

    Attributes:
        seconds: What it may take.
        most: Bytes that the reply may have.
        ends: When it is given up, on the monotonic clock.
        begun: The reply, once its status and headers are there.
        done: The whole of it, or why there is none.
    """

    def __init__(self, seconds: float, most: int):
        self.seconds = seconds
        self.most = most
        self.ends = time.monotonic() + seconds
        self.begun: Reply | None = None
        self.done: futures.Future[Reply] = futures.Future()

    def run(self, client: "httpx.Client", url: Any, body: bytes | None, headers: Mapping[str, str]) -> None:
        try:
            self.done.set_result(self._reply(client, url, body, headers))
        except NoReplyError as error:
            self.done.set_exception(error)
        except Exception as error:  # of the network, TLS, names and proxies: each has exceptions of its own
            late = f"no answer within {self.seconds:g} s"
            why = f"no connection ({error or type(error).__name__})"
            is_late = "Timeout" in type(error).__name__
            self.done.set_exception(NoReplyError(late if is_late else why))

    def _reply(
        self, client: "httpx.Client", url: Any, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        import httpx

        method = "GET" if body is None else "POST"
        with client.stream(method, url, content=body, headers=headers) as answer:
            begun = Reply(answer.status_code, answer.reason_phrase, answer.headers)
            if not answer.is_success:
                self.ends = min(self.ends, time.monotonic() + _OF_ERRORS)
            self.begun = begun
            got = bytearray()
            try:
                for chunk in answer.iter_raw():
                    got += chunk[: self.most + 1]
                    self._check(len(got))
            except (NoReplyError, httpx.HTTPError) as error:
                if answer.is_success:
                    raise NoReplyError(f"no whole answer ({error})") from error
            text = _decoded(bytes(got), answer.headers.get("content-encoding", ""), self.most)
        return Reply(begun.status, begun.reason, begun.headers, text)

    def _check(self, size: int) -> None:
        if size > self.most:
            raise NoReplyError(f"it is longer than {self.most} bytes")
        if time.monotonic() > self.ends:
            raise NoReplyError("it takes too long")


def _decoded(content: bytes, encoding: str, most: int) -> str:
    """The text of a body, also of one that was compressed although that was not asked for."""
    if encoding.strip().lower() in ("gzip", "x-gzip"):
        try:
            content = zlib.decompressobj(wbits=31).decompress(content, most)
        except zlib.error as error:
            raise NoReplyError(f"no whole answer ({error})") from error
    return content.decode("utf-8", errors="replace")


def _pause(said: str) -> float | None:
    """The seconds of a `Retry-After`: a whole number of them, or a date."""
    said = said.strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
