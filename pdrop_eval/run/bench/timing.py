"""One variant on one batch: prefill, time to the first token, decoding, ranking, memory. Synchronised.

The model gets what `generate` gives it for rows without padding, as evaluation does: position ids, and no
attention mask, which `generate` leaves out where it is all ones.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.engine.before_decoder.reduce import BeforeStage
from pdrop_eval.engine.phases.prefill import Prefill
from pdrop_eval.models import families
from pdrop_eval.models.kv_cache import cache_argument
from pdrop_eval.models.towers import tower
from pdrop_eval.run.bench.memory import peak_bytes
from pdrop_eval.run.bench.model import Batch

QUESTION = "What is the man in the picture holding?"
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
        staged = None if self.strategy is None else self._context(self.batch.image)
        if staged is None or staged.before is None:
            return self.batch.embeds, self.batch.places
        length = staged.before.from_inputs(self.batch.whole, self._questions(), None).ids.shape[1]
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
        """Seconds of one prefill in ranking, and in gathering what is retained."""
        rank, drop = self.choosing()
        return rank.wall, drop.wall

    def choosing(self) -> tuple[Seconds, Seconds]:
        """Time of one prefill in ranking and choosing, and in gathering what is retained.

        Before the decoder it is what is computed from the vision tower's outputs, such as the class token's
        attention, and what follows the tower up to the short prompt; nothing is left to be gathered.
        """
        with ExitStack() as stack:

            def noting(owner: Any, name: str) -> list[Seconds]:
                return stack.enter_context(timed(owner, name, self.device))

            rank, drop = noting(Prefill, "_rank"), noting(Prefill, "_drop")
            if getattr(self.strategy, "reducer", None) is None:
                self.prefill()
            else:
                before = noting(tower, "_held"), noting(BeforeStage, "shorten")
                staged = self._context()
                with torch.no_grad():
                    if staged.drops:  # it acts in the decoder, too
                        with staged:
                            self._first_token()
                    else:
                        staged.before.from_inputs(self.batch.whole, self._questions(), None)
                rank += [seconds for one in before for seconds in one]
        return total(rank), total(drop)

    def vision(self) -> Seconds:
        """The vision tower and the projector."""
        with torch.no_grad():
            watch = Stopwatch(self.device)
            families.multimodal_of(self.model.config).encode(self.model, self.batch.pixels)
            return watch.lap()

    def _context(self, image: Tensor | None = None) -> Any:
        if self.strategy is None:
            return nullcontext()
        return self.strategy(self.model, image, questions=self._questions())

    def _questions(self) -> list[str]:
        """One for each row, for a strategy that chooses by the question."""
        return [QUESTION] * len(self.batch.embeds)

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
def timed(owner: Any, name: str, device: str) -> Iterator[list[Seconds]]:
    """Notes the time of each call of a class's method, or a module's function, the device's work included."""
    original: Callable[..., Any] = getattr(owner, name)
    found: list[Seconds] = []

    def method(*args: Any, **kwargs: Any) -> Any:
        watch = Stopwatch(device)
        result = original(*args, **kwargs)
        found.append(watch.lap())
        return result

    setattr(owner, name, method)
    try:
        yield found
    finally:
        setattr(owner, name, original)


def total(times: Sequence[Seconds]) -> Seconds:
    """The sum of several times."""
    return Seconds(sum(one.wall for one in times), sum(one.cpu for one in times))
