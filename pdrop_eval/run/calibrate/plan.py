"""A calibration's plan: everything that is checked and found out before torch is imported."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.checkpoint import check_checkpoint
from pdrop_eval.records.recipe_file import read_recipe_file
from pdrop_eval.run.calibrate.rules import RULES
from pdrop_eval.run.calibrate.rules.vtw import candidates
from pdrop_eval.run.calibrate.spec import CalibrateSpec
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.fits import check_model, view_of
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.run.evaluate.plan import make_plan as make_run_plan
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils import paths
from pdrop_eval.utils.code.source_code import hash_modules, import_closure
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, check_whole, is_finite_number

SPLITS = ("calibration", "evaluation")
SEARCH = "search"


@dataclass(frozen=True)
class CalibrationPlan:
    """Validated settings, and what was found out on the way.

    Attributes:
        spec: what is asked for.
        run: the plan of an evaluation of the same questions.
        rule: the name of the rule: a strategy's own, or search.
        budget: of a search; empty without one.
        path: of the file.
        identity: all that decides what it says.
    """

    spec: CalibrateSpec
    run: Plan
    rule: str
    budget: dict[str, Any]
    path: Path
    identity: dict[str, Any]

    def existing(self) -> dict[str, Any] | None:
        """The file, if a calibration of the same identity made it. Raises UserError if it is damaged."""
        found = read_recipe_file(self.path)
        return found if found is not None and found["identity"] == self.identity else None

    @property
    def partial(self) -> Path:
        """Where a search that was interrupted has left what it tried."""
        return self.path.with_name(f".{self.path.stem}.partial.json")


def make_plan(spec: CalibrateSpec) -> CalibrationPlan:
    """Check the settings, get the questions ready, and work out what the file will be called.

    Raises:
        UserError: wrong input.
    """
    _check_numbers(spec)
    rule, budget = _rule(spec)
    _check_open(spec, rule)
    if budget:  # before questions are rendered
        checkpoint = check_checkpoint(
            spec.model.pretrained, spec.model.revision, spec.model.trust_remote_code
        )
        check_model(spec.strategy, checkpoint, spec.model.anyres, budget)
    tasks = checks.check_tasks(spec.tasks, list(spec.suite.tasks), spec.suite.name, spec.limit)
    root = _root(spec, rule, tasks)
    out = Path(spec.out).expanduser()
    folder = out.parent if out.suffix == ".json" else out
    run = make_run_plan(spec.run(str(folder), root))
    spec = replace(spec, dtype=run.config.dtype)
    depth = getattr(view_of(run.checkpoint).text_config, "num_hidden_layers", None)
    if rule == "vtw" and depth is not None:
        candidates(depth)
    identity = _identity(spec, run, rule)
    said = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = f"{spec.model.name}-{spec.strategy.name}-{said[:8]}.json"
    path = out if out.suffix == ".json" else out / name
    return CalibrationPlan(spec, run, rule, budget, path, identity)


def _check_numbers(spec: CalibrateSpec) -> None:
    check_choice("split", spec.split, SPLITS)
    check_whole("limit", spec.limit, 1, "It is the number of questions of each task.")
    check_whole("seed", spec.seed, 0)
    check_whole("candidates", spec.candidates, 1)
    if spec.eta is not None and not (is_finite_number(spec.eta) and spec.eta > 0):
        raise UserError(f"eta={spec.eta} is not allowed: use a number above 0, or null for the authors' own.")
    if not (is_finite_number(spec.ratio) and 0 < spec.ratio < 100):
        raise UserError(
            f"ratio={spec.ratio} is not allowed: it is the percentage of FLOPs that goes, above 0 and below "
            "100."
        )


def _rule(spec: CalibrateSpec) -> tuple[str, dict[str, Any]]:
    """The rule that is asked for, and a search's budget. Raises UserError for a strategy that has none."""
    budget, name = checks.check_budget(spec.budget), spec.strategy.name
    solved = [info.name for info in installed().values() if info.solved_fields]
    own = installed().get(name)
    if spec.search:
        if own is not None and not own.solved_fields:
            raise UserError(
                f"strategy={name} takes no budget, so there is nothing to search. Those that do: "
                f"{', '.join(solved)}."
            )
        if not budget:
            raise UserError(
                "search=true needs a budget: what may be spent, as budget.tokens=64 or budget.share=0.25."
            )
        return SEARCH, budget
    if budget:
        (kind, value), *_ = budget.items()
        raise UserError(f"budget.{kind}={value} is of a search: add search=true, or leave it out.")
    if name not in RULES:
        raise UserError(
            f"strategy={name} has no rule that is calibrated. Those that have one: {', '.join(RULES)}. With "
            f"search=true and a budget, layers and ratios are searched of: {', '.join(solved)}."
        )
    return name, {}


def _check_open(spec: CalibrateSpec, rule: str) -> None:
    """Refuse a setting that is what the calibration has to find."""
    own = installed().get(spec.strategy.name)
    found = ("recipe", *(own.solved_fields if own is not None and rule != SEARCH else ()))
    for name in found:
        if spec.strategy.settings.get(name) is not None:
            raise UserError(
                f"strategy.{name}={spec.strategy.settings[name]} can't be given: it says what the "
                "calibration is to find. Leave it out."
            )


def _root(spec: CalibrateSpec, rule: str, tasks: list[str]) -> str | None:
    """Where the questions lie; those of the calibration split are rendered."""
    if spec.split == "evaluation":
        if rule == SEARCH:
            raise UserError(
                "search=true with split=evaluation would choose settings by the questions that they are then "
                "evaluated with. Use split=calibration."
            )
        return spec.data.root
    if spec.suite.source != "rendered" or spec.data.root is not None:
        named = f"data.root={spec.data.root}" if spec.data.root is not None else f"suite={spec.suite.name}"
        first = ", or with split=evaluation on the first of those that are evaluated, as the authors do"
        raise UserError(
            f"{named} has no calibration questions: an evaluation asks all that there are. Calibrate on "
            f"rendered ones (suite=mini, without data.root){'' if rule == SEARCH else first}."
        )
    from pdrop_eval.benchmarks.rendered.calibration import ensure_calibration

    return str(ensure_calibration(tasks, spec.limit, spec.seed))


def _identity(spec: CalibrateSpec, run: Plan, rule: str) -> dict[str, Any]:
    """All that decides what is found: of an evaluation's identity, and what only a calibration has."""
    of_rule: dict[str, dict[str, Any]] = {
        "vtw": {"eta": spec.eta},
        "fitprune": {"ratio": spec.ratio},
        SEARCH: {"candidates": spec.candidates},
    }
    questions = {"split": spec.split, "tasks": run.tasks, "data": run.data.sha256, "task": run.task_sha256}
    return {
        **run.identity,
        "calibration": {"rule": rule, **of_rule[rule], **questions, "code": _code_sha256(paths.PACKAGE)},
    }


@cache
def _code_sha256(package: Path) -> str:
    """SHA-256 of the code that calibrates, beside that which runs the model."""
    own = {
        name: path
        for name, path in import_closure([f"{package.name}.run.calibrate.session"], package).items()
        if name.startswith(f"{package.name}.run.calibrate.")
    }
    return hash_modules(own)
