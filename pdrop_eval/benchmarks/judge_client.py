"""A language model that scores answers, behind any OpenAI-compatible address."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_finite_number

_PAUSE = 1.0  # seconds before the first repetition; doubled each time
_TEMPORARY = (408, 409, 429, 500, 502, 503, 504)


class JudgeError(UserError):
    """The judge gave no score. What it was to score is kept, and nothing of it counts as wrong."""


@dataclass(frozen=True)
class Judge:
    """A model behind `<base_url>/chat/completions`. `key` is sent as a bearer token, if there is one."""

    model: str
    base_url: str
    key: str | None = field(repr=False)
    timeout: float
    retries: int

    def describe(self) -> dict[str, str]:
        """What the record says about the judge; the key is not part of it."""
        return {"model": self.model, "base_url": self.base_url}

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
                raise _TemporaryError(str(error)) from error

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=tenacity.wait_exponential(_PAUSE),
            retry=tenacity.retry_if_exception_type(_TemporaryError),
        )
        try:
            return retrying(attempt)
        except tenacity.RetryError as error:
            why = error.last_attempt.exception()
            raise JudgeError(f"{self._name()} gave no score in {self.retries + 1} tries: {why}.") from why

    @cached_property
    def _client(self) -> Any:
        from openai import OpenAI

        return OpenAI(api_key=self.key or "none", base_url=self.base_url, timeout=self.timeout, max_retries=0)

    def _complete(self, prompt: str, temperature: float) -> tuple[str, str]:
        import openai

        # Nothing of the environment goes to a server of somebody else, such as OPENAI_ORG_ID.
        left_out = ["OpenAI-Organization", "OpenAI-Project", *([] if self.key else ["Authorization"])]
        try:
            answer = self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=temperature,
                max_tokens=128,
                extra_headers={name: openai.Omit() for name in left_out},
            ).text
        except openai.APIStatusError as error:
            reply = error.response
            what = f"HTTP {reply.status_code} {reply.reason_phrase}: {reply.text[:200]}"
            if reply.status_code in _TEMPORARY:
                raise _TemporaryError(what) from error
            raise JudgeError(f"{self._name()} refused: {what}. Check judge.model and the key.") from error
        except openai.APIError as error:  # timeouts, and connections that break
            reason = f"no answer within {self.timeout:g} s or no connection ({error.__cause__ or error})"
            raise _TemporaryError(reason) from error
        try:
            found = json.loads(answer)
            return str(found["choices"][0]["message"]["content"]), str(found.get("model") or self.model)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _TemporaryError(f"the answer is no chat completion: {answer[:200]!r}") from error

    def _name(self) -> str:
        return f"The judge {self.model} at {self.base_url}"


class _TemporaryError(Exception):
    """A failure that may be gone at the next try."""


def make_judge(config: Any) -> Judge | None:
    """The judge of `conf/evaluate.yaml`'s `judge`; None if no model is named. Raises UserError."""
    if config.model is None:
        return None
    if not str(config.base_url).startswith(("http://", "https://")):
        raise UserError(
            f"judge.base_url={config.base_url} is no web address. Give the part before /chat/completions, "
            "for example https://api.openai.com/v1 or http://localhost:8000/v1."
        )
    if not is_finite_number(config.timeout) or config.timeout <= 0:
        raise UserError(f"judge.timeout={config.timeout} is not allowed: it must be a number of seconds.")
    if not isinstance(config.retries, int) or config.retries < 0:
        raise UserError(f"judge.retries={config.retries} is not allowed: it must be a whole number from 0.")
    return Judge(
        model=str(config.model),
        base_url=str(config.base_url),
        key=_key(config),
        timeout=float(config.timeout),
        retries=config.retries,
    )


def _key(config: Any) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(str(config.api_key_env))
    if not key:
        raise UserError(
            f"judge.model={config.model} needs a key, but the environment variable {config.api_key_env} is "
            "not set. Set it, name another one with judge.api_key_env=NAME or use judge.api_key_env=null "
            "for a server that asks for none."
        )
    return key
