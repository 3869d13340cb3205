"""A language model that scores answers, behind any OpenAI-compatible address. Standard library only."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_finite_number

_PAUSE = 1.0  # seconds before the first repetition; doubled each time
_KEEP_TRYING = (408, 409, 429, 500, 502, 503, 504)


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
        (with a ValueError) is warmer. Raises JudgeError when all tries have failed.
        """
        why, temperature = "", 0.0
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            try:
                text, model = self._complete(prompt, temperature)
                return read(text), model
            except _PassingError as error:
                why = str(error)
            except ValueError as error:
                why, temperature = str(error), min(temperature + 0.5, 1.5)
        raise JudgeError(f"{self._name()} gave no score in {self.retries + 1} tries: {why}.")

    def _complete(self, prompt: str, temperature: float) -> tuple[str, str]:
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": temperature,
            "max_tokens": 128,
        }
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(
            f"{self.base_url.rstrip('/')}/chat/completions", json.dumps(asked).encode(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            what = f"HTTP {error.code} {error.reason}: {error.read()[:200].decode(errors='replace')}"
            if error.code in _KEEP_TRYING:
                raise _PassingError(what) from error
            raise JudgeError(f"{self._name()} refused: {what}. Check judge.model and the key.") from error
        except (OSError, http.client.HTTPException) as error:  # URLError, timeouts, connections that break
            raise _PassingError(f"no answer within {self.timeout:g} s or no connection ({error})") from error
        try:
            found = json.loads(answer)
            return str(found["choices"][0]["message"]["content"]), str(found.get("model") or self.model)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _PassingError(f"the answer is no chat completion: {answer[:200]!r}") from error

    def _name(self) -> str:
        return f"The judge {self.model} at {self.base_url}"


class _PassingError(Exception):
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
