"""The base of strategies that reduce images before the decoder, and drop tokens in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency import budget
from pdrop_eval.efficiency.architecture import Architecture, architecture_of, nominal_image_tokens
from pdrop_eval.engine.before_decoder.interface import ImageReducer, ImageView, Reduced
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.base import Strategy, check_undecided, no_schedule
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdrop_eval.engine.context import StagedForward

# What the whole says in the words of its second half, where that says it.
_OF_SECOND = ("positions", "ranks_by_attention", "needs_embeddings")


class TwoStage(Strategy):
    """Base of strategies that reduce images before the decoder, then drop tokens in it.

    A subclass has two halves, `first` and `second`, and calls `settle` when it has them. Budgets, schedules,
    FLOPs and what is retained are those of the whole; the second half sees what the first one left, and ids
    are those of the original image.

    Attributes:
        first: acts before the decoder.
        second: acts in it.
    """

    stage: ClassVar[str] = "both"
    first: Any
    second: Any

    def settle(self) -> None:
        """Take over what the halves say of themselves, and that the whole has to say."""
        halves = (self.first, self.second)
        vars(self).update(
            {name: getattr(self.second, name) for name in _OF_SECOND},
            needs=self.first.needs,
            seed=getattr(self.first, "seed", 0),
            adaptive=any(half.adaptive for half in halves),
            trains=all(half.trains for half in halves),
            shares_prefix=all(half.shares_prefix for half in halves),
            merged="; ".join(dict.fromkeys(half.merged for half in halves if half.merged)),
        )

    @property
    def reducer(self) -> ImageReducer | None:
        """The strategy itself."""
        return self  # type: ignore[return-value]

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse what the first half can't have of an image of this shape."""
        with self._naming(0):
            self.first.check_shape(shape)

    def get_ready(self, width: int) -> None:
        """Load what the first half needs beside a model whose vision tower has this width."""
        with self._naming(0):
            self.first.get_ready(width)

    def check_image(self, shape: TokenShape) -> None:
        """Refuse images of which the first half leaves what the second isn't made for."""
        if not self.first.adaptive:
            self.check_shape(shape)
            with self._naming(1):
                self.second.check_image(TokenShape(self.first.retained_count(shape)))

    def check_counts(self, num_layers: int, shape: TokenShape) -> None:
        """Refuse a second half that asks for more tokens than the first leaves of an image of this shape.

        Raises:
            UserError: with both numbers.
        """
        if not self.first.adaptive:
            self._check_asked(num_layers, self.first.retained_count(shape), shape.tokens)

    def notes(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> list[str]:
        """Return what both halves say, the second of what the first leaves."""
        own: list[str] = self.first.notes(num_layers, image_tokens)
        if self.first.adaptive:
            return own
        return [*own, *self.second.notes(num_layers, self.entering(image_tokens, tile_tokens))]

    def cache_cut(self, num_layers: int) -> int | None:
        """Return the first layer whose cache the second half cuts, or None."""
        cut = getattr(self.second, "cache_cut", None)
        return None if cut is None else cut(num_layers)

    def for_image(self, shape: TokenShape) -> Any:
        """Return what a budget in shares gives a picture at its own size; see `BeforeStrategy.for_image`.

        The first half leaves the most with which both come to that share of the picture's own tokens, in the
        mean over the layers.
        """
        solved, build = self.reached, vars(self).get("built")
        if solved is None or build is None or not solved.asked.startswith("share=") or shape.tiles != 1:
            return self
        if shape.tokens == solved.image_tokens:
            return self
        layers = len(solved.schedule)
        limit = float(solved.asked.partition("=")[2]) * shape.tokens * layers + 1e-6

        def fits(count: int) -> bool:
            found = build(count, shape, layers)
            left = found.first.retained_count(shape)
            return left <= count and bool(sum(found.second.schedule(layers, left)) <= limit)

        low, high = 1, shape.tokens  # the largest count that fits, or 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return build(low, shape, layers)

    def reduce(self, view: ImageView) -> Reduced:
        """Return what the first half leaves of an image."""
        reduced: Reduced = self.first.reduce(view)
        return reduced

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the multiply-adds of the first half's choice."""
        return int(self.first.choosing_flops(shape, sizes))

    def making_flops(self, left: int, shape: TokenShape, sizes: Architecture) -> int:
        """Return what the first half pays for each token that it makes, where the image says how many."""
        return int(self.first.making_flops(left, shape, sizes))

    def entering(self, image_tokens: int, tile_tokens: int | None = None) -> int:
        """Return how many tokens the first half leaves."""
        return int(self.first.entering(image_tokens, tile_tokens))

    def ranking_flops(self, sizes: Architecture, alive: Sequence[int], text_tokens: int) -> int:
        """Return the multiply-adds of the second half's rankings."""
        return int(self.second.ranking_flops(sizes, alive, text_tokens))

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the second half's drops."""
        with self._naming(1):
            return tuple(self.second.drops(num_layers))

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return how many of the tokens that enter the decoder remain after each drop."""
        return tuple(self.second.retained(num_layers, image_tokens))

    def rank(self, context: SelectionContext) -> Tensor:
        """Return the second half's scores."""
        scores: Tensor = self.second.rank(context)
        return scores

    def select(self, context: SelectionContext) -> Selection:
        """Choose as the second half does."""
        selection: Selection = self.second.select(context)
        return selection

    def schedule(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> tuple[int, ...]:
        """Return the second half's schedule of what the first one leaves.

        Raises:
            UserError: what a half refuses; a second half that asks for more than the first one leaves.
        """
        if self.first.adaptive:
            raise no_schedule(self.display_name)
        with self._naming(0):
            entering = self.first.schedule(num_layers, image_tokens, tile_tokens)[0]
        if image_tokens:
            self._check_asked(num_layers, entering, image_tokens)
        with self._naming(1):
            return tuple(self.second.schedule(num_layers, entering))

    def __call__(self, model: nn.Module, image_mask: Tensor | None = None, **given: Any) -> StagedForward:
        """Return the context manager; see `Strategy`."""
        staged = super().__call__(model, image_mask, **given)
        family: Any = staged.family
        self.check_counts(staged.config.num_hidden_layers, family.nominal_shape(model.config))
        return staged

    def _check_asked(self, num_layers: int, left: int, image_tokens: int) -> None:
        wanted = self.second.asked_count(num_layers)
        if wanted > left:
            first, second = self.asked
            raise UserError(
                f"{first} leaves {left} of an image's {image_tokens} tokens, and {second} asks for {wanted} "
                f"of them in the decoder: let the first leave {wanted} or more, or the second retain {left} "
                "or fewer."
            )

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> Any:
        """Return the strategy whose first half leaves as many tokens of an image of this shape up to `count`.

        By default, the first of `solved_fields` is the count.
        """
        return cls(**{cls.solved_fields[0]: count}, **fields)

    @classmethod
    def for_budget(
        cls,
        model: Any,
        *,
        tokens: float | None = None,
        share: float | None = None,
        tflops: float | None = None,
        image_tokens: int | None = None,
        **fields: Any,
    ) -> Any:
        """Return the strategy whose first half leaves what a budget allows; see `Strategy.for_budget`."""
        if not cls.solved_fields:
            raise budget.no_layouts(cls.__name__)
        check_undecided(cls.solved_fields, fields)

        def build(count: int, shape: TokenShape, layers: int) -> Any:
            return cls.for_count(count, shape, **fields)

        asked = {"tokens": tokens, "share": share, "tflops": tflops}
        most = "the drops in the decoder, on all tokens"
        return fitted(cls.display_name, model, asked, image_tokens, build, most)

    @property
    def asked(self) -> tuple[str, str]:
        """What the halves are called where their counts don't go together."""
        return self.first.name, self.second.name

    @contextmanager
    def _naming(self, half: int) -> Iterator[None]:
        """Within it, complaints about a setting of a half say whose it is, where that isn't clear."""
        yield


def fitted(
    name: str, model: Any, asked: dict[str, float | None], image_tokens: int | None,
    build: Callable[[int, TokenShape, int], Any], most: str,
) -> Any:  # fmt: skip
    """Return the strategy whose first half leaves as many tokens as a budget allows.

    Args:
        name: the strategy's, for messages.
        model: the model, or its config.
        asked: tokens, share and tflops, of which one is given.
        image_tokens: of a sample; None: the nominal number.
        build: makes it from the count that the first half may leave of an image of a shape, and the depth.
        most: what it costs where the first half leaves all, in words.

    Raises:
        UserError: see `Strategy.for_budget`.
    """
    config = getattr(model, "config", model)
    sizes = architecture_of(config)
    n = nominal_image_tokens(config) if image_tokens is None else image_tokens
    shape = TokenShape.of(n, sizes.tile_tokens)
    layout = budget.Layout(lambda part: build(max(1, round(n * part)), shape, sizes.layers), most=most)
    found = budget.find(name, lambda _: [layout], sizes, n, {}, asked)
    vars(found)["built"] = build  # for pictures of other sizes
    return found
