"""Two small records on disk, as the runner writes them, and the command that compares them."""

import hashlib
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.store import Run
from pdrop_eval.report.compare import cli

RIGHT, WRONG = "yes", "no"


def answers(n, wrong=(), prompt="Question {}?", target="yes"):
    """n questions, each about a picture of its own; those in `wrong` are answered wrongly."""
    return [
        {
            "doc_id": i,
            "prompt": prompt.format(i),
            "target": target,
            "answer": WRONG if i in wrong else RIGHT,
            "score": 0.0 if i in wrong else 1.0,
            "cluster": i,
            "content_sha256": hashlib.sha256(prompt.format(i).encode()).hexdigest(),
            "images_sha256": hashlib.sha256(str(i).encode()).hexdigest(),
        }
        for i in range(n)
    ]


def record(root, strategy, complete=True, judge=(), header=None, **tasks):
    """Writes a run with the samples of some tasks, by benchmark; returns its folder.

    The benchmarks must score the mean of their questions, such as gqa, textvqa, vqav2 and scienceqa_image.
    """
    config = {"strategy": {"_target_": "a.B"}, "dtype": "float32", "device": "cpu", "limit": None}
    common = {
        "command": f"pdrop-eval strategy={strategy}",
        "config": config,
        "limit": None,
        "code": {"version": "0.1.0", "commit": "c" * 40, "dirty": False},
        "packages": {"torch": "2.13.0"},
        "hardware": {"cpu": "a processor", "gpus": []},
        "model": {"name": "mini", "sha256": "ab" * 32, "dtype": "float32"},
        "strategy": {"name": strategy, "fields": {}},
        "suite": {"name": "mini", "source": "rendered"},
    }
    identity = {"strategy": strategy, "header": header, "n": {k: len(v) for k, v in tasks.items()}}
    with Run.open(root, "mini", strategy, identity, {**common, **(header or {})}) as run:
        for key, samples in tasks.items():
            n = len(samples)
            entry = {"benchmark": key, "metric": "m", "n": n, "data_sha256": "d" * 64}
            if key in judge:
                entry |= {"status": "needs_judge", "score": None}
                run.add_task(benchmarks()[key].task, entry, samples, {"1": "an answer"})
            else:
                score = 100 * sum(sample["score"] for sample in samples) / n
                run.add_task(benchmarks()[key].task, {**entry, "score": score}, samples)
        if complete:
            run.complete()
    return run.folder


def command(monkeypatch, *arguments):
    """Runs the console script in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["pdrop-eval-compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    return leaving.value.code


# 60 questions: all right; 3 of them wrong, which are 5 points less; half of them wrong.
GOOD, WORSE, BAD = answers(60), answers(60, wrong=range(3)), answers(60, wrong=range(30))


def written(kind):
    return Path(f"out/x.{kind}").read_text(encoding="utf-8")


def junit():
    (suite,) = ElementTree.fromstring(written("xml"))
    return suite
