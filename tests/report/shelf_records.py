"""Records of a shelf, in small: runs at budgets with the samples by which they are compared."""

import hashlib

from report_records import LLAVA_15

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.stored_tally import stored_tally
from pdrop_eval.records.store import Run

KEYS = ("gqa", "textvqa")
YAML = """title: mine
layout: budgets
columns: [gqa, textvqa]
rows: {train: vanilla}
controls: [random, pool]
"""
BUDGET = {"tokens": None, "share": None, "tflops": None}
N = 100


def samples(right, n=N):
    """Answers to n questions about a picture each, the first `right` of them correct."""
    return [
        {
            "doc_id": i,
            "prompt": f"Question {i}?",
            "target": "yes",
            "answer": "yes" if i < right else "no",
            "score": float(i < right),
            "cluster": i,
            "content_sha256": hashlib.sha256(str(i).encode()).hexdigest(),
            "images_sha256": hashlib.sha256(f"picture {i}".encode()).hexdigest(),
        }
        for i in range(n)
    ]


def add(
    root,
    strategy,
    right,
    tokens=144,
    *,
    budget=None,
    keys=KEYS,
    adaptive=False,
    n=N,
    fields=None,
    name="mini576",
    seed=1,
    model=LLAVA_15,
    tally=False,
):
    """Writes a run whose benchmarks have so many right answers of n; `tokens` are those of every layer.

    budget: as in the configuration, such as {"tokens": 48}. adaptive: the record has no schedule. tally: it
    has what the samples add up to.
    """
    budget = {**BUDGET, **(budget or {})}
    config = {
        "strategy": {"_target_": "a.B", **(fields or {})},
        "seed": seed, "batch_size": 8, "dtype": "float32", "limit": n, "budget": budget,
    }  # fmt: skip
    tflops = tokens / 144 * 0.0004
    header = {
        "config": config,
        "limit": n,
        "batch_size": 8,
        "seed": seed,
        "code": {"version": "0.1.0", "commit": "c" * 40, "dirty": False},
        "model": {"name": "mini576", "sha256": "ab" * 32, "dtype": "float32", **model},
        "strategy": {"name": strategy, "fields": fields or {}},
        "suite": {"name": "mini", "source": "rendered"},
        "changes": [
            *(f"budget.{kind}={value}" for kind, value in budget.items() if value is not None),
            *(f"strategy.{key}={value}" for key, value in (fields or {}).items()),
            *([f"seed={seed}"] if seed != 1 else []),
        ],
        "efficiency": {
            "image_tokens": 144,
            "image_tokens_per_layer": None if adaptive else [tokens] * 8,
            "tflops": None if adaptive else tflops,
            "convention": "multiply-adds",
            **({"measured": True} if adaptive else {}),
        },
    }
    with Run.open(root, "mini576", strategy, {"config": config, "name": strategy}, header) as run:
        for key in keys:
            entry = {
                "benchmark": key, "metric": "m", "score": 100 * right / n, "stderr": 1.0, "n": n,
                "data_sha256": "d" * 64, "tflops_mean": tflops, "image_tokens_mean": 144.0,
                "image_tokens_max": 144,
                "retained_tokens_per_layer": [float(tokens)] * 8,
            }  # fmt: skip
            found = samples(right, n)
            kept = stored_tally(key, found) if tally else None
            run.add_task(benchmarks()[key].task, entry, found, tally=kept)
        run.complete()
    return run


def shelf(root, tally=False):
    """Vanilla, two controls and two strategies at 48 and 16 tokens, and one that decides itself."""
    add(root, "vanilla", 80, tally=tally)
    for tokens, random, pool, fastv, pdrop in ((48, 60, 40, 76, 59), (16, 20, 30, 20, 10)):
        add(root, "random", random, tokens, budget={"tokens": tokens}, tally=tally)
        add(root, "pool", pool, tokens, budget={"tokens": tokens}, tally=tally)
        add(root, "fastv", fastv, tokens, budget={"tokens": tokens}, tally=tally)
        add(root, "pdrop", pdrop, tokens, budget={"tokens": tokens}, tally=tally)
    add(root, "prumerge", 50, 36.5, adaptive=True, tally=tally)
