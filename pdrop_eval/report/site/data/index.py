"""What the page reads first: every run in short, with its scores, and the benchmarks that they are of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pdrop_eval.benchmarks.registry import benchmark_of, columns, is_known
from pdrop_eval.report.figures.style import series_styles
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.data.samples import Stored
from pdrop_eval.report.site.data.tables import rounded
from pdrop_eval.report.tables.cells import measured_cell
from pdrop_eval.strategies.registry import LINESTYLES, MARKERS, info_of
from pdrop_eval.utils.terminal.console import as_run_here

# What Plotly calls matplotlib's markers and lines.
_SYMBOLS = dict(
    zip(MARKERS, ("star", "circle", "square", "triangle-up", "diamond", "triangle-down"), strict=True)
)
_DASHES = dict(zip(LINESTYLES, ("solid", "dash", "dashdot", "dot"), strict=True))
_HASH = 8  # digits of a hash that are shown


def benchmark_entries(recorded: Sequence[Recorded] = ()) -> dict[str, dict[str, Any]]:
    """The benchmarks of the page's runs: the paper's, in the registry's order, then the others."""
    found = {key: benchmark_of(key) for key in columns(one.run.results for one in recorded)}
    return {
        key: {
            "name": known.name,
            "task": known.task,
            "scale": None if known.scale in ("sum", "own") else 100,
            "divisor": known.divisor,
            "metric": known.metric,
            "plain": known.scoring == "mean",  # 100 times the mean of the questions' scores
        }
        for key, known in found.items()
    }


def strategy_entries(recorded: Iterable[Recorded], others: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """The strategies by name, in the order of their labels: their names in words and their styles.

    Args:
        recorded: The runs; their records say how their strategies look.
        others: Strategies that only a benchmark of speed knows.
    """
    known = {one.run.strategy: one.run.info for one in recorded}
    known |= {name: info_of(name) for name in others if name not in known}
    ordered = {info.name: info for info in sorted(known.values(), key=lambda info: info.order)}
    styles = series_styles(ordered, ordered)
    return {
        name: {
            "name": info.display_name,
            "color": styles[name]["color"],
            "dark": styles[name]["dark"],
            "symbol": _SYMBOLS[styles[name]["marker"]],
            "dash": _DASHES[styles[name]["linestyle"]],
            **({"merged": info.merged} if info.merged else {}),
        }
        for name, info in ordered.items()
    }


def run_entry(one: Recorded, stored: Mapping[str, Stored], compared: Sequence[str]) -> dict[str, Any]:
    """A run in short. stored: where its samples are, by benchmark. compared: baselines of its comparisons."""
    run, record = one.run, one.run.record
    tokens, layers = run.of("efficiency", "image_tokens"), run.of("efficiency", "image_tokens_per_layer")
    share = sum(layers) / len(layers) / tokens if layers and tokens else None
    return {
        "key": one.key,
        "folder": one.place,
        "run_id": run.id,
        "model": run.model,
        "size": run.size,
        "architecture": record["model"].get("architecture"),
        "title": one.title,
        "train": record["model"].get("train"),
        "train_ratio": record["model"].get("train_ratio"),
        "strategy": run.strategy,
        "label": one.label,
        "settings": run.changes,
        "suite": run.suite,
        "limit": run.limit,
        "subset": record.get("subset"),
        "status": record["status"],
        "error": record.get("error"),
        "created": record["created"],
        "command": as_run_here(str(record["command"])) if record.get("command") else None,
        "code": {name: run.of("code", name) for name in ("version", "commit", "dirty")},
        "device": run.of("config", "device"),
        "dtype": run.of("model", "dtype"),
        "image_tokens": tokens,
        "tokens_per_layer": layers,
        "tflops": rounded(run.of("efficiency", "tflops")),
        "kv_cache_bytes": run.of("efficiency", "kv_cache_bytes"),
        "convention": run.of("efficiency", "convention"),
        "mean_tokens_share": rounded(share),
        "compared": list(compared),
        "scores": {name: _score(one, name, stored.get(name)) for name in known_benchmarks(one)},
    }


def known_benchmarks(one: Recorded) -> list[str]:
    """The finished benchmarks of a run that this version knows, in the registry's order."""
    return [name for name in columns([one.run.results]) if name in one.run.results]


def unknown_benchmarks(recorded: Sequence[Recorded]) -> list[str]:
    """Those that it doesn't know: of another version's records."""
    return sorted({name for one in recorded for name in one.run.results if not is_known(name)})


def _score(one: Recorded, name: str, stored: Stored | None) -> dict[str, Any]:
    entry = one.run.results[name]
    cell = measured_cell(one.run, name)
    low, high = cell.interval or (None, None)
    return {
        "score": rounded(cell.score),
        "low": rounded(low),
        "high": rounded(high),
        "stderr": rounded(cell.stderr),
        "n": cell.n,
        "state": cell.state,
        "tflops_mean": rounded(entry.get("tflops_mean")),
        "tokens_mean": rounded(entry.get("image_tokens_mean")),
        "wall_seconds": rounded(entry.get("wall_seconds")),
        "metric": entry.get("metric"),
        "data": str(entry.get("data_sha256") or "")[:_HASH] or None,
        "set": stored.of if stored else None,
        "chunks": stored.chunks if stored else 0,
        "samples": stored is not None,
        "overlays": stored is not None and stored.overlays,
    }
