"""`results/training/speed.md`: how much faster a training step is with dropping, from `make bench-train`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.row_key import family_name
from pdrop_eval.report.formats.markdown import escaped
from pdrop_eval.report.formats.pipes import pipes
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.strategies.registry import VANILLA, display_name

FILE = Path("results/training/speed.json")
_INTRO = """# Training speed

Made by `make bench-train`: one training step (forward, backward, optimizer) with and without dropping; all
strategies run in turn, so other work of the machine affects all alike. A speed-up is vanilla's time divided
by the strategy's in the same round, with the quartiles of the rounds in brackets. The models have random
weights, on which the time doesn't depend."""
_BOUND = """The bound is the ratio of a sample's theoretical costs, over all tokens and with the vision tower
(`speedup_bound` of `run/train/estimate/cost.py`). By the paper's convention, which counts image tokens in the
decoder only, dropping looks better. The bound leaves out other work that takes time: ranking and gathering
tokens, embeddings, norms, the loss, the optimizer. It is not strict: products of other sizes run at other
speeds, and shorter sequences may fit into a cache."""


def load_speed(path: Path = FILE) -> dict[str, Any] | None:
    """What the benchmark has written; None if it wasn't run."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def speed_page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [_INTRO, _where(found["environment"])]
    for case in found["cases"]:
        parts += [f"## {escaped(case['name'])}", _size(case), _table(case)]
    parts += [_BOUND, _paper()]
    return "\n\n".join(parts) + "\n"


def speed_lines(found: Mapping[str, Any]) -> str:
    """The speed-ups alone, as a list."""
    lines = [
        f"- {escaped(case['name'])}, {_name(one)}: {_ratio(one['speedup'])}, bound {one['bound']:.2f}."
        for case in found["cases"]
        for one in case["strategies"]
        if one["name"] != VANILLA
    ]
    return "\n".join(lines)


def _where(environment: Mapping[str, Any]) -> str:
    packages, code = environment["packages"], environment["code"]
    commit = f" at {code['commit'][:10]}" if code.get("commit") else ""
    changed = " with changes" if code.get("dirty") else ""
    busy = environment.get("load")
    load = "" if busy is None else f" Load of the machine when it began: {busy:.1f}."
    return (
        f"{escaped(str(environment['device']))}, {environment['threads']} thread(s), {environment['dtype']}; "
        f"torch {packages['torch']}, transformers {packages['transformers']}; code {code['version']}{commit}"
        f"{changed}.{load}"
    )


def _size(case: Mapping[str, Any]) -> str:
    return (
        f"{case['layers']} layers, width {case['width']}, {case['image_tokens']} image tokens and "
        f"{case['text_tokens']} others a sample, {case['batch']} samples a step, {case['rounds']} rounds; "
        f"trained: {' and '.join(case['train'])}."
    )


def _table(case: Mapping[str, Any]) -> str:
    rows = []
    for one in case["strategies"]:
        vanilla = one["name"] == VANILLA
        rows.append(
            [
                _name(one),
                _seconds(one["seconds"]),
                "" if vanilla else _ratio(one["speedup"]),
                "" if vanilla else f"{one['bound']:.2f}",
                "" if vanilla or one.get("cpu_speedup") is None else _ratio(one["cpu_speedup"]),
                "" if vanilla else f"{one['image_bound']:.2f}",
            ]
        )
    heads = ["Strategy", "Step, ms", "Speed-up", "Bound", "By processor time", "Bound, image tokens alone"]
    return pipes(heads, rows, set(range(1, 6)))


def _paper() -> str:
    """The published hours, as speed-ups: of whole trainings of 7B models on GPUs."""
    said = []
    pairs: dict[tuple[str, int], dict[str, float]] = {}
    for row in TABLES[1].published:
        if row.hours:
            pairs.setdefault((row.key.architecture, row.key.patches), {})[row.key.train] = row.hours
    for (architecture, patches), hours in pairs.items():
        name = family_name(architecture, "7b") + (f" p{patches}" if patches > 1 else "")
        said.append(
            f"{name} {hours['vanilla']:.0f} to {hours['pdrop']:.0f} hours, "
            f"{hours['vanilla'] / hours['pdrop']:.2f}"
        )
    return f"Published, of whole trainings on GPUs (Table 1; not measured here): {'; '.join(said)}."


def _name(one: Mapping[str, Any]) -> str:
    ratio = one.get("fields", {}).get("ratio")
    return display_name(one["name"]) + (f" λ={ratio:g}" if ratio is not None else "")


def _ratio(values: Sequence[float]) -> str:
    """Median with quartiles: `1.62 [1.60, 1.66]`."""
    low, middle, high = values
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _seconds(values: Sequence[float]) -> str:
    low, middle, high = (1e3 * value for value in values)
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"
