"""`results/efficiency/bench.md`: the benchmarks that were measured, the newest of each kind.

python -m tools.speed.prefill.bench_page [--records results/bench/page] [--out results/efficiency/bench.md]
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.report.bench.text import (
    about,
    batch_table,
    batch_title,
    batches,
    layers_text,
    made_with,
    variant_name,
)
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.run.bench.outcome import nothing_fits
from pdrop_eval.run.bench.record import read
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending

# Its own folder: benchmarks that someone runs besides, goals and the like are not on the page.
RECORDS, PAGE = Path("results/bench/page"), Path("results/efficiency/bench.md")
_INTRO = """# Time and memory with and without dropping

Made by `make bench`. All strategies run in turn in each round, so other work of the machine affects all
alike; warm-up rounds are not measured. A speed-up is vanilla's time divided by the strategy's in the same
round: the median, with the quartiles of the rounds in brackets. Below it is its FLOPs bound: vanilla's
multiply-adds divided by the strategy's, for the same part of the model. The bound is not strict: products of
other sizes run at other speeds, and decoding is bound by memory rather than by products."""
_MEMORY = """The peak is the largest amount of memory that vision tower, prefill and the first decode steps
hold at one time, beyond weights and inputs: torch's own count on a GPU, every allocation of torch's allocator
on a CPU. Ranking and dropping (selecting and gathering the retained tokens) are timed in separate prefills;
brackets give their share of vanilla's prefill."""


def bench_page(records: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    parts = [_INTRO]
    for record in records:
        parts += _section(record)
    return "\n\n".join([*parts, _MEMORY]) + "\n"


def newest(root: Path) -> list[dict[str, Any]]:
    """The completed records beneath a folder, of each kind (model, sample, settings) the newest."""
    found: dict[str, dict[str, Any]] = {}
    records = [read(path) for path in sorted(root.glob("*/*/record.json"))]
    for record in sorted(records, key=lambda one: one["updated"]):
        if record["status"] == "completed" and nothing_fits(record) is None:
            labels = [one["label"] for one in record["strategies"]]
            machine = [record["hardware"][key] for key in ("cpu", "cores", "gpus")]
            kind = [record["model"], record["sample"], record["settings"], record["budget"], labels, machine]
            found[str(kind)] = record
    return sorted(found.values(), key=lambda one: (one["model"]["name"], one["created"]))


def _section(record: Mapping[str, Any]) -> list[str]:
    model, lines = record["model"], [*about(record), made_with(record)]
    budget = "".join(f", budget.{kind}={value:g}" for kind, value in record["budget"].items())
    title = f"## {model['name']}, {model['layers']} layers, {record['sample']['image_tokens']:,} image tokens"
    parts = [escaped(title + budget), "\n".join(f"- {escaped(line)}" for line in lines)]
    for batch in batches(record):
        parts.append(f"**{escaped(batch_title(batch))}**")
        if batch["variants"]:
            heads, rows = batch_table(record, batch)
            cells = [[escaped(text.strip()) for text in row] for row in rows]
            parts.append(pipes(heads, cells, set(range(1, len(heads)))))
    return [*parts, _caches(record)]


def _caches(record: Mapping[str, Any]) -> str:
    """The bytes that each layer caches, at the first batch size that fits."""
    batch = next(batch for batch in batches(record) if batch["variants"])
    lines = [
        f"- {variant_name(one['label'])}: {layers_text([size / 2**10 for size in one['kv_bytes_per_layer']])}"
        for one in batch["variants"]
    ]
    return "\n".join([f"KV cache a layer in KiB, batch {batch['batch_size']}:", "", *map(escaped, lines)])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    with ending("bench_page"):
        records = newest(options.records)
        if not records:
            raise UserError(
                f"There is no completed benchmark in {options.records}. Run make bench, or name "
                "another folder: --records results/bench."
            )
        write_atomically(options.out, bench_page(records))
        print(f"Written: {options.out}")


if __name__ == "__main__":
    main()
