"""What passes between a strategy and the engine: `Drop`, `SelectionContext`, `Selection`, `Merged`."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from pdrop_eval.engine.stages.scoring import QueryKey, ScoringLayer
    from pdrop_eval.engine.stages.stage import Present
    from pdrop_eval.models.towers.encoded import Places


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

    What has to be computed is computed when it is asked for, and costs nothing else.

    Attributes:
        drop: number of this drop, counting from 0.
        num_layers: depth of the model.
        hidden: [b, n, d] hidden states that enter the scoring layer.
        image: [b, n] bool, true on the image tokens still alive, made ones included.
        text: [b, n] bool, true on the text tokens.
        image_tokens: per row, the number of image tokens before any drop.
        alive: per row, the number of image tokens alive now; at least one row has some.
        attention: attention("softmax") or attention("logits") gives [b, n] float scores: how much the
            instruction's query row attends to each column, mean over heads (see `ops.query_scores`). Costs
            one query row.
        seeds: per row, a number that is the sample's, for strategies that choose by chance.
        present: what is known of the columns; `columns`, `image_ids` and their neighbours give it.
        rotary: (cos, sin) of the scoring layer, as it gets them.
        scoring: what the scoring layer can be asked for; `attention_rows` and its neighbours do.
        final_norm: the decoder's last norm.
        places: gives, per row, where the tokens of each of its images come from (`Places`), or None where
            that isn't known.
        memory: what the strategy wants to remember until its next drop of the same prefill.
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
    present: "Present" = None  # type: ignore[assignment]
    rotary: "tuple[Tensor, Tensor]" = None  # type: ignore[assignment]
    scoring: "ScoringLayer" = None  # type: ignore[assignment]
    final_norm: "Callable[[Tensor], Tensor]" = None  # type: ignore[assignment]
    places: "Callable[[], list[list[Places] | None]]" = None  # type: ignore[assignment]
    memory: "dict[str, Any]" = field(default_factory=dict)

    @property
    def valid(self) -> "Tensor":
        """[b, n] bool, false on padding."""
        return self.image | self.text

    @property
    def columns(self) -> "Tensor":
        """[b, n] each column's place in the full prompt; of a made token, that of the one before it."""
        return self.present.stage.index

    @property
    def merged(self) -> "Tensor":
        """[b, n] bool, true on image tokens that an earlier drop made."""
        return self.present.merged

    @property
    def marked(self) -> "Tensor":
        """[b, n] bool, the image tokens that a strategy before the decoder marked (`Reduced.marks`)."""
        return self.present.marked

    @property
    def image_ids(self) -> "Tensor":
        """[b, n] which of its row's image tokens a column is, from 0 over all its images in order.

        -1 where it is none of them: on text, padding and made tokens.
        """
        return self.present.image_ids

    @property
    def positions(self) -> "Tensor":
        """[..., b or 1, n] position ids; M-RoPE has three rows of them."""
        return self.present.stage.positions

    @property
    def embeddings(self) -> "Tensor | None":
        """[b, n, d] the decoder's inputs at these columns, 0 on made tokens.

        None unless the strategy's class says `needs_embeddings = True`.
        """
        return self.present.embeddings

    @property
    def text_after(self) -> "Tensor":
        """[b, n] bool, the text tokens behind the last image token of their row's full prompt."""
        return self.text & self.present.behind

    def attention_rows(
        self, rows: "Tensor", *, rope: bool = True, over: str = "causal", heads: str | None = None
    ) -> "tuple[Tensor, Tensor]":
        """Return the attention that chosen query rows pay, in float32.

        Args:
            rows: [b, n] bool, the query rows.
            rope: False compares queries and keys without positions.
            over: "causal", softmax over every column that a row sees; "image", over its image columns.
            heads: "mean" or "max" over all heads, taken in chunks of rows; None leaves them apart.

        Returns:
            (weights [b, h, q, n], or [b, q, n] by `heads`, with q the most rows chosen of one sample; real
            [b, q] bool, false on the padding behind a sample's last row, where weights are 0).
        """
        return self.scoring.rows(rows, rope=rope, over=over, heads=heads)

    def attention_sums(
        self, *masks: "Tensor", rope: bool = True, over: str = "causal", heads: str = "mean"
    ) -> "list[Tensor]":
        """Return, for each mask [b, n] of query rows, its rows' weights summed up: [b, n] float32.

        In chunks of rows, so that nothing of size n·n is ever held; rows in several masks cost once.
        """
        return self.scoring.sums(masks, rope=rope, over=over, heads=heads)

    def keys(self, rope: bool = True) -> "Tensor":
        """Return the scoring layer's keys [b, n, g, e], g key heads."""
        return self.scoring.keys(rope)

    def query_key(self, rows: "Tensor", rope: bool = True) -> "QueryKey":
        """Return the raw queries of chosen rows [b, n] bool, and all keys."""
        return self.scoring.query_key(rows, rope)

    def generator(self, row: int, seed: int = 0) -> "Generator":
        """Return a generator (CPU) of a row's own: of the run's and sample's seed, this drop, and `seed`."""
        import torch

        words = f"{seed} {self.seeds[row] if self.seeds else 0} {self.drop}".encode()
        number = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(number)


View = SelectionContext  # the former name, which strategies outside of this package may import


@dataclass(frozen=True)
class Merged:
    """Image tokens that a drop makes of others; they are put behind the row's last retained image token.

    Where none is retained, behind the place of the last one that was there. With positions "renumber" they
    take the next numbers, and what follows moves up; with "keep" they all stand where that image token
    stands, so that no other token moves.

    Attributes:
        tokens: [b, c, d]; of each row, its first `counts[row]` are put in.
        counts: per row.
    """

    tokens: "Tensor"
    counts: Sequence[int]


@dataclass(frozen=True)
class Selection:
    """What a strategy chose: the best `counts[row]` image tokens by `scores`, or those marked in `keep`.

    Attributes:
        scores: [b, n] float; only the columns of image tokens matter. Ties go to the earlier token.
        counts: per row, how many image tokens to retain; may differ between rows, and may be 0.
        keep: [b, n] bool, in place of `counts`: the image tokens to retain.
        hidden_update: maps the hidden states [b, n, d] that enter the drop to those from which the retained
            rows are taken, for strategies that merge dropped tokens into retained ones.
        merge: makes new image tokens of the hidden states [b, n, d] that enter the drop, no more of a row
            than it loses there.
        then: decides at the drop instead of here, by the hidden states [b, n, d] that enter it, with the same
            columns; after the last layer, they are the decoder's normed output. The other fields are unused.
    """

    scores: "Tensor | None" = None
    counts: Sequence[int] | None = None
    keep: "Tensor | None" = None
    hidden_update: "Callable[[Tensor], Tensor] | None" = None
    merge: "Callable[[Tensor], Merged] | None" = None
    then: "Callable[[Tensor], Selection] | None" = None


class TokenSelector(Protocol):
    """What the engine needs of a strategy.

    It may also say `needs_embeddings` (see `SelectionContext.embeddings`), `trains` (false: labels are
    refused) and `cache_cut`, a method that maps the number of layers to the first layer whose cache is cut to
    the final tokens after the prefill, or None.

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
