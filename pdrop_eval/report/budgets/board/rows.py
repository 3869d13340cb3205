"""A row of a block: a strategy at a budget, with its settings and its seed, and how it stands to others."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.tables.cells import Cell, measured_cell
from pdrop_eval.report.tables.spec import Table
from pdrop_eval.strategies.registry import VANILLA, StrategyInfo

if TYPE_CHECKING:  # its numpy is imported for comparisons only
    from pdrop_eval.report.paired.effect import Mean

DIGITS = 6  # to which two budgets are the same
BUDGET = "budget."
_SEED = 1  # of a run that names none


@dataclass
class Row:
    """A strategy in a block.

    Attributes:
        info: What is known of the strategy.
        words: Its settings that aren't the default and no budget decides, in words.
        run: None where it couldn't be made.
        reason: Why not.
        own: It stands at its own setting, and not at the budget of the block.
        cells: The score of each benchmark.
        percent: The mean of its scores in percent of vanilla's, from both records.
        mean: The same with its interval, question by question; None where they can't be paired.
        why: Why they can't.
        against: By control, its scores against it; None where they can't be paired.
        best: Its scores against the best of its block; None of the best, and where they can't be paired.
        verdict: 1 or -1 where these differ for certain, corrected for the rows of the block, else 0; None
            where they weren't compared.
    """

    info: StrategyInfo
    words: tuple[str, ...] = ()
    run: Run | None = None
    reason: str = ""
    own: bool = False
    cells: dict[str, Cell] = field(default_factory=dict)
    percent: float | None = None
    mean: "Mean | None" = None
    why: str = ""
    against: "dict[str, Mean | None]" = field(default_factory=dict)
    best: "Mean | None" = None
    verdict: int | None = None

    @property
    def name(self) -> str:
        """The strategy, with the settings that tell it from others."""
        return " ".join([self.info.display_name, *self.words])

    @cached_property
    def layers(self) -> list[float] | None:
        """The image tokens that each layer processed, in the mean over all questions."""
        return _measured_layers(self.run) if self.run else None

    @cached_property
    def tokens(self) -> float | None:
        """The same in the mean over the layers."""
        return sum(self.layers) / len(self.layers) if self.layers else None

    @cached_property
    def tflops(self) -> float | None:
        """At the tokens that were processed, in the mean over the questions; else by the schedule."""
        if self.run is None:
            return None
        measured = self.run.mean("tflops_mean", self.run.results)
        return self.run.of("efficiency", "tflops") if measured is None else measured


def asked_tokens(run: Run) -> float | None:
    """The budget that a run was asked for, in image tokens a layer; None where it was asked for none."""
    for change in run.schedule:
        kind, _, value = change.removeprefix(BUDGET).partition("=")
        if not change.startswith(BUDGET):
            continue
        try:
            number = float(value)
        except ValueError:  # in a damaged record: no budget
            continue
        if kind == "tokens":
            return number
        if kind == "share" and (whole := image_tokens(run)):
            return number * whole
    return None


class Place(NamedTuple):
    """What row a run is: runs with the same are told apart by nothing that a row shows.

    Attributes:
        strategy: Its name.
        tokens: Its budget; None for none.
        settings: Those beside it, as overrides.
        seed: Of the run; of vanilla, which draws nothing, always None.
    """

    strategy: str
    tokens: float | None
    settings: tuple[str, ...]
    seed: int | None = None


def place_of(run: Run) -> Place:
    """Return what row a run is."""
    tokens = asked_tokens(run)
    rest = tuple(sorted(one for one in run.schedule if not one.startswith(BUDGET)))
    if tokens is None and any(one.startswith(BUDGET) for one in run.schedule):
        rest = tuple(sorted(run.schedule))  # a budget of FLOPs: a row of its own
    seed = None if run.strategy == VANILLA else run.record.get("seed")
    return Place(run.strategy, None if tokens is None else round(tokens, DIGITS), rest, seed)


def row_of(run: Run, table: Table, seeds: Collection[int | None]) -> Row:
    """Return the row of a run.

    Args:
        run: The run.
        table: The table.
        seeds: Those of all runs that are the same row but for them. Where they are several, all but the
            default one stand in the row's name.
    """
    own = [
        one.partition("=")[0].removeprefix("strategy.") for one in run.schedule if one.startswith("strategy.")
    ]
    budget = [
        one.removeprefix(BUDGET)
        for one in run.schedule
        if asked_tokens(run) is None and one.startswith(BUDGET)
    ]
    words = (*run.info.label(run.settings, dict.fromkeys(own)), *budget) if own or budget else ()
    seed = place_of(run).seed
    if len(seeds) > 1 and seed not in (None, _SEED):
        words = (*words, f"seed={seed}")
    return Row(run.info, words, run, cells={name: measured_cell(run, name) for name in table.benchmarks})


def order(row: Row) -> tuple:
    """Return where a row stands among those of its block."""
    return *row.info.order, row.words


def image_tokens(run: Run) -> float | None:
    """Return the image tokens of a picture before any drop, as the record has them."""
    found = run.of("efficiency", "image_tokens") or run.of("model", "image_tokens")
    return None if found is None else float(found)


def _measured_layers(run: Run) -> list[float] | None:
    """The mean over all questions of all benchmarks; by the schedule where none was measured.

    None where a damaged record has other numbers of layers for its benchmarks.
    """
    known = [entry for entry in run.results.values() if entry.get("retained_tokens_per_layer")]
    questions = sum(entry["n"] for entry in known)
    if not known or not questions:
        return run.of("efficiency", "image_tokens_per_layer")
    if len({len(entry["retained_tokens_per_layer"]) for entry in known}) > 1:
        return None
    sums = [[number * entry["n"] for number in entry["retained_tokens_per_layer"]] for entry in known]
    return [sum(layer) / questions for layer in zip(*sums, strict=True)]
