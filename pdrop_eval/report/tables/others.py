"""What `pdrop-eval-tables` prints of benchmarks that no table of the paper has: the user's own data, too."""

from collections.abc import Sequence

from pdrop_eval.benchmarks.registry import benchmark_of, benchmarks, columns
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.formats.grid import Band, Grid, Line, Section, Shown
from pdrop_eval.report.tables.cells import measured_cell, shown_score
from pdrop_eval.report.tables.overview import chosen_runs, kind_of_model, label_of
from pdrop_eval.utils.text import numbers

HEADS = ["Model", "Strategy", "FLOPs", "Score", "± 95%", "Questions"]


def is_other(run: Run) -> bool:
    """Whether a run has benchmarks, and none of the paper's."""
    return bool(run.results) and not run.results.keys() & benchmarks().keys()


def others(runs: Sequence[Run]) -> list[Section]:
    """A band a benchmark, and in it a line a run; no section without such runs."""
    chosen = chosen_runs([run for run in runs if is_other(run)])[0]
    bands: dict[str, Band] = {}
    for key in columns(run.results for run in chosen):
        for run in chosen:
            if key in run.results:
                name = benchmark_of(key).name + (f" (suite {run.suite})" if run.suite != key else "")
                band = bands.setdefault(name, Band(name, []))
                model = kind_of_model(run)
                shown = model not in [line.cells[0].text for line in band.lines]
                band.lines.append(_line(run, key, model if shown else ""))
    title = "Benchmarks that the PyramidDrop paper doesn't have"
    return [Section(title, [], [Grid("", HEADS, list(bands.values()), labels=2)], [])] if bands else []


def _line(run: Run, key: str, model: str) -> Line:
    cell, tflops = measured_cell(run, key), run.of("efficiency", "tflops")
    unit = numbers.flops_unit([tflops])
    cost = numbers.NONE if tflops is None else f"{numbers.flops(tflops, unit)} {unit[0]}"
    texts = [numbers.score(cell.half_width), "" if cell.n is None else numbers.count(cell.n)]
    return Line([Shown(model), Shown(label_of(run)), Shown(cost), shown_score(cell), *map(Shown, texts)])
