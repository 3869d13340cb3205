"""Samples and runs for tests of the statistics, small enough to work out by hand."""

import json

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.paired.pairing import Pairs


def sample(place, score, **more):
    """A question's sample; of a picture of its own, unless `cluster` says otherwise."""
    answer = more.pop("answer", "right" if score else "wrong")
    named = {"content_sha256": f"question {place}", "images_sha256": f"picture {place}", "target": "right"}
    return {"doc_id": place, "score": float(score), "cluster": place, "answer": answer, **named, **more}


def marks(*scores, size=1, **more):
    """A sample for each score; `size` of them about one picture."""
    return [sample(i, score, cluster=i // size, **more) for i, score in enumerate(scores)]


def pairs(before, after, benchmark="gqa"):
    """Pairs of samples that stand in the same order."""
    return Pairs(benchmark, list(zip(before, after, strict=True)))


def pope(*rows):
    """Samples of POPE: (part, target, answer), each about a picture of its own."""
    return [
        sample(i, said == truth, part=part, target=truth, answer=said)
        for i, (part, truth, said) in enumerate(rows)
    ]


def mme(*rows):
    """Samples of MME: (category, right, right), each row about one picture."""
    return [
        sample(2 * i + j, mark, cluster=i, part=category)
        for i, (category, *both) in enumerate(rows)
        for j, mark in enumerate(both)
    ]


def write_run(folder, samples, score, benchmark="gqa", **entry):
    """A run with one benchmark, and its samples on disk."""
    (folder / "samples").mkdir(parents=True)
    path = folder / "samples" / f"{benchmarks()[benchmark].task}.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in samples), encoding="utf-8")
    counted = sum(one.get("score") is not None for one in samples)
    result = {"benchmark": benchmark, "status": "scored", "score": score, "n": counted, **entry}
    record = {"run_id": folder.name, "folder": str(folder), "model": {"name": "mini"}}
    return Run(record, "vanilla", [], None, {benchmark: result})
