"""Calibrates: opens the model, asks the questions, applies the rule or searches, and writes the recipe."""

import hashlib
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.checkpoint import check_device, check_not_absent
from pdrop_eval.records.recipe_file import write_recipe
from pdrop_eval.run.calibrate import fitprune, search, vtw
from pdrop_eval.run.calibrate.outcome import Outcome
from pdrop_eval.run.calibrate.plan import SEARCH, CalibrationPlan
from pdrop_eval.run.calibrate.questions import read_questions
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.run.lmms.open import open_model
from pdrop_eval.run.lmms.tasks.task_runner import quiet
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.strategies.recipe import FORMAT, VERSION
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.text.redact import redact, redact_all

_FIND = {"vtw": vtw.find, "fitprune": fitprune.find, SEARCH: search.find}


def run_calibration(plan: CalibrationPlan) -> dict[str, Any]:
    """Find what a plan asks for and write it; returns the recipe.

    Raises:
        UserError: a model for which the rule finds nothing, a device that isn't there.
        SampleError: a question that can't be asked.
    """
    check_not_absent(plan.spec.device)
    check_device(plan.spec.device)
    with quiet(plan.spec.suite.source == "hub"), tempfile.TemporaryDirectory() as scratch:
        log_rank_zero(f"Loading the model for {len(plan.run.tasks)} task(s): {', '.join(plan.run.tasks)}")
        model = open_model(plan.run, make_strategy(VANILLA))
        questions = read_questions(model, plan.run, Path(scratch))
        outcome = _FIND[plan.rule](plan, model, questions)
    document = write_recipe(plan.path, _document(plan, model, questions, outcome))
    plan.partial.unlink(missing_ok=True)
    return document


def _document(
    plan: CalibrationPlan, model: Any, questions: Sequence[Prepared], outcome: Outcome
) -> dict[str, Any]:
    spec, run = plan.spec, plan.run
    counts = dict.fromkeys(run.tasks, 0)
    for question in questions:
        counts[question.request.args[4]] += 1
    hashes = "\n".join(sorted(question.content_sha256 for question in questions))
    return {
        "format": FORMAT,
        "version": VERSION,
        "strategy": spec.strategy.name,
        "settings": outcome.settings,
        "model": {
            "name": spec.model.name,
            "pretrained": redact(spec.model.pretrained),
            "revision": spec.model.revision,
            "commit": run.commit,
            "sha256": run.identity["model_sha256"],
            "family": run.checkpoint.family,
            "layers": model.config.get_text_config().num_hidden_layers,
            "image_tokens": outcome.image_tokens,
        },
        "questions": {
            "suite": spec.suite.name,
            "source": spec.suite.source,
            "split": spec.split,
            "seed": spec.seed,
            "n": len(questions),
            "tasks": counts,
            "sha256": hashlib.sha256(hashes.encode()).hexdigest(),
            "data_sha256": {task: run.data.sha256[task] for task in run.tasks},
        },
        "rule": {
            "name": plan.rule,
            "words": outcome.words,
            "settings": outcome.rule_settings,
            "found": outcome.found,
        },
        "tried": outcome.tried,
        "budget": outcome.budget,
        "made": {
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": redact(shlex.join([script("pdrop-eval-calibrate"), *sys.argv[1:]])),
            "preset": spec.strategy.preset,
            "seed": spec.seed,
            "code": provenance.code_identity(),
            "packages": provenance.package_versions(),
            "config": redact_all(spec.to_dict()),
        },
        "identity": plan.identity,
    }
