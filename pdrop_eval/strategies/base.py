"""What every strategy is: a dataclass of hyperparameters that says where to drop, how many, and how to
rank."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from pdrop_eval.efficiency import budget
from pdrop_eval.engine.context import StagedForward
from pdrop_eval.engine.interface import Drop, Selection, View
from pdrop_eval.engine.schedule import tokens_per_layer
from pdrop_eval.utils.errors import UserError


class Strategy(ABC):
    """Base of all strategies.

    A subclass is a dataclass whose fields are the paper's hyperparameters. It gives `drops` and `retained`,
    and may give `rank`, or `select` where ranks and counts don't say enough (merging, counts that depend on
    the sample). Hyperparameters are checked in `__post_init__`, those that need the model's depth in `drops`.

    name: short name in configs and tables. positions: "keep" or "renumber", what becomes of the position ids.
    ranks_by_attention: whether `rank` uses `view.attention`, which FLOPs then count. decided: the fields that
    a budget decides. reached: what `for_budget` found, or None.
    """

    name: ClassVar[str]
    ranks_by_attention: ClassVar[bool] = True
    decided: ClassVar[tuple[str, ...]] = ()
    reached: ClassVar[budget.Reached | None] = None
    positions: str = "keep"

    @abstractmethod
    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drops in a model of `num_layers` layers, by rising layer."""

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return how many of a row's `image_tokens` remain after each drop.

        A strategy whose `select` decides by the sample may do without; it then has no schedule.
        """
        raise NotImplementedError(f"{type(self).__name__} doesn't say how many image tokens it retains.")

    def rank(self, view: View) -> Tensor:
        """Return scores [b, n], by which image tokens are retained: by default, softmax attention."""
        return view.attention("softmax")

    def select(self, view: View) -> Selection:
        """Choose the image tokens to retain: by default, the best by `rank`, as many as `retained` says."""
        counts = [self.retained(view.num_layers, n)[view.drop] for n in view.image_tokens]
        return Selection(scores=self.rank(view), counts=counts)

    def schedule(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return the image tokens that each of `num_layers` layers processes.

        Raises:
            UserError: the strategy does not fit a model of this depth.
        """
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

        Give one of `tokens` (image tokens a layer in the mean), `share` (the same, of the image tokens before
        any drop) or `tflops` (multiply-adds of PyramidDrop's Eq. 4, image tokens only). What was found is in
        the strategy's `reached`. At least one image token is left in every layer.

        model: a model or its transformers config. image_tokens: of a sample; None: the nominal ones of a
            LLaVA config (2,880 for LLaVA-NeXT). A text model needs them given.
        fields: settings of the strategy that are kept.

        Raises:
            UserError: not exactly one budget; one that is out of reach, with the range that isn't; a field
                that the budget decides.
        """
        for name in cls.decided:
            if fields.get(name) is not None:
                raise UserError(f"{name}={fields[name]!r} is what the budget decides: leave one of them out.")
        asked = {"tokens": tokens, "share": share, "tflops": tflops}
        layouts = partial(cls.budget_layouts, **fields)
        return budget.find(cls.__name__, layouts, model, image_tokens, fields, asked)

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[budget.Layout]:
        """Return where tokens may be dropped under a budget, in order of preference; a method may give it.

        fields: settings that are kept. The first layout that can cost as little as asked for is taken.
        """
        raise budget.no_layouts(cls.__name__)

    def __call__(self, model: nn.Module, image_mask: Tensor | None = None) -> StagedForward:
        """Return a context manager under which `model` drops tokens; it yields a `Report`.

        model: LlavaForConditionalGeneration, LlavaNextForConditionalGeneration, LlamaForCausalLM or
            MistralForCausalLM.
        image_mask: [b, n] bool, true on image tokens; needed by the bare decoders.

        Raises:
            UserError: what can't be right, before any compute.
        """
        return StagedForward(model, self, image_mask)
