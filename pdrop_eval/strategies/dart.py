"""DART: the image tokens stay that are least like a few pivots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.engine.schedule import complement
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.strategies.depth import earlier_note, scaled
from pdrop_eval.strategies.inside import InsideStrategy
from pdrop_eval.utils.validation import check_number, check_whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class DART(InsideStrategy):
    """DART, duplication-aware reduction of tokens (Wen et al., EMNLP 2025, arXiv 2502.11494).

    Before layer K, pivots are the image tokens and the text tokens behind the image with the largest L1 norm
    of keys in layer K - 1 (after RoPE, all key heads). One pivot after the other takes the m image tokens
    that are least like it (cosine of the states entering layer K after the decoder's final norm) among those
    that aren't taken. The image pivots and what was taken stay; text pivots only choose, and nothing is
    merged. DART's own repository (ZichenWen1/DART) was not at hand: the rules are those on which derivatives
    of its code agree, github.com/YahongWang1/Information-Horizon, commit 75909b2, and
    github.com/xipingyan/VLMPruner, commit 2eb1965.

    The order of the pivots decides, for each takes first what it wants: as in the code, it is the order in
    which Python iterates a set of their columns, built from the image pivots by falling norm and then the
    text pivots. It depends on the columns, and so on the length of the prompt before the image.

    Deliberate differences from the official code:

    - Image tokens are found, of several images at any place, and share one count; the official code takes a
      fixed span. Columns, and positions in the keys, are counted without a batch's padding. "Behind the
      image" is behind the last one; where fewer text tokens stand there than there are text pivots, the
      others come from before it.
    - Where there are fewer pivots than asked for, the last one takes what is left, so that the count stays.
    - More tokens than there are is all of them, where the official code fails. A reduction ratio of 0 drops
      nothing.
    - Its setting for LLaVA-NeXT, retain_token_num_for_llava_next, is `max_num_trunction`: m = min(that, N0 -
      image pivots) // pivots in both.
    - Labels are refused: the method is defined for inference.

    Attributes:
        k: K, the layers that see all image tokens; None: 2 of 32, scaled to the depth.
        max_num_trunction: what the pivots take altogether, in whole shares of m (the code's spelling); None:
            what the preset says, or else `reduction_ratio` decides.
        reduction_ratio: the share of the image tokens that isn't taken: m = N0·(1 - that) // pivots. Without
            effect where `max_num_trunction` is given.
        pivot_image_token: image pivots.
        pivot_text_token: text pivots.
        positions: "keep" (the official way) or "renumber".
        preset: None, or one of `presets`: max_num_trunction by the name the paper has for it; 196, 132 and 68
            tokens are left in the end, and the mean over 32 layers is 219.8, 159.8 and 99.8 of 576.
    """

    k: int | None = None
    max_num_trunction: int | None = None
    reduction_ratio: float = 0.778
    pivot_image_token: int = 4
    pivot_text_token: int = 4
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "dart"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "DART"
    paper: ClassVar[str] = "Wen et al., EMNLP 2025, arXiv 2502.11494"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#2E7D32", "dark": "#7fce83", "marker": "s", "linestyle": "-", "order": 4
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("K={k}", "{max_num_trunction} tokens", "preset {preset}")
    ranks_by_attention: ClassVar[bool] = False
    solved_fields: ClassVar[tuple[str, ...]] = ("reduction_ratio", "max_num_trunction", "preset")
    layout_fields: ClassVar[tuple[str, ...]] = ("k",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"k": 2, "max_num_trunction": 192},
        "128": {"k": 2, "max_num_trunction": 128},
        "64": {"k": 2, "max_num_trunction": 64},
    }
    preset_is: ClassVar[str] = "final"
    layer_field: ClassVar[str] = "k"
    one_layer: ClassVar[bool] = True
    paper_layers: ClassVar[tuple[int, ...]] = (2,)
    between_layers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.prepare({"k": None})
        check_number("reduction_ratio", self.reduction_ratio, low=0, high=1)
        check_whole("pivot_image_token", self.pivot_image_token, 1)
        check_whole("pivot_text_token", self.pivot_text_token, 0)
        if self.max_num_trunction is not None:
            check_whole("max_num_trunction", self.max_num_trunction, 0)
        check_positions(self.positions)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the one drop, before layer K, with the keys of the layer before."""
        (layer,) = self.layers_of(num_layers)
        return (Drop(layer, scoring_layer=layer - 1),)

    @property
    def pivots(self) -> int:
        """All of them."""
        return self.pivot_image_token + self.pivot_text_token

    def each(self, image_tokens: int) -> int:
        """Return m, the tokens that one pivot takes."""
        most = max(0, image_tokens - self.pivot_image_token)
        if self.max_num_trunction is not None:
            return min(self.max_num_trunction, most) // self.pivots
        return int(min(image_tokens * (1 - self.reduction_ratio), most) // self.pivots)

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return the image pivots and what all pivots take."""
        if self.max_num_trunction is None and self.reduction_ratio == 0:
            return (image_tokens,)
        return (min(image_tokens, self.pivot_image_token + self.pivots * self.each(image_tokens)),)

    def select(self, context: SelectionContext) -> Selection:
        """Find the pivots by the keys here, and wait for the states that enter layer K."""
        scoring = replace(context.scoring, rotary=from_first(context.rotary, context.valid))
        rows = pivots(context, key_norms(scoring.keys()), self.pivot_image_token, self.pivot_text_token)
        return Selection(then=lambda hidden: self._chosen(context, rows, hidden))

    def _chosen(self, context: SelectionContext, rows: list["Pivots"], hidden: "Tensor") -> Selection:
        """Let one pivot after the other take its tokens. hidden: [b, n, d], entering layer K."""
        import torch

        from pdrop_eval.engine.stages.ops import on_device

        counts = [self.retained(context.num_layers, n)[0] for n in context.image_tokens]
        plans = [self._plan(context, row, pivot, counts[row]) for row, pivot in enumerate(rows)]
        most = max(map(len, plans))
        device = hidden.device
        number = on_device([plan + [0] * (most - len(plan)) for plan in plans], device)
        order = on_device([(r.order + [0] * most)[:most] for r in rows], device)
        image_pivots = torch.zeros_like(context.image)
        for row, pivot in enumerate(rows):
            image_pivots[row, pivot.image] = True
        return Selection(keep=taken(context.final_norm(hidden), context.image, image_pivots, order, number))

    def _plan(self, context: SelectionContext, row: int, pivot: "Pivots", count: int) -> list[int]:
        """Return how many tokens each of a row's pivots takes, in their order."""
        left = min(count, context.alive[row]) - len(pivot.image)
        plan = [min(left, self.each(context.image_tokens[row]))] * len(pivot.order)
        return [*plan[:-1], left - sum(plan[:-1])] if plan and left > 0 else [0] * len(plan)

    def ranking_flops(self, sizes: Architecture, alive: Sequence[int], text_tokens: int) -> int:
        """Return the keys of all tokens, one query, and the cosines of all states with the pivots."""
        found = [n for n in alive if n]
        text = min(self.pivot_text_token, text_tokens)
        cosines = (min(self.pivot_image_token, n) + text for n in found)
        return sum(
            (n + text_tokens) * (sizes.d * sizes.kv + number * sizes.d) + sizes.d * sizes.q
            for n, number in zip(found, cosines, strict=True)
        )

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return the drop before layer K; where K isn't given, before the second layer as the last resort."""
        if fields.get("k") is not None:
            return [Layout(partial(_keeping, cls, fields))]
        (usual,) = scaled(cls.paper_layers, num_layers)
        layouts = [Layout(partial(_keeping, cls, {**fields, "k": usual}))]
        return [*layouts, Layout(partial(_keeping, cls, {**fields, "k": 1}), earlier_note([usual]))]


@dataclass(frozen=True)
class Pivots:
    """A row's pivots, as columns of the context.

    Attributes:
        image: the image pivots, by falling norm.
        text: the text pivots, by falling norm.
        order: all of them, in the order in which they take tokens.
    """

    image: list[int]
    text: list[int]
    order: list[int]


def from_first(rotary: tuple["Tensor", "Tensor"], valid: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Return (cos, sin) of positions counted from each row's first token.

    The L1 norm of a rotated key depends on where it stands, and a batch's padding may have moved it.

    Args:
        rotary: cos and sin [b or 1, n, e].
        valid: [b, n] bool, false on padding.
    """
    from pdrop_eval.models.rotary import gather_columns

    cos, sin = rotary
    first = valid.long().argmax(1, keepdim=True)
    start_cos, start_sin = gather_columns(cos, first), gather_columns(sin, first)
    scale = (start_cos.float() ** 2 + start_sin.float() ** 2).sqrt().to(cos.dtype)  # 1, but of scaled kinds
    return (cos * start_cos + sin * start_sin) / scale, (sin * start_cos - cos * start_sin) / scale


def key_norms(keys: "Tensor") -> "Tensor":
    """Return [b, n] float32: the L1 norms of keys [b, n, g, e], all heads together."""
    return keys.float().abs().sum(dim=(-2, -1))


def pivots(context: SelectionContext, norms: "Tensor", image: int, text: int) -> list[Pivots]:
    """Return each row's pivots.

    Args:
        context: of the drop.
        norms: [b, n] of the keys.
        image: image pivots, at most.
        text: text pivots, at most.
    """
    import torch

    def best(groups: Sequence["Tensor"], most: int) -> tuple[list[list[int]], list[int]]:
        """Columns by group, then by falling norm; and how many there are."""
        order, last = norms.argsort(dim=1, descending=True, stable=True), torch.zeros_like(groups[0])
        for group in reversed(groups):
            inside = group.gather(1, order)
            order = order.gather(1, (~inside).to(torch.uint8).argsort(dim=1, stable=True))
            last = last | group
        return order[:, :most].tolist(), last.sum(1).clamp(max=most).tolist()

    images, image_counts = best([context.image], image)
    texts, text_counts = best([context.text_after, context.text], text)
    numbers = torch.where(context.valid, context.columns, context.columns.amax(1, keepdim=True))
    places = (context.columns - numbers.amin(1, keepdim=True)).tolist()
    found = []
    for row, place in enumerate(places):
        of_image, of_text = images[row][: image_counts[row]], texts[row][: text_counts[row]]
        if not of_image:
            of_text = []
        by_place = {place[column]: column for column in (*of_image, *of_text)}
        order = [
            by_place[number] for number in set([place[c] for c in of_image] + [place[c] for c in of_text])
        ]
        found.append(Pivots(of_image, of_text, order))
    return found


def taken(states: "Tensor", image: "Tensor", start: "Tensor", order: "Tensor", number: "Tensor") -> "Tensor":
    """Return [b, n] bool: the tokens `start`, and those that one pivot after the other takes.

    Args:
        states: [b, n, d], by whose cosine a pivot takes those that are least like it.
        image: [b, n] bool, which can be taken.
        start: [b, n] bool, the image pivots.
        order: [b, P] columns of the pivots.
        number: [b, P] how many tokens each takes; of equal ones the earlier.
    """
    import torch

    from pdrop_eval.engine.stages import ops
    from pdrop_eval.models.rotary import gather_columns

    unit = torch.nn.functional.normalize(states.float(), dim=-1)
    likeness = unit @ gather_columns(unit, order).transpose(1, 2)
    for turn in range(order.shape[1]):
        start = start | ops.top_mask(-likeness[..., turn], image & ~start, number[:, turn])
    return start


def _keeping(cls: type[DART], fields: dict[str, Any], share: float) -> DART:
    return cls(reduction_ratio=complement(share), **fields)
