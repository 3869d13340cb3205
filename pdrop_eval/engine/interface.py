"""What passes between a strategy and the engine: `Drop`, `SelectionContext`, `Selection`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Drop:
    """One place in the decoder where image tokens are removed.

    Attributes:
        layer: the drop happens before this layer index; equal to the number of layers, it comes after the
            last one.
        scoring_layer: the layer whose attention ranks the tokens, on the hidden states that enter it: `layer`
            itself, or `layer - 1`, the last one that sees the tokens about to go. None means `layer`, or the
            last layer when the drop comes after it.
    """

    layer: int
    scoring_layer: int | None = None


@dataclass(frozen=True)
class SelectionContext:
    """What a strategy sees when it selects; b rows, n columns still present, of which some are padding.

    Attributes:
        drop: number of this drop, counting from 0.
        num_layers: depth of the model.
        hidden: [b, n, d] hidden states that enter the scoring layer.
        image: [b, n] bool, true on the image tokens still alive.
        text: [b, n] bool, true on the text tokens.
        image_tokens: per row, the number of image tokens before any drop.
        alive: per row, the number of image tokens alive now; at least one row has some.
        attention: attention("softmax") or attention("logits") gives [b, n] float scores: how much the
            instruction's query row attends to each column, mean over heads (see `ops.query_scores`). Costs
            one query row.
        seeds: per row, a number that is the sample's, for strategies that choose by chance.
    """

    drop: int
    num_layers: int
    hidden: "Tensor"
    image: "Tensor"
    text: "Tensor"
    image_tokens: list[int]
    alive: list[int]
    attention: "Callable[[str], Tensor]"
    seeds: Sequence[int] = ()


View = SelectionContext  # the former name, which strategies outside of this package may import


@dataclass(frozen=True)
class Selection:
    """What a strategy chose: the best `counts[row]` image tokens by `scores`, or those marked in `keep`.

    Attributes:
        scores: [b, n] float; only the columns of image tokens matter. Ties go to the earlier token.
        counts: per row, how many image tokens to retain; may differ between rows, and may be 0.
        keep: [b, n] bool, in place of `counts`: the image tokens to retain.
        hidden_update: maps the hidden states [b, n, d] that enter the drop to those from which the retained
            rows are taken, for strategies that merge dropped tokens into retained ones.
    """

    scores: "Tensor | None" = None
    counts: Sequence[int] | None = None
    keep: "Tensor | None" = None
    hidden_update: "Callable[[Tensor], Tensor] | None" = None


class TokenSelector(Protocol):
    """What the engine needs of a strategy.

    Attributes:
        positions: "keep": retained tokens keep their position ids; "renumber": the gaps are closed.
    """

    positions: str

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drops in a model of `num_layers` layers, by rising layer."""

    def select(self, context: SelectionContext) -> Selection:
        """Choose the image tokens to retain."""


def resolve_scoring_layer(drop: Drop, num_layers: int) -> int:
    """Return the layer that ranks for `drop`: never beyond the last one."""
    return min(drop.layer if drop.scoring_layer is None else drop.scoring_layer, num_layers - 1)


def check_trains(name: str, trains: bool) -> None:
    """Refuse a strategy under which no model can be trained.

    Args:
        name: the strategy's.
        trains: what its class says.

    Raises:
        UserError: it isn't true.
    """
    if not trains:
        raise UserError(
            f"{name} can't be trained with, nor be given labels: it is defined for answering one question, "
            "which a conversation doesn't have. Train with another strategy, or vanilla, and evaluate the "
            "model with this one."
        )
