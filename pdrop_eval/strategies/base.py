"""The base class of all strategies: where to drop, how many tokens, and how to rank them.

This file imports torch only when a model is used, as a strategy's file may: a command then refuses wrong
settings at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency import budget
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.engine.schedule import tokens_per_layer
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdrop_eval.efficiency.architecture import Architecture
    from pdrop_eval.engine.before_decoder.interface import ImageReducer
    from pdrop_eval.engine.context import StagedForward
    from pdrop_eval.models.towers.encoded import TokenShape
    from pdrop_eval.strategies.recipe import Recipe

_MANY = 10**18  # image tokens, more than anyone asks for


class Strategy(ABC):
    """Base of all strategies.

    A subclass is a dataclass whose fields are the paper's hyperparameters. It defines `drops` and `retained`.
    It may define `rank`, or `select` where scores and counts don't say enough (merging, counts that depend on
    the sample). It checks its hyperparameters in `__post_init__`, and in `drops` those that depend on the
    model's depth.

    Attributes:
        name: the registered name, by which the command line and the records know the strategy.
        display_name, paper, stage, series_style, label_fields: what tables, figures, the site and the
            documentation say of it, as plain values; `registry.StrategyInfo` describes them.
        merged: what the tokens are that it makes, in words for legends; empty where it makes none.
        trains: whether a model can be trained under it; otherwise labels are refused.
        shares_prefix: whether all questions of an image have the same tokens before the first drop: it looks
            at nothing of the question there and takes no chance, and `select` and `reduce` see all that it
            looks at. What comes before the question is then computed once for an image; see
            `engine.prefix`. Without a promise, it is computed anew.
        needs_embeddings: whether `context.embeddings` are wanted: the decoder's inputs stay in memory then.
        adaptive: whether counts depend on the sample, so that there is no schedule and no budget can be met.
        bounded: whether `retained` says the most that an adaptive strategy can retain: then schedules and
            budgets are of the most, and a run measures what it was.
        ranks_by_attention: whether `rank` calls `context.attention`; `ranking_flops` counts it then.
        solved_fields: the hyperparameters that a budget solves: how many tokens remain.
        layout_fields: those that `budget_layouts` chooses: where tokens are dropped. A command line gives
            neither kind together with a budget.
        layer_field: the setting that says before which layers tokens are dropped; empty for none.
        share_field: the one that says which share of the image tokens is left after each of these drops;
            empty for none.
        instead_of_layers: those that say the same in other words, and can't be given beside it.
        reached: what `for_budget` found; None for a strategy that was built by hand.
        recipe_fields: those that `pdrop-eval-calibrate` finds for a model, which a recipe gives.
        from_recipe: the recipe that gave them; None without one.
        positions: "keep" leaves the retained tokens their position ids, "renumber" closes the gaps.
    """

    name: ClassVar[str]
    display_name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    stage: ClassVar[str] = "decoder"
    series_style: ClassVar[Mapping[str, Any] | None] = None
    label_fields: ClassVar[tuple[str, ...]] = ()
    merged: ClassVar[str] = ""
    trains: ClassVar[bool] = True
    shares_prefix: ClassVar[bool] = False
    needs_embeddings: ClassVar[bool] = False
    adaptive: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    ranks_by_attention: ClassVar[bool] = True
    solved_fields: ClassVar[tuple[str, ...]] = ()
    layout_fields: ClassVar[tuple[str, ...]] = ()
    layer_field: ClassVar[str] = ""
    share_field: ClassVar[str] = ""
    instead_of_layers: ClassVar[tuple[str, ...]] = ()
    reached: ClassVar[budget.BudgetSolution | None] = None
    recipe_fields: ClassVar[tuple[str, ...]] = ()
    from_recipe: ClassVar["Recipe | None"] = None
    positions: str = "keep"

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.display_name = cls.display_name or getattr(cls, "name", cls.__name__)

    @abstractmethod
    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drops in a model of `num_layers` layers, by rising layer."""

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return how many of a row's `image_tokens` remain after each drop.

        A strategy whose `select` decides by the sample may leave this out; it then has no schedule.
        """
        raise NotImplementedError(f"{type(self).__name__} doesn't say how many image tokens it retains.")

    def asked_count(self, num_layers: int) -> int:
        """Return the image tokens that it asks for whatever there are; 0 where it retains a share."""
        try:
            few, many = (self.retained(num_layers, times * _MANY) for times in (1, 2))
        except (UserError, NotImplementedError):  # it says itself what it is made for, or it has no counts
            return 0
        return max((one for one, other in zip(few, many, strict=True) if one == other), default=0)

    def rank(self, context: SelectionContext) -> "Tensor":
        """Return scores [b, n], by which image tokens are retained: by default, softmax attention."""
        return context.attention("softmax")

    def select(self, context: SelectionContext) -> Selection:
        """Choose the image tokens to retain: by default, the best by `rank`, as many as `retained` says."""
        counts = [self.retained(context.num_layers, n)[context.drop] for n in context.image_tokens]
        return Selection(scores=self.rank(context), counts=counts)

    def check_image(self, shape: "TokenShape") -> None:  # noqa: B027 - most are made for all images
        """Refuse, before a sample is computed, images that the strategy isn't made for; by default none.

        Args:
            shape: of one image, as it enters the decoder.

        Raises:
            UserError: with what can be done.
        """

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Return sentences for the record: what the settings come to on this model, where it isn't plain.

        Args:
            num_layers: the model's depth.
            image_tokens: of an image, before any drop.
        """
        return []

    def ranking_flops(self, sizes: "Architecture", alive: Sequence[int], text_tokens: int) -> int:
        """Return the multiply-adds of all rankings: by default, of one query row and the keys of all tokens.

        A strategy that asks for more than `context.attention`, or for something else, defines it.

        Args:
            sizes: of the model.
            alive: image tokens that each drop finds; 0 where none is left, and nothing is ranked.
            text_tokens: of the prompt.
        """
        if not self.ranks_by_attention:
            return 0
        ranked = [n + text_tokens for n in alive if n]
        return sum(ranked) * (sizes.d * sizes.kv + sizes.q) + len(ranked) * sizes.d * sizes.q

    @property
    def reducer(self) -> "ImageReducer | None":
        """What reduces images before the decoder, or None."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return the hyperparameters by name, as a record has them."""
        return asdict(self) if is_dataclass(self) else {}

    def entering(self, image_tokens: int, tile_tokens: int | None = None) -> int:
        """Return how many of an image's tokens enter the decoder: all, of a strategy that acts in it.

        Args:
            image_tokens: before any drop.
            tile_tokens: those of a tile of the vision tower.
        """
        return image_tokens

    def schedule(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> tuple[int, ...]:
        """Return the image tokens that each of `num_layers` layers processes.

        Args:
            num_layers: the model's depth.
            image_tokens: before any drop.
            tile_tokens: those of a tile of the vision tower, for strategies that choose by the tile.

        Raises:
            UserError: the strategy does not fit a model of this depth, or it is adaptive.
        """
        if self.adaptive and not self.bounded:
            raise no_schedule(self.display_name)
        layers = [drop.layer for drop in self.drops(num_layers)]
        return tokens_per_layer(num_layers, layers, self.retained(num_layers, image_tokens), image_tokens)

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
        """Return a strategy that costs no more than the budget, as close to it as whole tokens allow.

        Give one of `tokens`, `share` and `tflops`. At least one image token stays in every layer. The
        strategy's `reached` says what was found.

        Args:
            model: a model or its transformers config.
            tokens: image tokens a layer processes, averaged over the layers.
            share: the same, as a share of the image tokens before any drop.
            tflops: 10^12 multiply-adds of PyramidDrop's Eq. 4, image tokens only.
            image_tokens: image tokens of a sample; None: the nominal number of a multimodal model's config
                (576 for LLaVA-1.5, 2,880 for LLaVA-NeXT). A text model needs it given.
            **fields: hyperparameters to keep as they are.

        Raises:
            UserError: not exactly one budget; a budget that is out of reach, with the range that isn't; a
                field that the budget decides; an adaptive strategy.
        """
        if cls.adaptive and not cls.bounded:
            raise no_budget(cls.display_name)
        check_undecided(cls.solved_fields, fields)
        asked = {"tokens": tokens, "share": share, "tflops": tflops}
        layouts = partial(cls.budget_layouts, **fields)
        return budget.find(cls.__name__, layouts, model, image_tokens, fields, asked)

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[budget.Layout]:
        """Return where tokens may be dropped under a budget, in order of preference.

        The first layout that can cost as little as the budget is taken.

        Args:
            num_layers: the model's depth.
            **fields: hyperparameters to keep as they are.
        """
        raise budget.no_layouts(cls.__name__)

    def __call__(
        self, model: "nn.Module", image_mask: "Tensor | None" = None, **given: Any
    ) -> "StagedForward":
        """Return a context manager under which `model` drops tokens; it yields a `Report`.

        Args:
            model: a model of a registered family (`pdrop_eval.models.families`), such as
                LlavaForConditionalGeneration or LlamaForCausalLM.
            image_mask: [b, n] bool, true on image tokens; the bare decoders need it.
            **given: further arguments of `StagedForward`: prompt, questions, seeds.

        Raises:
            UserError: anything that can't be right, before any compute.
        """
        from pdrop_eval.engine.context import StagedForward

        return StagedForward(model, self, image_mask, **given)


def no_schedule(name: str) -> UserError:
    """Return what is said of the schedule of an adaptive strategy."""
    return UserError(
        f"{name} decides by each image how many tokens it retains, so nothing can be said before a run: the "
        "record has the mean over its samples."
    )


def no_budget(name: str) -> UserError:
    """Return what is said where an adaptive strategy is given a budget."""
    return UserError(
        f"{name} can't be fitted to a budget: it decides by each image how many tokens it retains. Leave the "
        "budget out, or give another strategy the budget."
    )


def check_undecided(solved: Sequence[str], fields: Mapping[str, Any]) -> None:
    """Refuse a hyperparameter that a budget decides.

    Raises:
        UserError: one of `solved` is among `fields`.
    """
    for name in solved:
        if fields.get(name) is not None:
            raise UserError(f"{name}={fields[name]!r} is what the budget decides: leave one of them out.")
