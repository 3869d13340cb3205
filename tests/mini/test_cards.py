"""Cards of trainings: each template can be filled, and nothing of other weights or stages gets into one."""

import json

import pytest

from pdrop_eval.benchmarks.rendered.suite import TASKS
from pdrop_eval.records import run_identity
from tools.mini.cards import card
from tools.mini.cards.targets import NAMES
from tools.mini.training.architectures import ARCHITECTURES

STAGES = ("vision", "joint", "together")
ANSWERS = {task: ["yes", "no"] for task in TASKS}
RUN = {"seed": 0, "processes": 2, "machine": "x86", "guided": 0.5} | {
    f"{stage}_{what}": 3 for stage in STAGES for what in ("steps", "minutes", "loss")
}


def shares(value):
    return dict.fromkeys(TASKS, value)


MEASURED = {"image": shares(0.8), "blank image": shares(0.2), "best constant answer": shares(0.3)}
AIMS = {"cost of dropping": {"aim": "under 3", "points": [0.02, 0.01, 0.03], "is_met": True}}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_card_can_be_written(architecture, tmp_path, monkeypatch):
    monkeypatch.setattr(run_identity, "checkpoint_sha256", lambda *_: "f" * 64)
    card.write_card(tmp_path, MEASURED, AIMS, ANSWERS, {**RUN, "architecture": architecture})
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"16 of {len(TASKS)} tasks" in text
    kept = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert (kept["targets"], kept["answers"]) == (AIMS, ANSWERS)


def test_the_order_of_strategies_is_told_of_these_weights_alone(tmp_path, monkeypatch):
    page = tmp_path / "rank.md"
    monkeypatch.setattr(card, "RANK", page)
    monkeypatch.setattr(run_identity, "checkpoint_sha256", lambda *_: "abc123def456" + "0" * 52)
    assert card.rank_table(tmp_path).startswith("Not measured of these weights")
    page.write_text("| a | b |\n\nMeasured on mini, checkpoint abc123def456.\n")
    assert card.rank_table(tmp_path) == "| a | b |"
    page.write_text("| a | b |\n\nMeasured on mini, checkpoint 000123def456.\n")
    assert card.rank_table(tmp_path).startswith("Not measured of these weights")


def log(folder, stages, name="training_log.jsonl"):
    entries = [
        {"stage": stage, "step": step, "seconds": 60 * step, "loss": 2.0 * step}
        | ({"answers": 0.5 * step, "validation": shares(0.5)} if stage == "together" else {})
        for stage in stages
        for step in (1, 2)
    ]
    (folder / name).write_text("\n".join(map(json.dumps, entries)))


def test_the_facts_of_a_training_are_of_its_own_stages(tmp_path):
    """The third stage's loss is of answers alone, in the mean of single steps: (.5 + 1) / 2."""
    log(tmp_path, STAGES)
    facts = card.training_facts(tmp_path, {"seed": 3, "together_steps": 9})
    assert (facts["together_steps"], facts["together_loss"], facts["together_minutes"]) == (2, 0.75, 2)
    assert (facts["joint_loss"], facts["seed"]) == (4.0, 3)
    log(tmp_path, STAGES[:2])
    assert "together_steps" not in card.training_facts(tmp_path, {"together_steps": 9})


def test_the_curve_goes_on_where_a_stage_ended(tmp_path):
    log(tmp_path, STAGES)
    entries, ends = card._answering(card._log(tmp_path))
    assert ends == [2]
    assert [(e["step"], e["loss"]) for e in entries] == [(1, 2.0), (2, 4.0), (3, 0.5), (4, 1.0)]
    card.draw_curve(tmp_path, 0)
    text = (tmp_path / "curve.svg").read_text()
    assert all(f"<!-- {NAMES[task]} -->" in text for task in TASKS)  # the legend of the accuracies


def test_a_training_without_a_stage_of_its_card_is_refused_before_anything_is_written(tmp_path):
    log(tmp_path, STAGES[:2], "log.jsonl")
    with pytest.raises(SystemExit, match="has no stage together"):
        card._check_stages(tmp_path, ARCHITECTURES["llava576"])
    card._check_stages(tmp_path, ARCHITECTURES["llava"])
