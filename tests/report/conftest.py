"""Records as the runner writes them, in small."""

import pytest

from pdrop_eval.records import Run

FIELDS = {
    "vanilla": {"_target_": "pdrop_eval.strategies.vanilla.Vanilla"},
    "fastv": {"_target_": "pdrop_eval.strategies.fastv.FastV", "k": 2, "r": 0.5},
    "pdrop": {"_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop", "ratio": 0.5, "stages": 4},
}
TASKS = {
    "mme": "mme", "scienceqa_img": "scienceqa_image", "mmbench_cn_dev": "mmbench_cn", "gqa": "gqa",
    "pope": "pope", "textvqa_val": "textvqa", "chartqa": "chartqa", "docvqa_val": "docvqa",
}  # fmt: skip
TOKENS = {"vanilla": [144] * 8, "fastv": [144] * 2 + [72] * 6, "pdrop": [144, 144, 72, 72, 36, 36, 18, 18]}
TFLOPS = {"vanilla": 0.000412, "fastv": 0.000251, "pdrop": 0.000187}


@pytest.fixture
def add_run(tmp_path, monkeypatch):
    """Writes a run to `tmp_path / "runs"`: `add_run("fastv", {"mme": 1500.0, ...}, n=200, **settings)`."""

    monkeypatch.setattr("os.fsync", lambda _: None)  # only slow here; test_records keeps it

    def add(
        strategy, scores, *, n=200, complete=True, model="mini", suite="table5", commit="c" * 40, **settings
    ):
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
            "model": {"name": model, "sha256": "ab" * 32, "dtype": config["dtype"]},
            "strategy": {"name": strategy, "fields": {}},
            "suite": {"name": suite, "source": "rendered"},
            "efficiency": {
                "image_tokens": 144,
                "image_tokens_per_layer": TOKENS.get(strategy, [144] * 8),
                "tflops": TFLOPS.get(strategy, 0.0003),
                "convention": "multiply-adds, image tokens only",
                "kv_cache_bytes": 1_179_648,
            },
        }
        identity = {"config": config, "model": model, "suite": suite, "commit": commit}
        with Run.open(tmp_path / "runs", model, strategy, identity, header) as run:
            for task, benchmark in TASKS.items():
                if benchmark in scores:
                    result = {"benchmark": benchmark, "metric": "m", "score": scores[benchmark], "n": n}
                    run.add_task(
                        task,
                        {
                            **result,
                            "stderr": 2.0,
                            "tflops_mean": TFLOPS.get(strategy),
                            "data_sha256": f"data of {task}",
                        },
                        [],
                    )
            if complete:
                run.complete()
        return run

    return add


@pytest.fixture
def all_scores():
    """Eight scores: MME and the same number everywhere else."""

    def make(mme, others):
        return {benchmark: mme if benchmark == "mme" else others for benchmark in TASKS.values()}

    return make
