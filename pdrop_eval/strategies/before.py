"""The base class of strategies that reduce an image's tokens before the decoder."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from pdrop_eval.efficiency import budget
from pdrop_eval.efficiency.architecture import Architecture, architecture_of, nominal_image_tokens
from pdrop_eval.engine.before_decoder.interface import ImageReducer, ImageView, Reduced
from pdrop_eval.engine.interface import Drop
from pdrop_eval.models.towers.encoded import Needs, TokenShape
from pdrop_eval.strategies.base import Strategy, check_undecided, no_budget, no_schedule
from pdrop_eval.utils.errors import UserError


class BeforeStrategy(Strategy):
    """Base of the strategies that act before the decoder, on one image after the other.

    A subclass is a dataclass whose fields are the paper's hyperparameters. It defines `reduce`, and
    `retained_count` unless it is adaptive. All layers of the decoder see the T tokens that are left, with
    position ids that have no gaps, as in the official code of every method of this kind; on Qwen-VL, whose
    ids say where on an image a token lies, they keep their own, as in every port to it.

    Attributes:
        needs: what of the vision tower, and whether the question, `reduce` looks at.
    """

    stage: ClassVar[str] = "before_decoder"
    ranks_by_attention: ClassVar[bool] = False
    needs: Needs = Needs()

    @abstractmethod
    def reduce(self, view: ImageView) -> Reduced:
        """Choose, or make, the tokens of one image."""

    def retained_count(self, shape: TokenShape) -> int:
        """Return T, the tokens that are left of an image of this shape."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say how many image tokens it retains.")

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse, before a sample is computed, what an image of this shape can't have.

        By default, T is from 1 to the image's tokens.

        Raises:
            UserError: otherwise.
        """
        if self.adaptive:
            return
        count = self.retained_count(shape)
        if not 1 <= count <= shape.tokens:
            raise UserError(
                f"{self!r} asks for {count} image tokens, and an image has {shape.tokens}: use 1 to "
                f"{shape.tokens}."
            )

    def get_ready(self, width: int) -> None:
        """Load what it needs beside the model, before a sample is computed; by default, nothing.

        Args:
            width: of the model's vision tower.

        Raises:
            UserError: it can't be loaded, or is made for another model.
        """

    def for_image(self, shape: TokenShape) -> ImageReducer:
        """Return what a budget in shares gives an image at its own size: that share of its own tokens.

        Every other image gets the strategy itself: its tokens are the nominal ones, or those of its tiles.
        """
        solved = self.reached
        if solved is None or not solved.asked.startswith("share=") or shape.tiles != 1:
            return self
        if shape.tokens == solved.image_tokens:
            return self
        share = float(solved.asked.partition("=")[2])
        kept = {name: value for name, value in self.settings().items() if name not in self.solved_fields}
        found: ImageReducer = self.for_count(max(1, int(share * shape.tokens + 1e-9)), shape, **kept)
        return found

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> Any:
        """Return the strategy that leaves as many tokens of an image of this shape as it can up to `count`.

        By default, the first of `solved_fields` is the count. What leaves more than `count` is taken for out
        of reach.
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
        """Return a strategy that costs no more than the budget; see `Strategy.for_budget`.

        Raises:
            UserError: also of an adaptive strategy, whose counts no setting decides.
        """
        if cls.adaptive:
            raise no_budget(cls.display_name)
        check_undecided(cls.solved_fields, fields)
        config = getattr(model, "config", model)
        sizes = architecture_of(config)
        if image_tokens is None:
            image_tokens = nominal_image_tokens(config)
        asked = {"tokens": tokens, "share": share, "tflops": tflops}
        layouts = partial(_one_layout, cls, image_tokens, sizes.tile_tokens, fields)
        return budget.find(cls.__name__, layouts, sizes, image_tokens, fields, asked)

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the multiply-adds of choosing, and of making tokens.

        By default, those of the class token's attention in the layers that `needs` names. A strategy that
        multiplies more adds it; `projection_flops` counts tokens that it makes before the projector.

        Args:
            shape: of the images of a sample, as if they were one.
            sizes: of the model.
        """
        if sizes.vision_merge > 1:
            return _received_flops(shape, sizes) if self.needs.layers or self.needs.of_class_token else 0
        rows = len(self.needs.attention) * shape.tiles
        return rows * (shape.patches + 1) * sizes.vision_d

    def making_flops(self, left: int, shape: TokenShape, sizes: Architecture) -> int:
        """Return the multiply-adds of making the tokens of an image whose number it decides itself.

        An adaptive strategy that multiplies for each token defines it; `choosing_flops` leaves this out.

        Args:
            left: the tokens that were left.
            shape: of the images of a sample, as if they were one.
            sizes: of the model.
        """
        return 0

    @property
    def reducer(self) -> ImageReducer | None:
        """The strategy itself."""
        return self

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return none: all is done before the first layer."""
        return ()

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return no counts."""
        return ()

    def entering(self, image_tokens: int, tile_tokens: int | None = None) -> int:
        """Return T."""
        if self.reducer is None or image_tokens == 0:
            return image_tokens
        return self.retained_count(TokenShape.of(image_tokens, tile_tokens))

    def schedule(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> tuple[int, ...]:
        """Return T for every layer.

        Raises:
            UserError: counts that don't fit, and an adaptive strategy.
        """
        if self.adaptive:
            raise no_schedule(self.display_name)
        if image_tokens == 0:
            return (0,) * num_layers
        shape = TokenShape.of(image_tokens, tile_tokens)
        self.check_shape(shape)
        return (self.retained_count(shape),) * num_layers


def projection_flops(tokens: int, sizes: Architecture) -> int:
    """Return the multiply-adds of the projector on so many tokens."""
    return sizes.projection(tokens)


def _received_flops(shape: TokenShape, sizes: Architecture) -> int:
    """Return the multiply-adds of the attention that tokens receive in a tower's last layer.

    Of pictures at their own size, queries, keys and values are projected anew, and every pair is multiplied;
    of tiles, all keys, and one query.
    """
    d = sizes.vision_d
    if not sizes.tile_tokens:
        n = shape.tokens * sizes.vision_merge
        return 3 * n * d * d + n * n * d
    n = sizes.vision_tokens
    return shape.tiles * ((n + 1) * d * d + n * d)


def check_count(name: str, value: Any, most: int | None = None, low: int = 1) -> None:
    """Refuse a number of tokens that can't be.

    Args:
        name: of the setting.
        value: of the setting.
        most: what an image has, where it is known.
        low: the smallest that can be.

    Raises:
        UserError: with what is allowed.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (most is not None and value > most):
        allowed = (
            f"from {low} up" if most is None else f"from {low} to {most}, the image tokens that there are"
        )
        raise UserError(f"{name}={value!r} is not allowed: use a whole number {allowed}.")


def _one_layout(
    cls: type[BeforeStrategy], image_tokens: Any, tile_tokens: int, fields: dict[str, Any], num_layers: int
) -> Sequence[budget.Layout]:
    """Return the layout before the decoder; a share becomes a count."""

    def build(share: float) -> Any:
        shape = TokenShape.of(image_tokens, tile_tokens)
        return cls.for_count(max(1, round(image_tokens * share)), shape, **fields)

    return [budget.Layout(build)]
