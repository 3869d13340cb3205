"""Records of benchmarks of speed, for pages in tests."""

import json

from pdrop_eval.run.bench.record import SCHEMA


def phase(*milliseconds):
    """Quartiles of a phase."""
    return {"seconds": [value / 1000 for value in milliseconds], "speedup": [1.0, 2.0, 3.0], "bound": 2.5}


def variant(label):
    """What was measured of a strategy."""
    return {
        "label": label,
        "prefill": phase(1, 2, 4),
        "ttft": phase(1, 2, 4),
        "decode": phase(5, 6, 7),
        "answer": phase(1, 2, 3),
        "samples_per_second": [1, 2, 3],
        "tokens_per_second": [10.0, 20.0, 30.0],
        "peak_bytes": 1000,
        "kv_bytes_per_layer": [10, 20],
        "ranking_seconds": None,
        "dropping_seconds": None,
    }


def bench_record(**changes):
    """A record as pdrop-eval-bench writes it, of one batch size and two variants."""
    batch = {
        "batch_size": 4, "rounds": 3, "load": {"average": 0.1, "others": 0.0}, "out_of_memory": {},
        "vision": None, "variants": [variant("vanilla"), variant("fastv k=3")],
    }  # fmt: skip
    vanilla = {"label": "vanilla", "strategy": "vanilla", "fields": {}, "schedule": [8, 8], "tflops": 2.0}
    fields = {"k": 3, "attention_rank": None}
    fastv = {"label": "fastv k=3", "strategy": "fastv", "fields": fields, "schedule": [8, 4], "tflops": 1.0}
    return {
        "schema": SCHEMA, "status": "completed", "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "mini576", "weights": "random", "layers": 2, "width": 4},
        "sample": {"images": 1, "tiles": 1, "image_tokens": 8, "text_tokens": 3},
        "settings": {"device": "cpu", "dtype": "float32", "attention": "sdpa", "threads": 1, "rounds": 3},
        "hardware": {"cpu": "A processor", "gpus": []}, "code": {"version": "0.1.0"},
        "packages": {"torch": "2", "transformers": "5"}, "strategies": [vanilla, fastv],
        "batches": {"4": batch}, **changes,
    }  # fmt: skip


def write_bench(folder, name, record):
    """Puts a record, or a text in its place, beneath folder/bench."""
    path = folder / "bench" / "mini576" / name / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(record if isinstance(record, str) else json.dumps(record))
