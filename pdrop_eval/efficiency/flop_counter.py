"""FLOPs counted in a real prefill: torch's own counter on the tensors that are really multiplied."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pdrop_eval.engine.before_decoder.interface import ImageReducer, ImageView, Reduced
from pdrop_eval.engine.context import StagedForward
from pdrop_eval.engine.interface import Selection, SelectionContext
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.utils.errors import UserError

COUNTABLE = ("eager", "sdpa")
CONVENTION = (
    "multiply-adds counted by torch's FlopCounterMode in one prefill (it counts 2 operations for each): "
    "every matrix product, convolution and attention kernel, padding included, attention over every pair of "
    "tokens (no causal half), the output head on the last position"
)


@dataclass(frozen=True)
class CountedFlops:
    """Multiply-adds of one forward, part by part; see `convention`. The sum of a batch's rows.

    Attributes:
        vision: the vision tower, on all tiles.
        projector: on all tiles.
        layers: of each decoder layer, without rankings.
        ranking: of all drops, and of choosing tokens before the decoder.
        head: the output head.
        other: the rest, such as the rotary embeddings' angles.
        convention: what is counted, in words.
    """

    vision: int
    projector: int
    layers: tuple[int, ...]
    ranking: int
    head: int
    other: int
    convention: str = CONVENTION

    @property
    def decoder(self) -> int:
        """All decoder layers."""
        return sum(self.layers)

    @property
    def prefill(self) -> int:
        """What follows the image features: decoder, rankings, head, and what is left."""
        return self.decoder + self.ranking + self.head + self.other

    @property
    def ttft(self) -> int:
        """All of it: vision tower, projector and prefill."""
        return self.vision + self.projector + self.prefill


def counted_flops(
    model: nn.Module, strategy: Any, inputs: Mapping[str, Any], image_mask: Tensor | None = None,
    questions: Sequence[str] | None = None,
) -> CountedFlops:  # fmt: skip
    """Run one prefill of `inputs` under the strategy and count what is multiplied.

    Args:
        model: of any family that the strategy runs on, with attention "sdpa" or "eager": torch doesn't see
            what other kernels do.
        strategy: the strategy.
        inputs: of the model's forward. Only the last position's logits are computed, and no cache is kept,
            unless `logits_to_keep` or `use_cache` are among them.
        image_mask: [b, n] bool, true on image tokens; for bare decoders.
        questions: one for each row, for a strategy that chooses by the question.

    Raises:
        UserError: an attention that can't be counted, and what the strategy raises for model or inputs.
    """
    attention = model.config.get_text_config()._attn_implementation  # type: ignore[union-attr, operator]
    if attention not in COUNTABLE:
        raise UserError(
            f"FLOPs can't be counted with attention={attention!r}, which torch doesn't see: load the model "
            f"with one of {', '.join(map(repr, COUNTABLE))}; the number of multiply-adds is the same."
        )
    counter = FlopCounterMode(display=False, custom_mapping=kernels())
    noted = _Noted(counter)
    staged = StagedForward(model, _Ranking(strategy, noted), image_mask, questions=questions)
    if staged.before is not None:
        vars(staged.before)["from_inputs"] = noted.choosing(staged.before.from_inputs)
    blocks = {f"layer {i}": layer for i, layer in enumerate(staged.decoder.layers)}
    with torch.no_grad(), staged, noted.on({**staged.family.parts(model), **blocks}), counter:
        model(**{"logits_to_keep": 1, "use_cache": False, **inputs})
    layers = tuple(noted.flops.get(name, 0) // 2 for name in blocks)
    vision, projector, ranking, head = (
        noted.flops.get(name, 0) // 2 for name in ("vision", "projector", "ranking", "head")
    )
    rest = counter.get_total_flops() // 2 - sum(layers) - vision - projector - ranking - head
    return CountedFlops(vision, projector, layers, ranking, head, rest)


@dataclass
class _Noted:
    """What the counter has counted within each part of the model."""

    counter: FlopCounterMode
    flops: dict[str, int] = field(default_factory=dict)
    stack: list[tuple[int, int]] = field(default_factory=list)  # counted at the start, and within other parts
    inner: int = 0

    def enter(self, *_: Any) -> None:
        self.stack.append((self.counter.get_total_flops(), self.inner))
        self.inner = 0

    def leave(self, name: str) -> None:
        """Note a part without those inside of it: a projector may be a part of the tower."""
        start, outer = self.stack.pop()
        whole = self.counter.get_total_flops() - start
        self.flops[name] = self.flops.get(name, 0) + whole - self.inner
        self.inner = outer + whole

    def choosing(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what encodes and reduces images: what isn't the tower's or the projector's is the choice's."""

        def noting(*given: Any) -> Any:
            before, start = self.counter.get_total_flops(), dict(self.flops)
            found = encode(*given)
            known = sum(self.flops.get(name, 0) - start.get(name, 0) for name in ("vision", "projector"))
            own = self.counter.get_total_flops() - before - known
            self.flops["ranking"] = self.flops.get("ranking", 0) + own
            return found

        return noting

    @contextmanager
    def on(self, parts: Mapping[str, nn.Module]) -> Iterator[None]:
        """Note the parts' forwards. Hooks put on last run last: a ranking before a layer is none of it."""
        with ExitStack() as stack:
            for name, module in parts.items():
                stack.callback(module.register_forward_pre_hook(self.enter).remove)
                after = module.register_forward_hook(lambda *_, name=name: self.leave(name))
                stack.callback(after.remove)
            yield


class _Ranking:
    """The strategy, with what its choices cost noted apart."""

    def __init__(self, strategy: Any, noted: _Noted):
        self.strategy = strategy
        self.noted = noted
        self.positions: str = strategy.positions
        reducer = getattr(strategy, "reducer", None)
        self.reducer = None if reducer is None else _Reducing(reducer, noted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.strategy, name)

    def select(self, context: SelectionContext) -> Selection:
        """Return the strategy's choice."""
        return self._noting(self.strategy.select)(context)

    def _noting(self, choose: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wrap what chooses or makes tokens, now or at the drop."""

        def noted(given: Any) -> Any:
            self.noted.enter()
            found = choose(given)
            self.noted.leave("ranking")
            if not isinstance(found, Selection):
                return found
            later = {name: getattr(found, name) for name in ("then", "merge", "hidden_update")}
            wrapped: dict[str, Any] = {name: self._noting(f) for name, f in later.items() if f is not None}
            return replace(found, **wrapped)

        return noted


class _Reducing:
    """The strategy before the decoder; tokens that it projects anew count with its choice."""

    def __init__(self, reducer: Any, noted: _Noted):
        self._reducer = reducer
        self._noted = noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reducer, name)

    def for_image(self, shape: TokenShape) -> ImageReducer:
        """Return the same of the strategy that the image gets."""
        own = getattr(self._reducer, "for_image", None)
        return self if own is None else _Reducing(own(shape), self._noted)

    def reduce(self, view: ImageView) -> Reduced:
        """Return what the strategy makes of an image."""
        before = self._noted.flops.get("projector", 0)
        found: Reduced = self._reducer.reduce(view)
        self._noted.flops["projector"] = before
        return found


def kernels() -> dict[Any, Any]:
    """Return the attention kernel of CPUs, which torch's counter leaves out, as its `custom_mapping`."""

    def attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        rows, heads, queries, width = query
        return 2 * rows * heads * queries * key[2] * (width + value[3])

    return {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
