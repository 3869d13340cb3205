"""What records of the tests are made of."""

import json

from pdrop_eval.benchmarks.registry import benchmarks

FIELDS = {
    "vanilla": {"_target_": "pdrop_eval.strategies.vanilla.Vanilla"},
    "fastv": {"_target_": "pdrop_eval.strategies.fastv.FastV", "k": 2, "r": 0.5},
    "pdrop": {"_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop", "ratio": 0.5, "stages": 4},
}
# The benchmarks of the paper's Table 5.
TABLE_5 = ("mme", "scienceqa_image", "mmbench_cn", "gqa", "pope", "textvqa", "chartqa", "docvqa")
TOKENS = {"vanilla": [144] * 8, "fastv": [144] * 2 + [72] * 6, "pdrop": [144, 144, 72, 72, 36, 36, 18, 18]}
TFLOPS = {"vanilla": 0.000412, "fastv": 0.000251, "pdrop": 0.000187}
LLAVA_15 = {
    "architecture": "llava-1.5",
    "patches": 1,
    "size": "mini576",
    "train": "vanilla",
    "train_ratio": None,
}
NEXT_P5 = {**LLAVA_15, "architecture": "llava-next", "patches": 5}
NEXT_P9 = {**NEXT_P5, "patches": 9}


def edit(run, change):
    """Changes a run's record on disk: `edit(run, lambda record: record.update(...))`."""
    path = run.folder / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def entry(strategy, benchmark, score, n):
    return {
        "benchmark": benchmark,
        "metric": "m",
        "score": score,
        "stderr": 2.0,
        "n": n,
        "tflops_mean": TFLOPS.get(strategy),
        "image_tokens_mean": 144.0,
        "image_tokens_max": 144,
        "data_sha256": f"data of {benchmark}",
    }


def wait_for_judge(path, keys, n):
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in keys:
        entry = {
            "status": "needs_judge",
            "benchmark": key,
            "metric": "m",
            "score": None,
            "stderr": None,
            "n": n,
        }
        record["tasks"][benchmarks()[key].task] = {**entry, "predictions": f"predictions/{key}.json"}
    path.write_text(json.dumps(record), encoding="utf-8")


def training_record(name="vanilla", ratio=None, **changes):
    """A training_record.json as pdrop-eval-train writes it, of one phase; `changes` are the phase's."""
    phase = {
        "name": "instruct",
        "steps": 700,
        "samples": 11200,
        "data": [{"file": "instruct.json", "sha256": "d" * 64, "conversations": 3000}],
        "hyperparameters": {"learning_rate": 1e-3, "per_device_batch": 16, "files": ["instruct.json"]},
        "seed": 0,
        "loss": 0.3125,
        "cpu_hours": 0.75,
        "hardware": "A processor, 1 thread(s) a process",
        "flops": {"image_tokens": 1.5e15, "all_tokens": 2.5e15, "convention": "multiply-adds"},
        "dtype": "bfloat16",
        **changes,
    }
    strategy = {"name": name, **({} if ratio is None else {"ratio": ratio})}
    return {
        "schema": 1,
        "name": "a model",
        "strategy": strategy,
        "base": {"pretrained": "embedded:mini", "sha256": "b" * 64},
        "phases": [phase],
        "device_hours": 1.26,
        "device_label": "CPU hours",
        "training_flops": phase["flops"]["image_tokens"],
        "seed": phase["seed"],
    }
