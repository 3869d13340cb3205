"""From a budget to layers and ratios: the hyperparameters with which a strategy costs no more than asked.

A budget is one of
- tokens: image tokens a layer in the mean, sum_i layers_i·n_i / L;
- share: the same, of the image tokens before any drop;
- tflops: of PyramidDrop's Eq. 4 (multiply-adds, image tokens only, prefill of the decoder layers).

All sums are integers and fractions, so that "no more" is exact. Nothing here needs torch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

from pdrop_eval.efficiency.architecture import Decoder, decoder_of, nominal_image_tokens
from pdrop_eval.efficiency.budget_words import flops_text, listed, reachable, settings_text
from pdrop_eval.efficiency.schedules import entering, schedule_of
from pdrop_eval.utils.errors import UserError

KINDS = ("tokens", "share", "tflops")
_UNITS = {"tokens": "image tokens a layer in the mean", "share": "of the image tokens", "tflops": "TFLOPs"}
_DIGITS = 9  # shares are searched in steps of 10^-9, finer than any count of tokens needs


@dataclass(frozen=True)
class Layout:
    """Where a strategy drops; what is left open is how much.

    Attributes:
        build: makes the strategy from a share in (0, 1]; the larger it is, the more is retained, and all at
            1.
        note: why it isn't the usual layout, in words; empty for the usual one.
        empties: whether no image token may be left after the last drop. Otherwise one stays.
        most: what still goes at a share of 1, in words; empty where nothing does.
    """

    build: Callable[[float], Any]
    note: str = ""
    empties: bool = False
    most: str = ""


@dataclass(frozen=True)
class BudgetSolution:
    """What a strategy that was fitted to a budget costs.

    Attributes:
        asked: the budget, such as "tokens=64".
        tokens: image tokens a layer processes, averaged over the layers.
        share: the same, as a share of the image tokens before any drop.
        tflops: 10^12 multiply-adds of PyramidDrop's Eq. 4, image tokens only.
        image_tokens: of the sample, before any drop.
        schedule: image tokens of each layer.
        layers: the drop layers; 0 is before the decoder.
        counts: the image tokens that remain from each of `layers` on.
        words: all of it for people.
    """

    asked: str
    tokens: float
    share: float
    tflops: float
    image_tokens: int
    schedule: tuple[int, ...]
    layers: tuple[int, ...]
    counts: tuple[int, ...]
    words: str


@dataclass(frozen=True)
class _Budget:
    """A budget on one model; its measure is an integer: tokens summed over the layers, or multiply-adds."""

    kind: str
    value: float
    decoder: Decoder
    image_tokens: int
    tile_tokens: int | None = None

    @property
    def asked(self) -> str:
        return f"{self.kind}={self.value:.12g}"

    @property
    def limit(self) -> Fraction:
        return Fraction(str(self.value)) * self.unit

    @property
    def unit(self) -> int:
        """The measure of a budget of 1."""
        layers = self.decoder.layers
        return {"tokens": layers, "share": layers * self.image_tokens, "tflops": 10**12}[self.kind]

    def cost(self, schedule: Sequence[int]) -> int:
        return _macs(self.decoder, schedule) if self.kind == "tflops" else sum(schedule)

    def schedule_of(self, strategy: Any) -> tuple[int, ...]:
        return schedule_of(strategy, self.decoder.layers, self.image_tokens, self.tile_tokens)

    def retained_of(self, strategy: Any) -> tuple[int, ...]:
        """What remains after each drop in the decoder."""
        left = entering(strategy, self.image_tokens, self.tile_tokens)
        return tuple(strategy.retained(self.decoder.layers, left))

    def cost_of(self, strategy: Any) -> int:
        return self.cost(self.schedule_of(strategy))


def solve(
    strategy: Any,
    config: Any,
    *,
    tokens: float | None = None,
    share: float | None = None,
    tflops: float | None = None,
    image_tokens: int | None = None,
) -> Any:
    """Return the strategy with the hyperparameters replaced that the budget decides, and `reached` set.

    Args:
        strategy: its other hyperparameters are kept.
        config: of the model, or the model itself.
        tokens: see `Strategy.for_budget`, as for the next three.
        share: the same.
        tflops: the same.
        image_tokens: the same.

    Raises:
        UserError: see `find`; a strategy that can't be fitted to a budget.
    """
    if not callable(getattr(type(strategy), "for_budget", None)):
        raise no_layouts(type(strategy).__name__)
    asked = {"tokens": tokens, "share": share, "tflops": tflops, "image_tokens": image_tokens}
    kept = {}
    for field in fields(strategy) if is_dataclass(strategy) else ():
        value = getattr(strategy, field.name)
        usual = field.default if field.default is not MISSING else None
        if field.name not in strategy.solved_fields and value != usual:
            kept[field.name] = value
    return type(strategy).for_budget(config, **asked, **kept)


def find(
    name: str,
    layouts: Callable[[int], Sequence[Layout]],
    config: Any,
    image_tokens: int | None,
    kept: dict[str, Any],
    asked: dict[str, float | None],
) -> Any:
    """Return the strategy of the first layout that can meet the budget, as close to it as whole tokens allow.

    Args:
        name: the strategy's, for messages.
        layouts: makes the layouts of a depth, in order of preference.
        config: of the model, or the model itself.
        image_tokens: of a sample; None: the nominal number.
        kept: the hyperparameters that were given, for messages.
        asked: tokens, share and tflops, of which one is given.

    Raises:
        UserError: not exactly one budget, none that can be, or one that no layout reaches.
    """
    kind, value = _one(asked)
    config = getattr(config, "config", config)
    if image_tokens is None:
        image_tokens = nominal_image_tokens(config)
    if isinstance(image_tokens, bool) or not isinstance(image_tokens, int) or image_tokens < 1:
        raise UserError(f"image_tokens={image_tokens!r} is not allowed: use a whole number from 1 up.")
    tile_tokens = getattr(config, "tile_tokens", None)
    budget = _Budget(kind, value, decoder_of(config), image_tokens, tile_tokens)
    depth = budget.decoder.layers
    choices = layouts(depth)
    least = [_least(layout, budget) for layout in choices]
    high = budget.cost((image_tokens,) * depth)
    if all(layout.most for layout in choices):
        high = max(budget.cost_of(layout.build(1.0)) for layout in choices)
    if budget.limit <= high:
        for layout, lowest in zip(choices, least, strict=True):
            if budget.cost_of(_build(layout, lowest)) <= budget.limit:
                strategy = _build(layout, _shortest(layout, _most(layout, lowest, budget), budget))
                vars(strategy)["reached"] = _solution(budget, strategy, layout.note)
                return strategy
    smallest = (_build(layout, lowest) for layout, lowest in zip(choices, least, strict=True))
    most = choices[0].most or "nothing dropped"
    raise _unreachable(name, budget, kept, min(smallest, key=budget.cost_of), high, most)


def no_layouts(name: str) -> UserError:
    """The error of a strategy that can't be fitted to a budget."""
    return UserError(
        f"{name} can't be fitted to a budget: it doesn't say which of its settings a budget decides. Leave "
        "the budget out and give the settings themselves, or give the strategy a method budget_layouts, as "
        "PyramidDrop has."
    )


def _unreachable(
    name: str, budget: _Budget, kept: dict[str, Any], smallest: Any, high: int, most: str
) -> UserError:
    low, counts = budget.cost_of(smallest), budget.retained_of(smallest)
    given = "".join(f", {key}={value!r}" for key, value in kept.items() if value is not None)
    given += "," if given else ""
    return UserError(
        f"{budget.asked} can't be reached by {name}: with {budget.decoder.layers} layers and "
        f"{budget.image_tokens} image tokens{given} a budget goes "
        f"{reachable(low, high, budget.unit, counts[-1] if counts else 1, most)} "
        f"{_UNITS[budget.kind]}."
    )


def _one(asked: dict[str, float | None]) -> tuple[str, float]:
    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) != 1:
        named = ", ".join(f"{kind}={value!r}" for kind, value in given) or "none of them"
        raise UserError(f"A budget is one of {', '.join(KINDS)}, and here is {named}: give exactly one.")
    kind, value = given[0]
    check_value(kind, value)
    return kind, value


def check_value(name: str, value: Any) -> None:
    """Check that a budget is a positive number.

    Raises:
        UserError: otherwise.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise UserError(f"{name}={value!r} is not allowed: a budget is a number above 0.")


def _build(layout: Layout, step: int) -> Any:
    return layout.build(step / 10**_DIGITS)


def _least(layout: Layout, budget: _Budget) -> int:
    """The smallest step that leaves an image token after every drop, unless all may go."""
    if layout.empties:
        return 1

    def alive(step: int) -> bool:
        counts = budget.retained_of(_build(layout, step))
        return not counts or counts[-1] >= 1

    low, high = 0, 10**_DIGITS  # at `high` all are left
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if alive(middle) else (middle, high)
    return high


def _most(layout: Layout, low: int, budget: _Budget) -> int:
    """The largest step within the budget; `low` is within it."""
    high = 10**_DIGITS
    if budget.cost_of(_build(layout, high)) <= budget.limit:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        fits = budget.cost_of(_build(layout, middle)) <= budget.limit
        low, high = (middle, high) if fits else (low, middle)
    return low


def _shortest(layout: Layout, step: int, budget: _Budget) -> int:
    """The step with the fewest decimals that gives the same schedule."""

    def outcome(step: int) -> tuple[Any, ...]:  # a drop after the last layer is in no layer's count
        strategy = _build(layout, step)
        return budget.retained_of(strategy), budget.schedule_of(strategy)

    same = outcome(step)
    for digits in range(1, _DIGITS):
        coarse = 10 ** (_DIGITS - digits)
        rounded = step // coarse * coarse
        if rounded and outcome(rounded) == same:
            return rounded
    return step


def _macs(decoder: Decoder, schedule: Sequence[int]) -> int:
    """Return the multiply-adds of PyramidDrop's Eq. 4 over all layers, image tokens only."""
    return sum(decoder.layer(n) for n in schedule)


def _solution(budget: _Budget, strategy: Any, note: str) -> BudgetSolution:
    """Return what a strategy costs. note: why its layout isn't the usual one, or empty."""
    decoder, n = budget.decoder, budget.image_tokens
    depth = decoder.layers
    schedule = budget.schedule_of(strategy)
    layers = tuple(drop.layer for drop in strategy.drops(depth))
    counts = budget.retained_of(strategy)
    places = [f"after layer{'s' * (len(layers) > 1)} {listed(layers)} of {depth}"] if layers else []
    if getattr(strategy, "reducer", None) is not None:
        places = ["before the decoder", *places]
        layers, counts = (0, *layers), (schedule[0], *counts)
    where = " and ".join(places).capitalize()
    mean = sum(schedule) / depth
    cost, whole = _macs(decoder, schedule), _macs(decoder, (n,) * depth)
    settings = strategy.settings()
    names = (*strategy.layout_fields, *strategy.solved_fields)
    why = f" {note}" if note else ""
    words = (
        f"{budget.asked}: {settings_text({name: settings[name] for name in names})}. "
        f"{where}, {listed(counts)} of {n} image tokens are left: {mean:.4g} a layer in the mean "
        f"({mean / n:.1%}), {flops_text(cost)} of vanilla's {flops_text(whole)} ({cost / whole:.1%}).{why}"
    )
    return BudgetSolution(budget.asked, mean, mean / n, cost / 1e12, n, schedule, layers, counts, words)
