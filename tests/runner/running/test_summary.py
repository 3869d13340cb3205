"""What is printed at the end of a run."""

from types import SimpleNamespace

from hydra.types import RunMode

from pdrop_eval.run.evaluate import summary
from pdrop_eval.strategies.registry import StrategyInfo


def test_the_summary_says_what_is_missing_for_the_table(tmp_path, monkeypatch):
    record = {"strategy": {"name": "pdrop"}, "config": {"results": "elsewhere"}}
    path = tmp_path / "pdrop-1" / "record.json"
    path.parent.mkdir()
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert summary._next(record, path) == "the same command with strategy=vanilla"
    (tmp_path / "vanilla-1").mkdir()
    assert summary._next(record, path) == "the same command with strategy=fastv"
    monkeypatch.setenv("MAKELEVEL", "1")
    assert summary._next(record, path) == "the same command with STRATEGY=fastv"
    (tmp_path / "fastv-1").mkdir()
    assert summary._next(record, path) == "make tables ARGS='root=elsewhere'"
    monkeypatch.delenv("MAKELEVEL")
    assert summary._next(record, path) == ".venv/bin/pdrop-eval-tables root=elsewhere"


def test_what_another_strategy_can_not_take_is_to_be_left_out(tmp_path, monkeypatch):
    path = tmp_path / "fastv-1" / "record.json"
    path.parent.mkdir()
    monkeypatch.delenv("MAKELEVEL", raising=False)
    record = {
        "strategy": {"name": "fastv"},
        "config": {"results": "elsewhere"},
        "changes": ["strategy.k=3", "dtype=float16", "strategy.r=0.75"],
    }
    said = "the same command with strategy=vanilla"
    assert summary._next(record, path) == f"{said}, without strategy.k, strategy.r"
    record = {**record, "strategy": {"name": "visionzip+fastv"}, "changes": ["strategy.fastv.k=3"]}
    assert summary._next(record, path) == f"{said}, without combine"


def test_a_sweep_gives_no_advice_to_run_what_it_is_about_to_run(tmp_path, monkeypatch):
    record = {"strategy": {"name": "vanilla"}, "config": {"results": "results/runs"}}
    path = tmp_path / "vanilla-1" / "record.json"
    path.parent.mkdir()
    assert not summary._goes_on(record, path)
    monkeypatch.setattr(summary.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(summary.HydraConfig, "get", lambda: SimpleNamespace(mode=RunMode.MULTIRUN))
    assert summary._goes_on(record, path)
    for strategy in ("fastv", "pdrop"):
        (tmp_path / f"{strategy}-1").mkdir()
    assert not summary._goes_on(record, path)


def test_the_time_and_the_images_are_summed_up():
    def entry(seconds, model, images, encoded):
        return {
            "wall_seconds": seconds,
            "usage": {"model_seconds": model, "images": images, "encoded": encoded},
        }

    entries = [entry(3.2, 2.5, 240, 140), entry(2.0, 1.9, 1000, 0)]
    assert summary._usage(entries) == [
        "5 s, 4 of them the model's; 140 of 1,240 images encoded, the others shared"
    ]
    assert summary._usage([*entries, {"wall_seconds": 1.0}]) == []


def test_the_summary_names_the_papers_strategies_and_ones_own_and_under_a_budget_those_that_take_one(
    tmp_path, monkeypatch
):
    record = {"strategy": {"name": "pdrop"}, "config": {"results": "elsewhere"}}
    path = tmp_path / "pdrop-1" / "record.json"
    (tmp_path / "fastv-1").mkdir()
    path.parent.mkdir()
    known = {**summary.installed(), "spread": StrategyInfo("spread", solved_fields=("r",))}
    monkeypatch.setattr(summary, "installed", lambda: known)
    monkeypatch.setattr(summary, "options", lambda _: [*known, "a_preset"])
    assert summary._not_there(record, path) == ["vanilla", "spread"]
    assert summary._not_there({**record, "budget": {"asked": {"share": 0.5}}}, path) == ["spread"]
