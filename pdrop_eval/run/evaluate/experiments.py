"""Experiments: a list of runs in one YAML, as a table or figure of the paper needs them. Needs no torch.

Hydra's sweeps try every combination; the rows of a table are pairs of a checkpoint and a strategy. So an
experiment has a plain list `runs`, and the runs are composed and evaluated here, one after the other. One
with a `figure` is drawn afterwards.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from pdrop_eval.models.loading.checkpoint import MissingCheckpointError, resolve_checkpoint
from pdrop_eval.run.config.spec import RunSpec, make_spec
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.distributed import rank
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.log import log_rank_zero
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.presets import model_configs, suite_of
from pdrop_eval.utils.validation import check_choice

_RUN = ("model", "strategy", "overrides")
_OURS = ("experiment", "size", "model", "strategy", "tasks")
# Reports stand above runs, so what draws an experiment is found by its name.
_DRAW = "pdrop_eval.report.figures.cli.draw_experiment"
_OF_RUNS = ("strategy.", "budget.")  # what each run says for itself


def run_experiment(
    config: DictConfig, overrides: Sequence[str], evaluate: Callable[[RunSpec, bool], Any]
) -> None:
    """Evaluates the runs of a composed config, leaving out those whose checkpoint isn't there.

    `overrides` are those of the command line. `size=` picks the models ("mini" if it isn't given), `model=`
    and `strategy=` pick single runs, everything else holds for each of them. Raises UserError for overrides
    that an experiment can't have, or if no run is left.
    """
    given = dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    listed = OmegaConf.to_container(config.runs) if OmegaConf.is_list(config.runs) else config.runs
    runs = _chosen(_checked(listed), given)
    _check_settings(given, runs)
    plans = [_overrides(run, config, overrides, given) for run in runs]
    done, reasons = [], list[str]()
    for number, (run, plan) in enumerate(zip(runs, plans, strict=True), 1):
        composed = make_spec(compose("evaluate", overrides=plan), run["strategy"])
        words = [f"model={run['model']}", f"strategy={run['strategy']}", *run.get("overrides", [])]
        title = f"[{number}/{len(runs)}] {' '.join(words)}"
        try:
            resolve_checkpoint(composed.model.pretrained)
        except MissingCheckpointError as error:
            reasons.append(str(error))
            log_rank_zero(f"{title}: left out. {reasons[-1].split('. ')[0]}.")
            continue
        log_rank_zero(title)
        done.append((run["model"], evaluate(composed, False)))
    if not done:
        raise UserError(f"None of the {len(runs)} runs has its checkpoint. {reasons[0]}")
    if rank() == 0:
        left = f"; {len(reasons)} left out, because their checkpoints are missing" if reasons else ""
        print(f"{len(done)} of {len(runs)} runs are done{left}.")
        if config.get("figure") is not None:
            _draw(given["experiment"], done, config.tasks, Path(composed.results))


def _draw(name: str, done: Sequence[tuple[str, dict[str, Any]]], tasks: Any, results: Path) -> None:
    """Draws the figures of the models that were run, from runs with the same settings."""
    asked = [tasks] if isinstance(tasks, str) else list(tasks)
    print(get_method(_DRAW)(name, done, asked, results, results.parent / "report" / "figures"), end="")


def _checked(runs: Any) -> list[dict[str, Any]]:
    """The list of runs of a YAML. Raises UserError if it is none."""
    for run in runs if isinstance(runs, list) and runs else [None]:
        if not isinstance(run, dict) or not {"model", "strategy"} <= run.keys() <= {*_RUN}:
            raise UserError(
                f"runs={run if run is not None else runs} is no list of runs. Each is a model and a "
                "strategy, and may have overrides: runs=[{model: mini, strategy: pdrop, "
                "overrides: [strategy.ratio=0.4]}]."
            )
        check_choice("model", run["model"], options("model"))
        check_choice("strategy", run["strategy"], options("strategy"))
    return list(runs)


def _chosen(runs: Any, given: dict[str, str]) -> list[dict[str, Any]]:
    models = model_configs()
    if "model" in given:
        check_choice("model of this experiment", given["model"], dict.fromkeys(run["model"] for run in runs))
        runs = [run for run in runs if run["model"] == given["model"]]
    if "size" in given or "model" not in given:
        sizes = dict.fromkeys(models[run["model"]]["size"] for run in runs)
        size = given.get("size", "mini")
        check_choice("size of this experiment's models", size, sizes)
        runs = [run for run in runs if models[run["model"]]["size"] == size]
    if "strategy" in given:
        own = [run for run in runs if run["strategy"] == given["strategy"]]
        runs = own or _of_another(runs, given["strategy"])
    return list(runs)


def _of_another(runs: Sequence[dict[str, Any]], strategy: str) -> list[dict[str, Any]]:
    """The runs of a strategy that isn't listed: on the same models, by its defaults and at the same budgets.

    Raises:
        UserError: There is no such strategy, or the listed ones have settings that only they have.
    """
    check_choice("strategy", strategy, options("strategy"))
    common = [run for run in runs if all(text.startswith("budget.") for text in run.get("overrides", []))]
    listed = list(dict.fromkeys(run["strategy"] for run in runs))
    if all(run["strategy"] == VANILLA for run in common):
        raise UserError(
            f"strategy={strategy} has no runs in this experiment, and the settings of {', '.join(listed)} "
            "there are their own. Run it alone, without experiment=."
        )
    keys = dict.fromkeys((run["model"], *run.get("overrides", [])) for run in common)
    return [{"model": model, "strategy": strategy, "overrides": list(own)} for model, *own in keys]


def _check_settings(given: dict[str, str], runs: Sequence[dict[str, Any]]) -> None:
    for key in given:
        if key.startswith(_OF_RUNS):
            raise UserError(
                f"{key} can't be set in an experiment: its runs have their own settings. Run it alone, "
                "without experiment=."
            )
    names = list(dict.fromkeys(run["model"] for run in runs))
    if "model.pretrained" in given and len(names) > 1:
        raise UserError(
            f"model.pretrained is one checkpoint, but these runs have {len(names)} models. Say which it is, "
            f"with model= and one of {', '.join(names)}."
        )


def _overrides(
    run: dict[str, Any], config: DictConfig, overrides: Sequence[str], given: dict[str, str]
) -> list[str]:
    """The overrides that compose one run: those of the command line, and the run's own."""
    size = model_configs()[run["model"]]["size"]
    suite = [] if "suite" in given else [f"suite={suite_of(size)}"]
    names = [config.tasks] if isinstance(config.tasks, str) else config.tasks
    tasks = [] if names is None else [f"tasks=[{','.join(names)}]"]
    common = [override for override in overrides if override.lstrip("+~").split("=")[0] not in _OURS]
    own = [f"model={run['model']}", f"strategy={run['strategy']}", *run.get("overrides", [])]
    return [*suite, *tasks, *own, *common]
