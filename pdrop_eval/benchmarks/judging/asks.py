"""What lmms-eval's scoring asks of language models: caught, and asked of the run's judge or of nobody.

Some of lmms-eval's tasks are scored by a model behind an address of their own choice: through openai,
requests, or a client of lmms-eval's. Without a key they wait for minutes, and count what was never scored as
wrong. Here no such request leaves the process. It is answered by the run's judge; without one it ends the
scoring, which can be made up for later.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from pdrop_eval.benchmarks.judging.client import Judge
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import writing_to
from pdrop_eval.utils.server.bounded_request import THREAD
from pdrop_eval.utils.validation import parse

# What tasks look for as they are imported. Their requests don't leave, so a user's own keys aren't needed.
_PRETEND = {"OPENAI_API_KEY": "pdrop-eval", "ANTHROPIC_API_KEY": "pdrop-eval", "API_TYPE": "openai"}
_CLIENTS = ("httpx", "httpx2")  # what openai, anthropic and the Hub send with
_HUB = ("huggingface.co", "hf.co")
_LONGEST = 4096  # tokens of a reply, whatever a task asks for


class RefusedError(BaseException):
    """What would leave this process, and nobody can answer. No `except Exception` of a task catches it."""


class NoReplyError(BaseException):
    """The judge gave no reply. No `except Exception` of a task catches it.

    Attributes:
        error: What the user is told.
    """

    def __init__(self, error: UserError):
        super().__init__(str(error))
        self.error = error


class NeedsJudge(BaseException):
    """A question for a language model, which nobody answers. No `except Exception` of a task catches it.

    Attributes:
        question: It.
    """

    def __init__(self, question: "Asked"):
        super().__init__("it asks a language model")
        self.question = question


@dataclass(frozen=True)
class Asked:
    """A question for a language model.

    Attributes:
        messages: As an OpenAI-compatible server takes them.
        number: Which of several answers to the same question.
        tokens: The longest reply.
    """

    messages: list[dict[str, Any]]
    number: int = 0
    tokens: int = 128

    @property
    def key(self) -> str:
        """A name of what is asked."""
        said = json.dumps([self.messages, self.number], sort_keys=True, default=str)
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass
class Replies:
    """The replies that there are, by question; `ask` gets those that are missing.

    Attributes:
        online: Whether requests that ask nothing, such as for data, may pass.
        loading: Whether data are being read, so that a request that doesn't pass is what a library expects
            without a network, and goes on.
        open: Questions that nobody has answered.
    """

    known: dict[str, str] = field(default_factory=dict)
    ask: Callable[[Asked], str] | None = None
    online: bool = False
    loading: bool = False
    open: list[Asked] = field(default_factory=list)

    def reply(self, asked: Asked) -> str:
        """The reply to a question. Raises NeedsJudge."""
        if asked.key not in self.known:
            if self.ask is None:
                self.open.append(asked)
                raise NeedsJudge(asked)
            try:
                self.known[asked.key] = self.ask(asked)
            except UserError as error:  # a task would go on, and count what nobody has scored as wrong
                raise NoReplyError(error) from error
        return self.known[asked.key]


class KeptReplies:
    """A judge's replies, a file of one line each, written as they come: a kill loses none.

    A line counts for the same judge (model and address) and question only.
    """

    def __init__(self, path: Path, judge: Judge):
        self.path = path
        self.answered: set[str] = set()
        self._judge = judge
        self._who = list(judge.describe().values())
        self._lock = threading.Lock()
        self.known: dict[str, str] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.split("\n"):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = parse(line)
                if row["judge"] == self._who and isinstance(row["reply"], str):
                    self.known[row["key"]] = row["reply"]
                    self.answered.add(str(row["answered"]))
        self._torn = bool(text) and not text.endswith("\n")

    def ask(self, asked: Asked) -> str:
        """Asks the judge and keeps its reply. Raises JudgeError, and UserError if it can't be written."""
        reply, model = self._judge.ask(asked.messages, str, min(asked.tokens, _LONGEST))
        row = {"judge": self._who, "key": asked.key, "reply": reply, "answered": model}
        with self._lock:
            with writing_to(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                    file.write(("\n" if self._torn else "") + json.dumps(row) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            self._torn = False
            self.known[asked.key] = reply
            self.answered.add(model)
        return reply

    def drop(self) -> None:
        """Removes the file, once the record has the scores."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def caught(replies: Replies) -> Iterator[None]:
    """Within it, what asks a language model gets its reply from `replies`, in all threads."""
    import requests

    plain_session, plain_connect = requests.Session.send, socket.socket.connect

    def send_session(session: Any, request: Any, **settings: Any) -> Any:
        made = _answer(replies, str(request.url), str(request.method), request.body)
        if made is None:
            return plain_session(session, request, **settings)
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response._content, response.encoding = json.dumps(made).encode(), "utf-8"
        response.headers["Content-Type"] = "application/json"
        return response

    def connect(self: Any, address: Any) -> Any:
        """What goes past the clients above doesn't leave either."""
        inside = getattr(socket, "AF_UNIX", None) == self.family
        if not (replies.online or inside or threading.current_thread().name == THREAD):
            if replies.loading:
                raise ConnectionError("this run uses no network")
            raise RefusedError(f"it connects to {address}")
        return plain_connect(self, address)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, _PRETEND))
        stack.enter_context(mock.patch.object(requests.Session, "send", send_session))
        stack.enter_context(mock.patch.object(socket.socket, "connect", connect))
        for name in _CLIENTS:
            if importlib.util.find_spec(name):
                _catch_client(stack, replies, importlib.import_module(name))
        yield


def _catch_client(stack: contextlib.ExitStack, replies: Replies, module: Any) -> None:
    """Catches what clients of httpx's kind send, the judge's own apart."""
    plain, plain_async = module.Client.send, module.AsyncClient.send

    def send(client: Any, request: Any, **settings: Any) -> Any:
        if threading.current_thread().name == THREAD:
            return plain(client, request, **settings)
        made = _answer(replies, str(request.url), request.method, request.read())
        if made is None:
            return plain(client, request, **settings)
        return module.Response(200, json=made, request=request)

    async def send_async(client: Any, request: Any, **settings: Any) -> Any:
        made = _answer(replies, str(request.url), request.method, await request.aread())
        if made is None:
            return await plain_async(client, request, **settings)
        return module.Response(200, json=made, request=request)

    stack.enter_context(mock.patch.object(module.Client, "send", send))
    stack.enter_context(mock.patch.object(module.AsyncClient, "send", send_async))


def _answer(replies: Replies, url: str, method: str, body: Any) -> dict[str, Any] | None:
    """What a request for a language model is answered; None for one that may pass."""
    said = _object(body) if method.upper() == "POST" else {}
    path = url.partition("?")[0].rstrip("/")
    tokens = said.get("max_completion_tokens") or said.get("max_tokens")
    tokens = tokens if isinstance(tokens, int) and tokens > 0 else 1024
    messages = said.get("messages")
    if isinstance(messages, list) and path.endswith("/messages"):
        first = [{"role": "system", "content": said["system"]}] if isinstance(said.get("system"), str) else []
        text = replies.reply(Asked([*first, *messages], 0, tokens))
        return {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
    if isinstance(messages, list):
        several = said.get("n") if isinstance(said.get("n"), int) else 1
        texts = [replies.reply(Asked(messages, number, tokens)) for number in range(max(1, several or 1))]
        return _completion(texts, str(said.get("model")))
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    if replies.online and (method.upper() in ("GET", "HEAD") or host.endswith(_HUB)):
        return None
    if replies.loading:
        raise ConnectionError("this run uses no network")
    raise RefusedError(f"it {'asks' if method.upper() == 'POST' else 'reads from'} {host}")


def _completion(texts: list[str], model: str) -> dict[str, Any]:
    choices = [
        {"index": place, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {
        "id": "0",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": usage,
    }


def _object(body: Any) -> Mapping[str, Any]:
    try:
        text = body.decode() if isinstance(body, (bytes, bytearray)) else body
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
