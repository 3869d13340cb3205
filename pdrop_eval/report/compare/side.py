"""One side of a comparison: a run, with what was read of it."""

from dataclasses import dataclass
from typing import Any

from pdrop_eval.records.run import Run, to_runs
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.utils.errors import UserError


@dataclass
class Side:
    """One run of a comparison: what was asked for, and its record once it is there.

    overrides: its own, beside those of both. plan: of a strategy; None for the folder of a run, whose record
    is all there is. arguments: with which pdrop-eval would make this run.
    """

    role: str
    asked: str
    overrides: tuple[str, ...]
    plan: Plan | None
    record: dict[str, Any] | None
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the outputs call it: the strategy with its own settings, or the run's id."""
        if self.plan is None:
            assert self.record is not None
            return str(self.record["run_id"])
        return " ".join([self.asked, *self.overrides])

    @property
    def run(self) -> Run:
        """The run as the statistics read it; to be called once its record is there."""
        assert self.record is not None
        found = to_runs([self.record])
        if not found:
            raise UserError(f"The {self.role}'s run {self.record['run_id']} has no finished benchmark.")
        return found[0]

    @property
    def missing(self) -> list[str]:
        """The tasks that are to be evaluated."""
        return self.plan.missing(self.record) if self.plan else []
