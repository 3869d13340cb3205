"""Is a decode step after drops never slower than vanilla's? LLaVA-1.5's depth and tokens, at a reduced width.

    make decode-speed

Overrides, as of pdrop-eval-bench, come behind it: ARGS=sizes.width=512.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.report.bench.cli import bench
from pdrop_eval.report.bench.text import about, batches, made_with, variant_name
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending

PAGE = Path("results/efficiency/decode.md")
# A narrow model is where hooks cost most: the wider the layers, the less a step's Python counts.
SETTINGS = (
    "model=llava_1_5_7b", "sizes.layers=32", "sizes.width=256", "sizes.intermediate=688", "sizes.heads=8",
    "sizes.kv_heads=8", "sizes.vision_layers=2", "sizes.vision_width=128", "sizes.vision_heads=4",
    "sizes.vision_intermediate=256", "sizes.vocabulary=4000", "image_tokens=576", "text_tokens=64",
    "batch_sizes=[1]", "strategies=[vanilla,fastv,pdrop,plain]", "rounds=7", "new_tokens=16", "threads=1",
    "results=results/bench/decode", "again=true",
)  # fmt: skip


def ratios(variants: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Of each variant, its decode steps' processor time in ms, and over vanilla's of the same round."""
    found = {}
    vanilla = variants["vanilla"]["decode"]["all_cpu_seconds"]
    for label, variant in variants.items():
        own = variant["decode"]["all_cpu_seconds"]
        over = [one / other for one, other in zip(own, vanilla, strict=True)]
        found[label] = (quartiles([1000 * one for one in own]), quartiles(over))
    return found


def page_of(record: Mapping[str, Any], found: Mapping[str, tuple[list[float], list[float]]]) -> str:
    """The page."""
    slower = [variant_name(name) for name, (_, over) in found.items() if name != "plain" and over[1] > 1]
    verdict = f"Slower than vanilla's: {', '.join(slower)}." if slower else "None is slower than vanilla's."
    rows = [
        [escaped(variant_name(name)), _of(ms, 1), _of(over, 3)] for name, (ms, over) in found.items()
    ]  # fmt: skip
    parts = [
        "# Decode steps at 576 image tokens",
        f"**{verdict}** PDrop's take {found['pdrop'][1][1]:.2f} times as long.",
        "Made by `make decode-speed`: processor time, the median with quartiles; ratios are of two "
        "times of the same round, in which all variants ran in turn. `plain` is the model without any hook.",
        "\n".join(f"- {escaped(line)}" for line in [*about(record), made_with(record)]),
        pipes(["", "A decode step, ms", "Over vanilla's"], rows, {1, 2}),
        "Layers after a drop read shorter caches. What the engine adds to a step is Python: a hook a layer, "
        "and the later stages' positions, computed once. In `generate` no step reads a value back from the "
        "device; a forward of one's own that is given an attention mask reads it once.",
    ]
    return "\n\n".join(parts) + "\n"


def _of(values: list[float], digits: int) -> str:
    low, median, high = (f"{value:.{digits}f}" for value in values)
    return f"{median} [{low}, {high}]"


def main() -> None:
    """Measure, print the page and write it."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    with ending("decode"):
        record = bench(compose_bench([*SETTINGS, *sys.argv[1:]]))
        (batch, *_) = batches(record)
        found = ratios({one["label"]: one for one in batch["variants"]})
        text = page_of(record, found)
        print(text, end="")
        write_atomically(PAGE, text)
        kept = {key: value for key, value in record.items() if key not in ("folder", "identity")}
        whole = {"schema": 1, "decode": found, "record": kept}
        write_atomically(PAGE.with_suffix(".json"), json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
