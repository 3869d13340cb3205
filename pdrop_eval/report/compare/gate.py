"""The gate: is a drop too large? Each check looks at one benchmark, or at the mean of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pdrop_eval.benchmarks.registry import benchmark_of, is_known, registered
from pdrop_eval.benchmarks.scoring.difference import LEVEL, Difference
from pdrop_eval.report.paired.effect import Effect, Overall
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text.numbers import of_points

SHOWN, ESTIMATE, POSSIBLE = "shown", "estimate", "possible"
BENCHMARK, OVERALL, CHANGED = "benchmark", "overall", "changed"
_NEAR = 1e-9  # a drop of exactly the limit, but for rounding, is allowed


@dataclass(frozen=True)
class Gate:
    """How many points may be lost: of every benchmark, of the mean over all, and of single benchmarks.

    Attributes:
        max_drop: Of each benchmark; None: not checked.
        overall: Of the mean.
        benchmarks: Points by key, instead of max_drop.
        on: When a check fails. "shown": the whole interval lies beyond the limit, so a drop of more is shown;
            where several things are checked, their intervals are Bonferroni's (see `levels`), so that a false
            alarm in any of them stays at 2.5%. "estimate": the difference itself lies beyond. "possible": the
            interval reaches beyond, so a larger drop isn't ruled out; to pass, every benchmark has to rule it
            out, which needs no correction.
        changed: The percentage of all answers that may differ, gains as well as losses; counted, so
            `on` doesn't apply. None: not checked.
    """

    max_drop: float | None = None
    overall: float | None = None
    benchmarks: Mapping[str, float] = field(default_factory=dict)
    on: str = SHOWN
    changed: float | None = None

    def __post_init__(self) -> None:
        if self.on not in (SHOWN, ESTIMATE, POSSIBLE):
            raise UserError(f"on={self.on!r}: it is {SHOWN}, {ESTIMATE} or {POSSIBLE}.")
        limits = {"max_drop": self.max_drop, "overall": self.overall, **self.benchmarks}
        for name, limit in limits.items():
            if limit is not None and not _is_limit(limit):
                raise UserError(f"{name}={limit!r}: a drop is a number of points from 0 to 100 (MME / 20).")
        for key in self.benchmarks:
            if not is_known(key):
                raise UserError(f"{key!r} is no benchmark. Known: {', '.join(registered())}.")
        if self.changed is not None and not (_is_limit(self.changed) and self.changed < 100):
            raise UserError(f"changed={self.changed!r}: it is a percentage of the answers, less than 100.")
        if (self.max_drop, self.overall, self.changed) == (None, None, None) and not self.benchmarks:
            raise UserError(
                "The gate checks nothing: it would always pass. Set max_drop, overall, changed, or a "
                "benchmark's own limit."
            )

    def limit(self, benchmark: str) -> float | None:
        """The points that a benchmark may lose; None where it isn't checked."""
        return self.benchmarks.get(benchmark, self.max_drop)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: The benchmark's key, "overall" or "changed".
        kind: "benchmark", "overall" or "changed".
        limit: The points that may be lost.
        value: The difference in points.
        interval: What was checked, at the level that was (`level`). Of "changed", limit and value are percent
            of all answers, which are counted: no interval.
        words: The outcome in a sentence, plain text.
    """

    name: str
    kind: str
    limit: float
    value: float
    interval: tuple[float, float] | None
    level: float | None
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """Whether all checks passed, and each of them."""

    passed: bool
    checks: tuple[Check, ...]


def verdict(effects: Sequence[Effect], overall: Overall | None, gate: Gate) -> Verdict:
    """The gate's word on a comparison.

    Raises:
        UserError: A benchmark with a limit was not compared, or nothing was.
    """
    by_key = {effect.benchmark: effect for effect in effects}
    absent = [key for key in gate.benchmarks if key not in by_key]
    if absent:
        raise UserError(
            f"The gate has a limit for {', '.join(absent)}, which is not among what was compared: "
            f"{', '.join(by_key) or 'nothing'}."
        )
    if not effects or (gate.overall is not None and overall is None):
        raise UserError("The gate has nothing to check: no benchmark was compared.")
    checked = [(key, limit) for key in by_key if (limit := gate.limit(key)) is not None]
    both = gate.overall is not None and bool(checked)
    whole, level = levels(len(checked), both) if gate.on == SHOWN else (LEVEL, LEVEL)
    found = []
    if gate.overall is not None and overall is not None:
        found.append(_check("overall", OVERALL, gate, gate.overall, overall.found, whole))
    if gate.changed is not None:
        found.append(_check_changed(effects, gate.changed))
    for key, limit in checked:
        found.append(_check(key, BENCHMARK, gate, limit, by_key[key].found, level))
    return Verdict(all(check.passed for check in found), tuple(found))


def levels(number: int, both: bool) -> tuple[float, float]:
    """The levels of the overall check and of each of a number of benchmarks.

    Bonferroni's, with half of the error for the overall check where there are `both`: a false alarm in any of
    them then stays at 2.5%.
    """
    error = (1 - LEVEL) / 2 if both else 1 - LEVEL
    return 1 - error, 1 - error / max(number, 1)


def _check(name: str, kind: str, gate: Gate, limit: float, found: Difference, level: float) -> Check:
    value, interval = found.value, found.interval_at(level)
    edge = {SHOWN: interval[1], ESTIMATE: value, POSSIBLE: interval[0]}[gate.on]
    passed = bool(edge >= -limit - _NEAR)
    words = _words(gate.on, passed, limit)
    title = "The mean of all benchmarks" if kind == OVERALL else benchmark_of(name).name
    numbers = f"{value:+.1f} points [{interval[0]:+.1f}, {interval[1]:+.1f}]"
    return Check(name, kind, float(limit), value, interval, level, passed, f"{title}: {numbers}; {words}")


def _check_changed(effects: Sequence[Effect], limit: float) -> Check:
    changed, n = sum(effect.changed for effect in effects), sum(effect.found.n for effect in effects)
    value = 100 * changed / n
    passed = value <= limit + _NEAR
    where = ", ".join(f"{benchmark_of(e.benchmark).name} {e.changed}" for e in effects if e.changed)
    allowed = f"up to {limit:g}% may" if limit else "none may"
    words = f"The answers: {changed:,} of {n:,} differ ({value:.1f}%{': ' * bool(where)}{where}); {allowed}"
    return Check(CHANGED, CHANGED, float(limit), value, None, None, passed, words)


def _words(on: str, passed: bool, limit: float) -> str:
    drop = f"a drop of more than {of_points(limit)}" if limit else "a drop"
    return {
        (SHOWN, True): f"{drop} isn't shown",
        (SHOWN, False): f"{drop} is shown: the whole interval lies beyond",
        (ESTIMATE, True): f"the estimate is not {drop}",
        (ESTIMATE, False): f"the estimate is {drop}",
        (POSSIBLE, True): f"{drop} is ruled out",
        (POSSIBLE, False): f"{drop} isn't ruled out: the interval reaches beyond",
    }[on, passed]


def _is_limit(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
