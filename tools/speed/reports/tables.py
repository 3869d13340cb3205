"""How long `pdrop-eval-tables` takes for many records: makes them, runs the command, prints seconds.

python -m tools.speed.reports.tables [--records 1000]; the aim is under 3 seconds for 1,000 records.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.store import SCHEMA
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.presets import presets

AIM = 3.0
STRATEGIES = ("vanilla", "fastv", "pdrop")


def main() -> None:
    """Prints the time of the whole command, from its start to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        size = write_records(Path(folder) / "runs", count)
        command = [
            sys.executable,
            "-m",
            "pdrop_eval.report.readme.cli",
            f"root={folder}/runs",
            f"out={folder}/out",
        ]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime
    each = size / count / 1e3
    print(f"{count} records of {each:.0f} kB: {seconds:.2f} s, aim {AIM:.0f} s ({seconds / AIM:.0%})")
    print(f"of it {processor:.2f} s of one processor: what a machine without other work would take")


def write_records(root: Path, count: int) -> int:
    """Writes complete records of all models and strategies, told apart by seeds; returns their bytes."""
    written = 0
    kinds = itertools.cycle(itertools.product(presets("model", CONF).values(), STRATEGIES))
    for number, (model, strategy) in zip(range(count), kinds, strict=False):
        record = make_record(number, model, strategy)
        path = root / str(model["name"]) / f"{strategy}-{number:010x}" / "record.json"
        path.parent.mkdir(parents=True)
        text = json.dumps(record, indent=2)
        path.write_text(text, encoding="utf-8")
        written += len(text)
    return written


def make_record(number: int, model: dict, strategy: str) -> dict:
    """A record like the runner's, with all benchmarks."""
    fields = presets("strategy", CONF)[strategy]
    suite = presets("suite", CONF)["mini"]
    config = {
        "strategy": fields,
        "model": model,
        "suite": suite,
        "seed": number,
        "limit": None,
        "batch_size": 8,
    }
    code = {"version": "0.1.0", "commit": "0" * 40, "dirty": False}
    return {
        "schema": SCHEMA,
        "run_id": f"{strategy}-{number:010x}",
        "status": "completed",
        "created": "2026-01-01T00:00:00+00:00",
        "updated": "2026-01-01T00:00:00+00:00",
        "config": config,
        "identity": {
            "config": config,
            "data_sha256": {task.task: "0" * 64 for task in benchmarks().values()},
        },
        "code": code,
        "seed": number,
        "limit": None,
        "batch_size": 8,
        "model": {**model, "family": "llava", "sha256": "0" * 64, "dtype": "float32", "training": None},
        "strategy": {"name": strategy, "fields": fields},
        "suite": {"name": "mini", "source": "rendered"},
        "efficiency": {
            "tflops": 0.1,
            "image_tokens": 144,
            "image_tokens_per_layer": [144] * 8,
            "kv_cache_bytes": 1,
        },
        "tasks": {task.task: make_result(key, number) for key, task in benchmarks().items()},
    }


def make_result(benchmark: str, number: int) -> dict:
    """A finished task."""
    return {
        "status": "scored",
        "benchmark": benchmark,
        "metric": "exact_match",
        "score": 50 + number % 50,
        "stderr": 2.0,
        "n": 240,
        "parts": {f"part {index}": 50.0 for index in range(6)},
        "metrics": {"exact_match": 0.5},
        "tflops_mean": 0.1,
        "image_tokens_mean": 144.0,
        "image_tokens_max": 144,
        "retained_tokens_per_layer": [144.0] * 32,
        "data_sha256": "0" * 64,
    }


if __name__ == "__main__":
    main()
