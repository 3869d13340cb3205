"""The same configuration gives the same bytes on a CPU, and numbers that broke down are no answers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from asking_model import make, requests, texts
from omegaconf import OmegaConf

from pdrop_eval.records.store import load_records
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.run.evaluate.header import determinism
from pdrop_eval.run.lmms.generation import FiniteLogits, NonFiniteLogitsError
from pdrop_eval.utils.errors import SampleError

pytestmark = pytest.mark.usefixtures("lmms_eval")
QUICK = ["tasks=[gqa,mme]", "limit=4"]


def run(llava, data, results, *overrides, strategy="pdrop"):
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={results}", *QUICK]
    return cli.evaluate(compose_spec([*given, *overrides]))


@pytest.mark.thin(1)
@pytest.mark.parametrize("strategy", ["vanilla", "fastv", "pdrop"])
def test_the_same_configuration_gives_the_same_bytes(strategy, llava, data, tmp_path):
    records = [run(llava, data, tmp_path / name, f"strategy={strategy}", strategy=strategy) for name in "ab"]
    folders = [Path(record["folder"]) for record in records]
    for task in ("gqa", "mme"):
        first, second = ((folder / "samples" / f"{task}.jsonl").read_bytes() for folder in folders)
        assert first == second
        assert first.count(b"\n") == 4
        timed = {"wall_seconds", "usage"}
        one, two = ({k: v for k, v in r["tasks"][task].items() if k not in timed} for r in records)
        assert one == two


def test_workers_and_cache_change_no_byte(llava, data, tmp_path):
    plain = run(llava, data, tmp_path / "a", "workers=0", "feature_cache=0")
    usual = run(llava, data, tmp_path / "b")
    assert plain["run_id"] == usual["run_id"]
    first, second = ((Path(r["folder"]) / "samples" / "gqa.jsonl").read_bytes() for r in (plain, usual))
    assert first == second


@pytest.mark.parametrize(("device", "repeatable"), [("cpu", True), ("cuda:1", False), ("mps", False)])
def test_the_record_says_what_is_repeatable(device, repeatable):
    said = determinism(OmegaConf.create({"device": device, "dtype": "float32"}), threads=3)
    assert said["repeatable"] is repeatable
    assert said["not_fixed"]
    assert said["batch_size"] == f"answers {'do not' if repeatable else 'may'} depend on it"
    assert said["threads"] == (3 if repeatable else None)


def test_scores_that_are_finite_pass_and_forbidden_tokens_do_too():
    watch, minus = FiniteLogits(), float("-inf")
    scores = torch.tensor([[1.0, minus], [0.0, 2.0]])
    assert watch(torch.zeros(2, 1), scores) is scores


@pytest.mark.parametrize("bad", [[float("nan"), 1.0], [float("inf"), 1.0], [float("-inf"), float("-inf")]])
def test_scores_that_are_not_stop_with_their_rows(bad):
    watch = FiniteLogits()
    watch(torch.zeros(3, 1), torch.zeros(3, 2))
    with pytest.raises(NonFiniteLogitsError, match="not finite at new token 2") as raised:
        watch(torch.zeros(3, 2), torch.tensor([[0.0, 1.0], bad, [1.0, 0.0]]))
    assert raised.value.rows == [1]


@pytest.mark.parametrize("beams", [1, 2])
def test_a_sample_whose_numbers_break_down_is_named_alone(llava, beams):
    model = make(llava, batch_size=5)
    asked = requests(model, num_beams=beams)
    whole = texts(model.generate_until(asked))
    assert len(whole) == 5

    encoded = model.encoded

    def broken(batch, needs):
        asked = [question.request.args[3] for question in batch for _ in question.pictures]
        found = encoded(batch, needs)
        return [
            replace(one, tokens=one.tokens * float("nan")) if number == 3 else one
            for number, one in zip(asked, found, strict=True)
        ]

    model.encoded = broken
    with pytest.raises(SampleError, match=r"^task quiz, sample 3 can't be answered: .*logits are not finite"):
        model.generate_until(asked)


def test_a_run_with_such_a_sample_fails_and_says_so(llava, data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        FiniteLogits, "__call__", lambda *_: (_ for _ in ()).throw(NonFiniteLogitsError([0], 1))
    )
    with pytest.raises(SampleError, match="task mme, sample "):
        run(llava, data, tmp_path)
    [record] = load_records(tmp_path)
    assert record["status"] == "failed"
    assert "logits are not finite" in record["error"]
    assert record["tasks"] == {}
