"""A language model that scores answers, behind any OpenAI-compatible address."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server.chat_server import ChatServer, ServerError, TemporaryError
from pdrop_eval.utils.server.server_settings import check_model_name, check_server, read_key
from pdrop_eval.utils.text.redact import redact_address
from pdrop_eval.utils.validation import shortened

Answer = TypeVar("Answer")


class JudgeError(UserError):
    """The judge gave no score. What it was to score is kept, and nothing of it counts as wrong."""


@dataclass(frozen=True)
class Judge:
    """A model behind `<base_url>/chat/completions`; the fields are those of `ChatServer`."""

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

    def ask(
        self, prompt: str | list[dict[str, Any]], read: Callable[[str], Answer], most: int = 128
    ) -> tuple[Answer, str]:
        """What `read` finds in the judge's answer, and the model that the server says has answered.

        Args:
            prompt: a text, or messages as an OpenAI-compatible server takes them.
            read: raises a ValueError for an answer that is none.
            most: tokens of an answer.

        As in MM-Vet's own protocol the first try is greedy, and a try after an answer that `read` refuses
        (with a ValueError) is warmer.

        Raises:
            JudgeError: All tries have failed.
        """
        temperature = 0.0

        def attempt() -> tuple[Answer, str]:
            nonlocal temperature
            text, model = self._complete(prompt, temperature, most)
            try:
                return read(text), model
            except ValueError as error:
                temperature = min(temperature + 0.5, 1.5)
                raise TemporaryError(self._server.without_secrets(str(error))) from error

        try:
            return self._server.retrying(attempt)
        except ServerError as error:
            raise JudgeError(str(error)) from error

    @cached_property
    def _server(self) -> ChatServer:
        return ChatServer(
            f"The judge {self.model}", self.base_url, self.key, self.timeout, self.retries, "judge", "model",
            "score", stopped=self._stopped,
        )  # fmt: skip

    def _complete(self, prompt: str | list[dict[str, Any]], temperature: float, most: int) -> tuple[str, str]:
        """The text of one answer, and the model that gave it."""
        found = self._server.complete(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
                "temperature": temperature,
                "max_tokens": most,
            }
        )
        try:
            content, model = found["choices"][0]["message"]["content"], found.get("model")
            if not isinstance(content, str):
                raise TypeError(f"its content is {shortened(content)}")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._server.unfit(found) from error
        return content, self._server.named(model) if isinstance(model, str) and model else self.model


def make_judge(config: Any) -> Judge | None:
    """The judge of `conf/evaluate.yaml`'s `judge`; None if no model is named. Raises UserError."""
    if config.model is None:
        return None
    check_server("judge", config)
    return Judge(
        model=check_model_name("judge.model", config.model),
        base_url=str(config.base_url),
        key=read_key("judge", f"judge.model={config.model}", config.api_key_env),
        timeout=float(config.timeout),
        retries=config.retries,
    )
