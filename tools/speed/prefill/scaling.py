"""How time and memory grow with the image tokens: 1, 2, 5 and 9 tiles of 576, and the exponents that fit.

python -m tools.speed.prefill.scaling [override ...]; overrides as of pdrop-eval-bench: threads=1, say.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.report.bench.cli import bench
from pdrop_eval.report.bench.text import about, batches, made_with, variant_name
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.bench.statistics import fit_exponent
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.terminal.log import log_rank_zero

FILE = Path("results/efficiency/scaling.json")
TOKENS = (576, 1152, 2880, 5184)
SETTINGS = (
    "model=llava_1_5_7b", "sizes.layers=16", "sizes.width=512", "sizes.intermediate=1376", "sizes.heads=8",
    "sizes.kv_heads=8", "sizes.vision_layers=2", "sizes.vision_width=128", "sizes.vision_heads=4",
    "sizes.vision_intermediate=256", "batch_sizes=[1]", "rounds=3", "warmup=1", "new_tokens=8",
    "results=results/bench/scaling", "again=true",
)  # fmt: skip
QUANTITIES = ("prefill_seconds", "decode_seconds", "flops", "peak_bytes", "kv_bytes")
WORDS = {
    "prefill_seconds": ("Prefill, ms", 1e-3),
    "decode_seconds": ("Decode, ms a token", 1e-3),
    "flops": ("FLOPs of the prefill, G", 1e9),
    "peak_bytes": ("Peak memory, MiB", 2**20),
    "kv_bytes": ("KV cache, MiB", 2**20),
}


def point(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The quantities of every strategy in one record."""
    (batch, *_) = batches(record)
    flops = {one["label"]: one["flops"]["prefill"] for one in record["strategies"]}
    return {
        one["label"]: {
            "prefill_seconds": one["prefill"]["seconds"][1],
            "decode_seconds": one["decode"]["seconds"][1],
            "flops": flops[one["label"]],
            "peak_bytes": one["peak_bytes"],
            "kv_bytes": sum(one["kv_bytes_per_layer"]),
        }
        for one in batch["variants"]
    }


def fits(tokens: Sequence[int], points: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """For every strategy and quantity, the exponent and its standard error."""
    labels = [label for label in points[0] if all(label in one for one in points)]
    return {
        label: {name: list(fit_exponent(tokens, [one[label][name] for one in points])) for name in QUANTITIES}
        for label in labels
    }


def scaling_page(found: Mapping[str, Any]) -> str:
    """The page: for each quantity a table of strategies by image tokens, with the exponent."""
    environment, tokens = found["records"][0], found["image_tokens"]
    where = [line for line in about(environment) if not line.startswith("A sample")]
    made = dict.fromkeys(made_with(record) for record in found["records"])
    parts = [
        "# Growth with the image tokens",
        "Made by `make scaling`. An exponent a means that the quantity grows as n^a. It is the slope of a "
        "least-squares line through the logarithms, ± its standard error. n is the number of image tokens; "
        f"each sample also has {environment['sample']['text_tokens']} text tokens.",
        "\n".join(f"- {escaped(line)}" for line in [*where, *made]),
    ]
    for name in QUANTITIES:
        words, unit = WORDS[name]
        rows = [
            [
                variant_name(label),
                *(f"{one[label][name] / unit:,.3g}" if one[label][name] / unit < 1000
                  else f"{one[label][name] / unit:,.0f}" for one in found["points"]),
                "{:.2f} ± {:.2f}".format(*found["exponents"][label][name]),
            ]
            for label in found["exponents"]
        ]  # fmt: skip
        heads = [words, *(f"n = {n:,}" for n in tokens), "Exponent"]
        parts.append(pipes(heads, rows, set(range(1, len(heads)))))
    parts.append("\n".join(f"- {said(label, found['exponents'][label])}" for label in found["exponents"]))
    parts.append(
        "The exponent of FLOPs is 1 where the linear maps dominate and 2 where attention does. The peak is "
        "that of vision tower, prefill and the first decode steps, beyond the weights. `scaling.json` has "
        "the machine and its load for each n."
    )
    return "\n\n".join(parts) + "\n"


def said(label: str, exponents: Mapping[str, Sequence[float]]) -> str:
    """What a strategy's exponents come to in words: time beside FLOPs, and memory beside the tokens."""
    (time, time_error), (flops, flops_error) = exponents["prefill_seconds"], exponents["flops"]
    beside = _beside(time - flops, time_error + flops_error, "as its FLOPs do")
    peak, peak_error = exponents["peak_bytes"]
    return (
        f"{variant_name(label)}: prefill time grows as n^{time:.2f}, {beside} (n^{flops:.2f}); peak memory "
        f"as n^{peak:.2f}, {_beside(peak - 1, peak_error, 'in proportion to n')}."
    )


def _beside(difference: float, error: float, same: str) -> str:
    """Equal within two standard errors (and a hundredth, as exponents are printed), or faster, or slower."""
    if abs(difference) <= max(2 * error, 0.01):
        return f"{same}, within its error"
    what = "its FLOPs" if "FLOPs" in same else "n"
    return f"{'faster' if difference > 0 else 'slower'} than {what}"


def main() -> None:
    """Measure all sizes, print the page and write both files."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    with ending("scaling"):
        records = []
        for n in TOKENS:
            log_rank_zero(f"{n:,} image tokens")
            records.append(bench(compose_bench([*SETTINGS, f"image_tokens={n}", *sys.argv[1:]])))
        points = [point(record) for record in records]
        kept = ("model", "sample", "settings", "load", "code", "packages", "hardware")
        found = {
            "schema": 1,
            "image_tokens": list(TOKENS),
            "points": points,
            "exponents": fits(TOKENS, points),
            "records": [
                {**{key: r[key] for key in kept}, "load": [b["load"] for b in batches(r)]} for r in records
            ],
        }
        write_atomically(FILE, json.dumps(found, indent=1) + "\n")
        page = scaling_page(found)
        write_atomically(FILE.with_suffix(".md"), page)
        print(page)
        print(f"Written: {FILE} and {FILE.with_suffix('.md')}")


if __name__ == "__main__":
    main()
