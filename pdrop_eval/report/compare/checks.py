"""Whether the two sides of a comparison can be compared at all, found out before a model is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.report.compare.settings import Settings
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from pdrop_eval.report.compare.side import Side


def check_alike(settings: Settings, sides: Sequence["Side"]) -> None:
    """What would only be found to be different after all answers are there: tasks and limits."""
    recorded = [side for side in sides if side.plan is None and side.record]
    planned = [side for side in sides if side.plan]
    for other in planned[1:]:
        if _tasks(other) != _tasks(planned[0]):
            raise UserError(
                f"The {planned[0].role} would have the tasks {', '.join(_tasks(planned[0]))}, the "
                f"{other.role} {', '.join(_tasks(other))}. Name the same for both, on their own: tasks=[gqa]."
            )
    for side in recorded:
        for other in planned:
            _check_record(settings, side, other)
    if len(recorded) == 2 and not any(map(is_tasks, settings.common)):
        first, second = map(_tasks, recorded)
        if {*first} != {*second}:
            raise UserError(
                f"Only one of the records has {', '.join(sorted({*first} ^ {*second}))}. Evaluate what is "
                f"missing, or compare what both have: tasks=[{','.join(t for t in first if t in second)}]."
            )


def check_not_same(settings: Settings, sides: Sequence["Side"]) -> None:
    """Raises UserError for a run against itself: it would pass whatever the candidate is worth."""
    if settings.allow_same or not same(sides):
        return
    baseline, candidate = sides[:2]
    raise UserError(
        f"baseline={baseline.asked} and candidate={candidate.asked} are the very same run "
        f"({_of_run(baseline)}), which would always pass. Name another one, or what is to differ: "
        "candidate_overrides=[strategy.ratio=0.6]. To compare it all the same: allow_same=true."
    )


def same(sides: Sequence["Side"]) -> list[str]:
    """That baseline and candidate are one run, as the words of a warning; nothing if they are two."""
    first, second = sides[:2]
    together = bool(first.plan and second.plan and first.plan.identity == second.plan.identity)
    if first.record and second.record:
        for known in (_place, _origin):
            one, other = known(first.record), known(second.record)
            together |= one is not None and one == other
    return ["baseline and candidate are the very same run"] if together else []


def check_limits_of(settings: Settings, tasks: Sequence[str]) -> None:
    """Raises UserError for a limit of a benchmark that isn't among what is compared."""
    keys = [by_task()[task].key for task in tasks]
    absent = [key for key in settings.max_drop_of if key not in keys]
    if absent:
        raise UserError(
            f"max_drop_of has {', '.join(absent)}, which isn't compared. What is: {', '.join(keys)}. Leave "
            "it out, or add its task to tasks=."
        )


def check_header(side: "Side") -> None:
    """That the device is there and the strategy fits the model: not found out after the other run's hours."""
    from pdrop_eval.models.checkpoint import check_device
    from pdrop_eval.run.evaluate.header import make_header

    assert side.plan is not None
    check_device(side.plan.config.device)
    make_header(side.plan, "")


def is_tasks(override: str) -> bool:
    """Whether it names the tasks."""
    return override.startswith("tasks=")


def _check_record(settings: Settings, side: "Side", other: "Side") -> None:
    """A record against what a strategy would be asked."""
    assert side.record is not None
    assert other.plan is not None
    there, wanted = _tasks(side), _tasks(other)
    lacking = [task for task in wanted if task not in there]
    if lacking:
        raise UserError(
            f"The {side.role}'s record has no {', '.join(lacking)}. Compare what it has: "
            f"tasks=[{','.join(task for task in wanted if task in there)}]."
        )
    recorded, asked = side.record.get("limit"), other.plan.config.limit
    if recorded != asked and settings.unpaired == "refuse":
        raise UserError(
            f"The {side.role}'s record was made with limit={_shown(recorded)}, the other run has "
            f"limit={_shown(asked)}: they would answer other questions. Add limit={_shown(recorded)}, or "
            "compare what they have in common: unpaired=leave_out."
        )


def _tasks(side: "Side") -> list[str]:
    return list(side.plan.tasks) if side.plan else list((side.record or {})["tasks"])


def _place(record: dict[str, Any]) -> Path | None:
    return Path(record["folder"]).resolve() if record.get("folder") else None


def _origin(record: dict[str, Any]) -> tuple[Any, Any] | None:
    """What two copies of one record share; None where it doesn't say when it was made."""
    return (record["run_id"], record["created"]) if record.get("created") else None


def _of_run(side: "Side") -> str:
    return str(side.record["run_id"]) if side.record else side.name


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
