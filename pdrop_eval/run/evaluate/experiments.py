"""Experiments: a list of runs in one YAML, as a table or figure of the paper needs them. Needs no torch.

Hydra's sweeps try every combination; the rows of a table are pairs of a checkpoint and a strategy. So an
experiment has a plain list `runs`, and the runs are composed and evaluated here, one after the other. One
with a `figure` is drawn afterwards; of one with a `table`, the command is told that shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from pdrop_eval.models.loading.checkpoint import MissingCheckpointError, resolve_checkpoint
from pdrop_eval.records.rows.left_out import LeftOut, note_left_out
from pdrop_eval.records.rows.overrides import SCHEDULE
from pdrop_eval.records.run_identity import shared_settings
from pdrop_eval.run.config.batch import fixed_batch
from pdrop_eval.run.config.combine import register_all
from pdrop_eval.run.config.spec import RunSpec, make_spec
from pdrop_eval.run.evaluate.run_list import run_list
from pdrop_eval.strategies.combinations import check_name
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.distributed import ElsewhereError, check_same, rank, start
from pdrop_eval.utils.errors import RunsFailedError, SampleError, UserError
from pdrop_eval.utils.presets import DEFAULT_SIZE, model_configs, suite_of
from pdrop_eval.utils.terminal.console import command
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.text.redact import redact, redact_all
from pdrop_eval.utils.validation import check_choice, check_truth

_OURS = ("experiment", "size", "model", "strategy", "tasks", "runs", "keep_going")
# Reports stand above runs, so what draws an experiment is found by its name.
_DRAW = "pdrop_eval.report.figures.cli.draw_experiment"
_OF_RUNS = ("strategy.", "budget.")  # what each run says for itself
_COMMON = ("budget.", "limit=")  # of it, what any strategy could take


@dataclass(frozen=True)
class _Planned:
    """A run of the list, composed.

    Attributes:
        model: Its name in the list.
        title: Its number, and what it is, in words.
    """

    model: str
    title: str
    spec: RunSpec

    def left_out(self, reason: str) -> LeftOut:
        """What is written down of it if it isn't made."""
        settings = tuple(one for one in self.spec.changes if one.startswith(SCHEDULE))
        return LeftOut(
            self.spec.model.name, self.spec.suite.name, self.spec.strategy.name, settings, redact(reason)
        )


def run_experiment(
    config: DictConfig,
    overrides: Sequence[str],
    evaluate: Callable[[RunSpec, bool], Any],
    check: Callable[[RunSpec], None] = lambda _: None,
) -> None:
    """Evaluates the runs of a composed config, leaving out those whose checkpoint isn't there.

    With `keep_going`, all that can't be made are left out, with the reason, and the others go on.

    Args:
        config: `runs` is the list.
        overrides: Those of the command line. `size=` picks the models (if it isn't given, the miniatures, or
            else those of the first run's size), `model=` and `strategy=` pick single runs, everything else
            holds for each of them.
        evaluate: Makes a run.
        check: Raises UserError for a run that can't be made; with `keep_going`, it is asked of all runs
            before the first is made.

    Raises:
        UserError: Overrides that an experiment can't have, or no run is left.
        RunsFailedError: With `keep_going`, runs that failed after they had begun.
    """
    check_truth("keep_going", config.keep_going)
    given = dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    listed = OmegaConf.to_container(config.runs) if OmegaConf.is_list(config.runs) else config.runs
    runs = _chosen(run_list(listed), given)
    _check_settings(given, runs)
    planned = _planned(runs, config, overrides, given)
    start()
    check_same({"runs": "; ".join(one.title for one in planned)})
    check_same({one.title: _asked(one.spec) for one in planned})
    reasons = _left_out(planned, check, config.keep_going)
    check_same({"left out": {planned[place].title: why for place, why in reasons.items()}})
    able = [one for place, one in enumerate(planned) if place not in reasons]
    if not able:
        what = "can be made" if config.keep_going else "has its checkpoint"
        raise UserError(f"None of the {len(runs)} runs {what}. {next(iter(reasons.values()))}")
    done, failed = _made(able, evaluate, config.keep_going)
    if rank() == 0:
        print(f"{len(done)} of {len(runs)} runs are done{_counted(reasons, config.keep_going)}.")
        if config.get("table") is not None:
            print(_shown_by(config.table, able[-1].spec.results))
        if config.get("figure") is not None:
            _draw(given["experiment"], done, config.tasks, Path(able[-1].spec.results))
    if failed:
        raise RunsFailedError(f"{len(failed)} of {len(runs)} runs have failed. {' '.join(failed)}")


def _planned(
    runs: Sequence[dict[str, Any]], config: DictConfig, overrides: Sequence[str], given: dict[str, str]
) -> list[_Planned]:
    found = []
    for number, run in enumerate(runs, 1):
        words = _overrides(run, config, overrides, given)
        words += fixed_batch(words)
        spec = make_spec(compose("evaluate", overrides=words), run["strategy"], words)
        words = [f"model={run['model']}", f"strategy={run['strategy']}", *_own(run, given)]
        found.append(_Planned(run["model"], f"[{number}/{len(runs)}] {' '.join(words)}", spec))
    return found


def _asked(spec: RunSpec) -> dict[str, Any]:
    """What processes that share a run have in common of it."""
    return redact_all({"strategy": spec.strategy.name, **shared_settings(spec.to_dict())})


def _left_out(
    planned: Sequence[_Planned], check: Callable[[RunSpec], None], keep_going: bool
) -> dict[int, str]:
    """Why runs can't be made, by place; unless others are to go on, only a checkpoint may be missing."""
    reasons: dict[int, str] = {}
    for place, one in enumerate(planned):
        try:
            resolve_checkpoint(one.spec.model.pretrained)
            if keep_going:
                check(one.spec)
        except (UserError, ElsewhereError) as error:
            if not (keep_going or isinstance(error, MissingCheckpointError)):
                raise
            reasons[place] = str(error)
            said = reasons[place] if keep_going else f"{reasons[place].split('. ')[0]}."
            log_rank_zero(f"{one.title}: left out. {said}")
    if keep_going:
        _note(planned, [planned[place].left_out(why) for place, why in reasons.items()])
    return reasons


def _made(
    able: Sequence[_Planned], evaluate: Callable[[RunSpec, bool], Any], keep_going: bool
) -> tuple[list[tuple[str, Any]], list[str]]:
    """The records of the runs, each with its model; and which of them failed, in words."""
    done, failed = [], []
    for one in able:
        log_rank_zero(one.title)
        try:
            done.append((one.model, evaluate(one.spec, False)))
        except Exception as error:
            if not keep_going:
                raise
            user = isinstance(error, UserError | SampleError)
            reason = str(error) if user else f"{type(error).__name__}: {error}"
            log_rank_zero(f"{one.title}: failed. {reason}")
            failed.append(f"{one.title}: {reason}")
            _note([one], [one.left_out(reason)])
    return done, failed


def _note(tried: Sequence[_Planned], found: Sequence[LeftOut]) -> None:
    """Writes down, beside the records, what of the runs that were tried isn't made."""
    if rank() == 0:
        note_left_out(Path(tried[0].spec.results), found, {one.left_out("").run for one in tried})


def _counted(reasons: Mapping[int, str], keep_going: bool) -> str:
    """How many runs were left out, and why, as the end of a sentence."""
    if not reasons:
        return ""
    why = "the reasons are above" if keep_going else "because their checkpoints are missing"
    return f"; {len(reasons)} left out{':' if keep_going else ','} {why}"


def _shown_by(table: str, results: str) -> str:
    """The command that shows the table of an experiment, in the words of make where make was called."""
    return f"next: {command('pdrop-eval-tables', [f'table={table}', f'root={results}'], 'tables')}"


def _draw(name: str, done: Sequence[tuple[str, dict[str, Any]]], tasks: Any, results: Path) -> None:
    """Draws the figures of the models that were run, from runs with the same settings."""
    asked = [tasks] if isinstance(tasks, str) else list(tasks)
    print(get_method(_DRAW)(name, done, asked, results, results.parent / "report" / "figures"), end="")


def _chosen(runs: Any, given: dict[str, str]) -> list[dict[str, Any]]:
    models = model_configs()
    if "model" in given:
        check_choice("model of this experiment", given["model"], dict.fromkeys(run["model"] for run in runs))
        runs = [run for run in runs if run["model"] == given["model"]]
    if "size" in given or ("experiment" in given and "model" not in given):  # a list of one's own runs whole
        sizes = dict.fromkeys(models[run["model"]]["size"] for run in runs)
        usual = DEFAULT_SIZE if DEFAULT_SIZE in sizes else next(iter(sizes))
        size = given.get("size", usual)
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
    check_name(strategy)
    common = [run for run in runs if all(text.startswith(_COMMON) for text in run.get("overrides", []))]
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
    if "data.folder" in given:
        raise UserError(
            f"data.folder={given['data.folder']} can't be given with an experiment, which has benchmarks of "
            "its own. Name the strategies, -m strategy=vanilla,fastv,pdrop, without experiment=."
        )
    names = list(dict.fromkeys(run["model"] for run in runs))
    if "model.pretrained" in given and len(names) > 1:
        raise UserError(
            f"model.pretrained is one checkpoint, but these runs have {len(names)} models. Say which it is, "
            f"with model= and one of {', '.join(names)}."
        )


def _own(run: dict[str, Any], given: dict[str, str]) -> list[str]:
    """What a run asks for itself, but for what was given: `subset=` chooses questions as `limit=` does."""
    other = {*given, *(["limit"] if "subset" in given else [])}
    return [one for one in run.get("overrides", []) if one.partition("=")[0] not in other]


def _overrides(
    run: dict[str, Any], config: DictConfig, overrides: Sequence[str], given: dict[str, str]
) -> list[str]:
    """The overrides that compose one run: those of the command line, and the run's own."""
    size = model_configs()[run["model"]]["size"]
    suite = [] if "suite" in given else [f"suite={suite_of(size)}"]
    names = [config.tasks] if isinstance(config.tasks, str) else config.tasks
    tasks = [] if names is None else [f"tasks=[{','.join(names)}]"]
    results = [] if "results" in given else [f"results={config.results}"]
    common = [override for override in overrides if override.lstrip("+~").split("=")[0] not in _OURS]
    register_all([run["strategy"]])
    own = [f"model={run['model']}", f"strategy={run['strategy']}", *_own(run, given)]
    return [*suite, *tasks, *results, *own, *common]
