"""One variant on one batch: prefill, time to the first token, decoding, ranking, memory. Synchronised.

The model gets what `generate` gives it for rows without padding, as evaluation does: position ids, and no
attention mask, which `generate` leaves out where it is all ones.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.engine.before import BeforeStage
from pdrop_eval.engine.prefill import Prefill
from pdrop_eval.models import families
from pdrop_eval.models.kv_cache import cache_argument
from pdrop_eval.run.bench.memory import peak_bytes
from pdrop_eval.run.bench.model import Batch

PHASES = ("prefill", "ttft", "decode", "answer")
_STEPS_FOR_PEAK = 2  # decode steps in the pass that finds the peak: the cache grows by copying


@dataclass(frozen=True)
class Seconds:
    """Time on the wall, and of the processor over all threads."""

    wall: float
    cpu: float


class Stopwatch:
    """Starts when it is made, after the device has finished what it was given before."""

    def __init__(self, device: str):
        self._device = device
        self._start = self._now()

    def lap(self) -> Seconds:
        """The time since the start, or the lap before; the device's work included."""
        start, self._start = self._start, self._now()
        return Seconds(self._start[0] - start[0], self._start[1] - start[1])

    def _now(self) -> tuple[float, float]:
        synchronise(self._device)
        return time.perf_counter(), time.process_time()


def synchronise(device: str) -> None:
    """Wait until a GPU has finished."""
    if device != "cpu":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Runner:
    """A model and a batch, with a strategy or (None) as transformers runs it."""

    model: Any
    strategy: Any
    batch: Batch
    new_tokens: int
    device: str

    def prefill(self) -> Seconds:
        """The decoder on image and text embeddings, up to the logits of the last position."""
        embeds, places = self._embedded()
        # Images that are reduced before the decoder are so already: nothing is left to be dropped in it.
        context = self._context(self.batch.image) if embeds is self.batch.embeds else nullcontext()
        with torch.no_grad(), context:
            watch = Stopwatch(self.device)
            self.model(inputs_embeds=embeds, position_ids=places, use_cache=True, logits_to_keep=1)
            return watch.lap()

    def _embedded(self) -> tuple[Tensor, Tensor]:
        """The embeddings that enter the decoder, and their position ids."""
        staged = None if self.strategy is None else self.strategy(self.model, self.batch.image)
        if staged is None or staged.before is None:
            return self.batch.embeds, self.batch.places
        length = staged.before.from_inputs(self.batch.whole, None, None).ids.shape[1]
        return self.batch.embeds[:, :length], self.batch.places[:, :length]

    def answer(self) -> dict[str, Seconds]:
        """From pixels to the first token ("ttft"), then decode steps ("decode", of one; "answer", of all)."""
        with torch.no_grad(), self._context():
            watch = Stopwatch(self.device)
            token, cache = self._first_token()
            first = watch.lap()
            self._decode(token, cache, self.new_tokens)
            rest = watch.lap()
        step = Seconds(rest.wall / self.new_tokens, rest.cpu / self.new_tokens)
        return {
            "ttft": first,
            "decode": step,
            "answer": Seconds(first.wall + rest.wall, first.cpu + rest.cpu),
        }

    def memory(self) -> tuple[int, list[int]]:
        """The peak of an answer's first tokens, beyond weights and inputs; bytes that each layer caches."""
        kept: list[int] = []
        return peak_bytes(lambda: kept.extend(self.first_tokens()), self.device), kept

    def first_tokens(self) -> list[int]:
        """What `memory` measures: prefill and first decode steps. Returns bytes that each layer caches."""
        with torch.no_grad(), self._context():
            token, cache = self._first_token()
            kept = [layer.keys.nbytes + layer.values.nbytes for layer in cache.layers]
            self._decode(token, cache, min(_STEPS_FOR_PEAK, self.new_tokens))
        return kept

    def ranking(self) -> tuple[float, float]:
        """Seconds of one prefill in ranking, and in choosing and gathering what is retained.

        Before the decoder, choosing is what follows the vision tower, but for the class token's attention.
        """
        if getattr(self.strategy, "reducer", None) is not None:
            with timed(BeforeStage, "shorten", self.device) as chosen, torch.no_grad(), self._context():
                self._first_token()
            return sum(chosen), 0.0
        with timed(Prefill, "_rank", self.device) as rank, timed(Prefill, "_drop", self.device) as drop:
            self.prefill()
        return sum(rank), sum(drop)

    def vision(self) -> Seconds:
        """The vision tower and the projector."""
        with torch.no_grad():
            watch = Stopwatch(self.device)
            families.multimodal_of(self.model.config).encode(self.model, self.batch.pixels)
            return watch.lap()

    def _context(self, image: Tensor | None = None) -> AbstractContextManager[Any]:
        return nullcontext() if self.strategy is None else self.strategy(self.model, image)

    def _first_token(self) -> tuple[Tensor, Any]:
        out = self.model(**self.batch.whole, position_ids=self.batch.places, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1:].argmax(-1), out.past_key_values

    def _decode(self, token: Tensor, cache: Any, steps: int) -> None:
        places = self.batch.places[:, -1:]
        for _ in range(steps):
            places = places + 1  # of the whole sequence: a strategy moves them itself
            past = cache_argument(self.model, cache)
            out = self.model(input_ids=token, position_ids=places, use_cache=True, logits_to_keep=1, **past)
            token = out.logits[:, -1:].argmax(-1)


@contextmanager
def timed(cls: type, name: str, device: str) -> Iterator[list[float]]:
    """Notes the seconds of each call of a method, the device's work included."""
    original: Callable[..., Any] = getattr(cls, name)
    found: list[float] = []

    def method(*args: Any, **kwargs: Any) -> Any:
        watch = Stopwatch(device)
        result = original(*args, **kwargs)
        found.append(watch.lap().wall)
        return result

    setattr(cls, name, method)
    try:
        yield found
    finally:
        setattr(cls, name, original)
