"""The console script `pdrop-eval-figures`: figures from the records, without running anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.run.config.compose import check_settings
from pdrop_eval.run.config.typed import typed_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.records.rows.run import Run
    from pdrop_eval.report.figures.chart import Chart


class NothingToDrawError(UserError):
    """No point of a figure is measured yet, but for vanilla's."""


@console_script
def main() -> None:
    """Draws figures and writes them."""
    cli.run(_job, "figures", check_settings)


@dataclass(frozen=True)
class Settings:
    """What `pdrop-eval-figures` is asked for; `conf/figures.yaml` says what each setting is."""

    figure: Any
    models: Any
    tasks: Any
    root: str
    out: str


def _job(composed: Any) -> None:
    config = typed_config(Settings, composed)
    models, tasks, names = _listed(config.models), _listed(config.tasks), _named(_listed(config.figure))
    print(make_figures(Path(config.root), Path(config.out), models, tasks, names), end="")


def make_figures(
    root: Path,
    out: Path,
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    like: Mapping[str, "Run"] | None = None,
) -> str:
    """Draws what the records beneath `root` hold of each figure into `out`; returns what to tell the user.

    Args:
        models, tasks: Only these; None for all of the figure.
        names: The experiments to draw; None for all.
        like: For a model, the run whose suite and settings all points must have.

    Raises:
        NothingToDrawError: No figure has a measured point.
        UserError: A name is unknown, a record can't be read, or files can't be written.
    """
    from pdrop_eval.records.rows.run import to_runs
    from pdrop_eval.records.store import load_records
    from pdrop_eval.report.figures.chart import figure_experiments
    from pdrop_eval.report.figures.registry import all_charts
    from pdrop_eval.report.tables.commands import experiment
    from pdrop_eval.utils.presets import DEFAULT_SIZE

    runs = to_runs(load_records(root))
    _check(models, tasks)  # records say which tasks there are beside the registry's
    wanted = list(figure_experiments()) if names is None else list(names)
    charts = all_charts(runs, wanted, models, tasks, like)
    if not charts:
        raise NothingToDrawError(
            f"No point of a figure is measured in {root}. Run first: {experiment(wanted[0], DEFAULT_SIZE)} "
            f"(or name the folder of your records: root=DIR).{_of_others(runs, tasks)}"
        )
    return "\n".join(["Written:", *(_write(chart, out) for chart in charts)]) + "\n"


def _of_others(runs: Sequence["Run"], tasks: Sequence[str] | None) -> str:
    """What draws benchmarks that no figure of the paper has, where there are runs of such; else nothing."""
    from pdrop_eval.benchmarks.registry import benchmark_of, columns, of_task
    from pdrop_eval.report.figures.chart import figure_experiments

    usual = {of_task(task).key for listed in figure_experiments().values() for task in listed["tasks"]}
    others = [key for key in columns([run.results for run in runs]) if key not in usual]
    there = [benchmark_of(key).task for key in others if any(key in run.results for run in runs)]
    asked = [task for task in tasks or there[:1] if task in there]
    if not asked:
        return ""
    return (
        f" Of {', '.join(asked)} there are runs, which no figure of the paper has. Figure 4 draws them where "
        "strategies have run at its budgets, beside vanilla: pdrop-eval -m strategy=pdrop,fastv "
        f"budget.share=0.5,0.8 with the settings of those runs, then pdrop-eval-figures figure=4 "
        f"tasks=[{','.join(asked)}]."
    )


def draw_experiment(
    name: str, done: Sequence[tuple[str, dict[str, Any]]], tasks: Sequence[str], results: Path, out: Path
) -> str:
    """Draws the figures of the models that an experiment ran; returns what to tell the user.

    Args:
        name: The experiment.
        done: Model names and the records of their runs, whose settings all points shall share.
        tasks: The benchmarks' tasks.
        results: The folder of all records.
        out: Where the figures go.
    """
    from pdrop_eval.records.rows.run import to_runs

    like = {model: to_runs([record])[0] for model, record in done}
    try:
        return make_figures(results, out, list(like), tasks, [name], like)
    except NothingToDrawError as nothing:  # of a part of the runs, vanilla's alone
        return f"{nothing}\n"


def _write(chart: "Chart", out: Path) -> str:
    """Writes the files of one figure; returns a line that names them, and what is missing."""
    from pdrop_eval.report.figures.registry import files
    from pdrop_eval.utils.files import write_atomically, writing_to

    made = files(chart)
    for kind, content in made.items():
        with writing_to(out):
            write_atomically(out / f"{chart.name}.{kind}", content)
    line = f"  {out / chart.name}.{{{','.join(made)}}}"
    if not chart.missing:
        return line
    lacking = f"{len(chart.missing)} of {len(chart.points)} points are not complete. All of them:"
    return f"{line}\n    {lacking}\n    {chart.commands[-1]}"


def _check(models: Sequence[str] | None, tasks: Sequence[str] | None) -> None:
    from pdrop_eval.benchmarks.installed.index import is_installed
    from pdrop_eval.benchmarks.registry import check_benchmark, is_known, registered_by_task
    from pdrop_eval.report.figures.chart import figure_experiments

    drawn = dict.fromkeys(run["model"] for found in figure_experiments().values() for run in found["runs"])
    for model in models or ():
        check_choice("model of a figure", model, drawn)
    for task in tasks or ():
        if not (task in registered_by_task() or is_installed(task) or is_known(task)):
            fix = "Of questions of your own, there is no record of that name."
            check_benchmark("task", task, registered_by_task(), fix)


def _named(figures: Sequence[str] | None) -> list[str] | None:
    """The experiments of figures by their numbers in the paper; None for none."""
    from pdrop_eval.report.figures.chart import figure_experiments

    found = {name: str(listed["figure"]) for name, listed in figure_experiments().items()}
    for figure in figures or ():
        check_choice("figure", figure, dict.fromkeys(found.values()))
    return None if figures is None else [name for name, number in found.items() if number in figures]


def _listed(value: Any) -> list[str] | None:
    """One name, or a list of them; None for none."""
    if value is None:
        return None
    return [str(value)] if isinstance(value, str | int) else [str(name) for name in value]


if __name__ == "__main__":
    main()
