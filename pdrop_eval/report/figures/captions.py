"""What is said beneath a figure: questions and intervals, weights and code."""

from pdrop_eval.report.figures.chart import Chart
from pdrop_eval.report.tables.notes import values


def asked(chart: Chart) -> str:
    """How many questions of which suite: `240 rendered questions a benchmark (suite mini)`."""
    found = {cell.n for p in chart.measured for key in chart.benchmarks if (cell := p.cell(key)).n}
    counts = sorted(count for count in found if count is not None)
    many = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))
    rendered = " rendered" if {run.of("suite", "source") for run in chart.runs} == {"rendered"} else ""
    each = " a benchmark" if len(chart.benchmarks) > 1 else ""
    settings = f", {' '.join(chart.changes)}" if chart.changes else ""
    return f"{many}{rendered} questions{each} (suite {chart.suite}{settings})"


def missing(chart: Chart) -> str:
    """How much of it is missing, as a sentence; empty if nothing is."""
    return f"{len(chart.missing)} of {len(chart.points)} runs are not complete." if chart.missing else ""


def made(chart: Chart) -> str:
    """The models with the hashes of their weights, and the code."""
    told = []
    for model in chart.models:
        weights = sorted(
            {str(run.checkpoint)[:12] for run in chart.runs if run.model == model and run.checkpoint}
        )
        told.append(f"{model} ({', '.join(weights)})" if weights else model)
    return f"Model{'s' if len(told) > 1 else ''} {', '.join(told)}; pdrop-eval {code_words(chart)}."


def code_words(chart: Chart) -> str:
    """Version and commits of the code behind it."""
    versions = values(chart.runs, "code", "version") or "of an unknown version"
    commits = {
        f"{run.of('code', 'commit')[:10]}{' with changes' if run.of('code', 'dirty') else ''}"
        for run in chart.runs
        if run.of("code", "commit")
    }
    return versions + (f" at {', '.join(sorted(commits))}" if commits else "")
