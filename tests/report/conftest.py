"""Records as the runner writes them, in small."""

import pytest
from report_records import FIELDS, LLAVA_15, TABLE_5, TFLOPS, TOKENS, entry, wait_for_judge

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import Run, load_records


@pytest.fixture
def add_run(tmp_path):
    """Writes a run to `tmp_path / "runs"`: `add_run("fastv", {"mme": 1500.0, ...}, n=200, **settings)`.

    kind: the model's architecture, patches, size and training. judge: benchmarks whose answers wait for one.
    """

    def add(
        strategy, scores, *, n=200, complete=True, model="mini576", kind=LLAVA_15, suite="mini",
        source="rendered", commit="c" * 40, training=None, judge=(), efficiency=None, **settings,
    ):  # fmt: skip
        fields = {**FIELDS.get(strategy, {"_target_": "a.B"}), **settings.pop("fields", {})}
        config = {
            "strategy": fields,
            "seed": 1,
            "batch_size": 8,
            "dtype": "float32",
            "limit": None,
            **settings,
        }
        header = {
            "config": config,
            "seed": config["seed"],
            "limit": config["limit"],
            "batch_size": config["batch_size"],
            "code": {"version": "0.1.0", "commit": commit, "dirty": False},
            "model": {
                "name": model,
                "sha256": "ab" * 32,
                "dtype": config["dtype"],
                **kind,
                "training": training,
            },
            "strategy": {"name": strategy, "fields": {}},
            "suite": {"name": suite, "source": source},
            "efficiency": {
                "image_tokens": 144,
                "image_tokens_per_layer": TOKENS.get(strategy, [144] * 8),
                "tflops": TFLOPS.get(strategy, 0.0003),
                "convention": "multiply-adds, image tokens only",
                "kv_cache_bytes": 1_179_648,
                **(efficiency or {}),
            },
        }
        identity = {"config": config, "model": model, "kind": kind, "suite": suite, "commit": commit}
        with Run.open(tmp_path / "runs", model, strategy, identity, header) as run:
            for benchmark, score in scores.items():
                run.add_task(benchmarks()[benchmark].task, entry(strategy, benchmark, score, n), [])
            if complete:
                run.complete()
        if judge:
            wait_for_judge(run.folder / "record.json", judge, n)
        return run

    return add


@pytest.fixture
def leave(tmp_path, monkeypatch, capsys):
    """Calls a command's `main` in the test's own folder: its exit status and what it said."""

    def call(main, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        try:
            main()
        except SystemExit as leaving:
            return leaving.code, capsys.readouterr()
        return 0, capsys.readouterr()

    return call


@pytest.fixture
def all_scores():
    """MME, and the same number for every other benchmark; Table 5's unless others are named."""

    def make(mme, others, keys=TABLE_5):
        return {key: mme if key == "mme" else others for key in keys}

    return make


@pytest.fixture
def runs(tmp_path):
    """What the tables see of the records that were written."""
    return lambda: to_runs(load_records(tmp_path / "runs"))
