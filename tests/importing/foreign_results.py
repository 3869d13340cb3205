"""Small results of other programs, in their forms, and a run of ours that was asked the same."""

import csv
import hashlib
import json
from pathlib import Path

from openpyxl import Workbook

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.store import Run
from pdrop_eval.run.importing.cli import import_results
from pdrop_eval.run.importing.spec import read_settings

DATE = "20260102_030405"


def importing(*arguments):
    """What `pdrop-eval-import` does: the record, and whether it is new."""
    return import_results(read_settings(["name=fork", "results=out", *arguments]), "pdrop-eval-import ...")


def stored(record, task):
    """The samples of an imported task."""
    text = (Path(record["folder"]) / "samples" / f"{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(one) for one in text.splitlines()]


def prompt(number):
    return f"What colour is shape {number}?\nAnswer the question using a single word or phrase."


def our_run(root, marks, key="gqa", of_picture=1, **more):
    """A run of ours: question i is answered rightly where marks[i]; `of_picture` of them are about one."""
    samples = [
        {
            "doc_id": i, "prompt": prompt(i), "target": "red", "answer": "red" if mark else "blue",
            "score": float(mark), "cluster": i // of_picture,
            "content_sha256": hashlib.sha256(prompt(i).encode()).hexdigest(),
            "images_sha256": hashlib.sha256(str(i // of_picture).encode()).hexdigest(),
            **{name: values[i] for name, values in more.items()},
        }
        for i, mark in enumerate(marks)
    ]  # fmt: skip
    entry = {"benchmark": key, "metric": benchmarks()[key].metric, "n": len(marks), "data_sha256": "d" * 64}
    entry["score"] = benchmarks()[key].rule.score(samples)
    head = {
        "limit": None,
        "model": {
            "name": "mini", "architecture": "llava-1.5", "patches": 1, "size": "mini", "train": "vanilla",
            "train_ratio": None, "sha256": "ab" * 32,
        },
        "strategy": {"name": "vanilla", "fields": {}},
        "suite": {"name": "mini", "source": "rendered"},
        "efficiency": {"tflops": 0.000412, "image_tokens": 144, "image_tokens_per_layer": [144] * 8},
    }  # fmt: skip
    with Run.open(root, "mini", "vanilla", {"of": key, "marks": list(marks)}, head) as run:
        run.add_task(benchmarks()[key].task, entry, samples)
        run.complete()
    return run.folder


def line(number, score, metric="exact_match", **more):
    """A line of lmms-eval's log, as version 0.7.3 writes it."""
    answer = "red" if score else "blue"
    return {
        "doc_id": number, "target": "red", "filtered_resps": answer, "doc_hash": "7" * 64, metric: score,
        "input": prompt(number), **more,
    }  # fmt: skip


def lmms_eval_log(folder, tasks, scores=None, counts=None, args="pretrained=a/fork", date=DATE, results=True):
    """Writes the log of a run: its samples by task, and its results, with the numbers of samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, lines in tasks.items():
        text = "".join(json.dumps(one) + "\n" for one in lines)
        (folder / f"{date}_samples_{task}.jsonl").write_text(text, encoding="utf-8")
    sizes = {task: {"original": len(lines), "effective": len(lines)} for task, lines in tasks.items()}
    found = {
        "results": {task: {"exact_match,none": (scores or {}).get(task)} for task in tasks},
        "configs": {}, "n-samples": {**sizes, **(counts or {})}, "lmms_eval_version": "0.7.3",
        "config": {"model": "llava_hf", "model_args": f"{args},device_map=cpu", "limit": None},
    }  # fmt: skip
    if results:
        (folder / f"{date}_results.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


def sheet(path, rows):
    """Writes rows as .xlsx, .tsv, .csv or .json, by the name's end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heads = list(rows[0])
    if path.suffix == ".xlsx":
        book = Workbook()
        for row in [heads, *([row.get(head) for head in heads] for row in rows)]:
            book.active.append(row)
        book.save(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", quoting=csv.QUOTE_ALL)
            writer.writerows([heads, *([row.get(head) for head in heads] for row in rows)])
    return path
