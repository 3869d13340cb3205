"""Model cards say what the records say, and measure what no record has."""

import json

import pytest
import torch

from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.records.store import Run
from pdrop_eval.utils.errors import UserError
from tools.mini.cards import member_card
from tools.mini.next import save_next
from tools.mini.training.model import build_model, build_processor

pytestmark = pytest.mark.slow  # the whole suite is rendered

PHASE = {
    "name": "instruct",
    "steps": 700,
    "samples": 11200,
    "loss": 0.3125,
    "device_hours": 0.5,
    "seed": 0,
    "hyperparameters": {"batch_size": 16, "learning_rate": 0.001, "train": ["projector", "decoder"]},
    "data": [{"file": "instruct.json", "sha256": "d" * 64, "conversations": 3000}],
    "flops": {"image_tokens": 1.5e15, "all_tokens": 2e15, "convention": "multiply-adds"},
    "hardware": "A processor",
}
RECORD = {
    "name": "mini_pdrop_04",
    "strategy": {"name": "pdrop", "ratio": 0.4},
    "base": {"name": "mini_base", "sha256": "b" * 64},
    "phases": [PHASE],
    "device_hours": 0.5,
    "device_label": "CPU hours",
    "training_flops": 1.5e15,
    "seed": 0,
}


@pytest.fixture
def member(tmp_path):
    """An untrained miniature with a training record."""
    folder = tmp_path / "mini_pdrop_04"
    torch.manual_seed(0)
    build_model().to(torch.bfloat16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    (folder / "training_record.json").write_text(json.dumps(RECORD))
    return folder


@pytest.fixture(scope="module")
def questions():
    """The suite without its pictures, rendered once for all cards."""
    return {task: [(None, *rest) for _, *rest in suite.render(task)] for task in suite.TASKS}


@pytest.fixture
def measured(monkeypatch, questions):
    """What the model is asked, in the place of asking it: it always says yes."""
    asked = []
    for module in ("tools.mini.answer", "pdrop_eval.benchmarks.rendered.suite"):
        monkeypatch.setattr(f"{module}.render", lambda task, n=240: questions[task][:n])

    def answer_suite(model, processor, strategy=None, blank=False, questions=240, tasks=suite.TASKS):
        asked.append((strategy, blank, questions, tuple(tasks)))
        return {task: ["yes"] * questions for task in tasks}

    monkeypatch.setattr("tools.mini.answer.answer_suite", answer_suite)
    return asked


def evaluated(root, folder, answers, ratio=0.4, limit=None, **kind):
    """A run of these weights with PyramidDrop, of the tasks that `answers` has."""
    config = {"strategy": {"_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop", "ratio": ratio}}
    header = {
        "config": config,
        "limit": limit,
        "model": {
            "name": "mini_pdrop_04", "sha256": checkpoint_sha256(folder, None), "size": "mini", "patches": 1,
            "architecture": "llava-1.5", "train": "pdrop", "train_ratio": 0.4, **kind,
        },
        "strategy": {"name": "pdrop", "fields": {}},
        "suite": {"name": "mini", "source": "rendered"},
    }  # fmt: skip
    with Run.open(root, "mini_pdrop_04", "pdrop", {"config": config}, header) as run:
        for task, given in answers.items():
            from pdrop_eval.benchmarks.registry import by_task

            key = by_task()[task].key
            entry = {"benchmark": key, "metric": "m", "score": 61.25, "stderr": 2.0, "n": len(given)}
            samples = [{"doc_id": i, "answer": text, "score": 1.0} for i, text in enumerate(given)]
            run.add_task(task, entry, samples)
        run.complete()
    return run.folder.name


def test_a_card_is_made_of_the_record(member, measured, tmp_path):
    member_card.write_card(member, tmp_path / "runs", questions=2)
    text = (member / "README.md").read_text(encoding="utf-8")
    assert "# mini_pdrop_04\n" in text
    assert "trained with PyramidDrop, λ=0.4, on questions" in text
    assert "`LlavaForConditionalGeneration`, 2.2M parameters in bfloat16" in text
    assert "one tile of 96 × 96 pixels" in text
    assert "make eval STRATEGY=pdrop ARGS='strategy.ratio=0.4' MODEL=mini_pdrop_04" in text
    assert "It began with `mini_base`." in text
    assert "| instruct | 700" in " ".join(text.split())
    of_data = "instruct.json (3,000 conversations, sha256 dddddddddddd)"
    of_run = ("11,200", "0.312", "1.5 PFLOPs", "train projector+decoder", "Seed 0.", "CPU hours")
    for said in (*of_run, of_data, "Theory: multiply-adds"):
        assert said in text, said
    assert "No evaluation record of these weights" in text
    assert "Measured when this card was written." in text
    card = json.loads((member / "card.json").read_text(encoding="utf-8"))
    assert set(card["exact_match"]) == {"image", "blank image", "best constant answer"}
    assert card["exact_match"]["image"] == card["exact_match"]["blank image"]


def test_the_model_is_asked_with_the_strategy_of_its_training(member, measured, tmp_path):
    member_card.write_card(member, tmp_path / "runs", questions=2)
    (image, blank) = measured
    assert image[0].ratio == blank[0].ratio == 0.4
    assert (image[1:], blank[1:]) == ((False, 2, suite.TASKS), (True, 2, suite.TASKS))


def test_answers_and_scores_come_from_the_records_of_these_weights(member, measured, tmp_path):
    answers = {task: [q.answer for _, q, _ in suite.render(task)] for task in suite.TASKS if task != "mmvet"}
    run = evaluated(tmp_path / "runs", member, answers)
    member_card.write_card(member, tmp_path / "runs")
    assert [asked[3] for asked in measured] == [("mmvet",), suite.TASKS]
    assert [asked[2] for asked in measured] == [240, 60]
    card = json.loads((member / "card.json").read_text(encoding="utf-8"))
    assert card["exact_match"]["image"]["gqa"] == 1.0
    text = (member / "README.md").read_text(encoding="utf-8")
    assert "61.2 ± 3.9" in text  # 1.96 * 2.0
    assert f"The answers with the image are those of the record {run}, but for MM-Vet." in text
    assert "100.0 (n=" in text


@pytest.mark.parametrize("other", [{"limit": 3}, {"ratio": 0.5}])
def test_answers_of_another_setting_are_not_taken(member, measured, tmp_path, other):
    evaluated(tmp_path / "runs", member, {"gqa": ["yes"] * 240}, **other)
    member_card.write_card(member, tmp_path / "runs", questions=2)
    assert measured[0][3] == suite.TASKS


def test_answers_of_other_weights_are_not_taken(member, measured, tmp_path):
    evaluated(tmp_path / "runs", member, {"gqa": ["yes"] * 240})
    build_model().to(torch.bfloat16).save_pretrained(member)
    member_card.write_card(member, tmp_path / "runs", questions=2)
    assert "No evaluation record of these weights" in (member / "README.md").read_text(encoding="utf-8")


def test_a_card_changes_no_hash(member, measured, tmp_path):
    before = checkpoint_sha256(member, None)
    member_card.write_card(member, tmp_path / "runs", questions=2)
    assert checkpoint_sha256(member, None) == before


@pytest.mark.whole
@pytest.mark.slow
def test_a_llava_next_answers_and_its_chain_is_told(member, tmp_path):
    folder = save_next(member, "p5", tmp_path / "next")
    record = {**RECORD, "name": "mini_next_p5_pdrop_04", "base": {
        "name": "mini_pdrop_04", "as": "LLaVA-NeXT p5", "sha256": "c" * 64, "training": RECORD}}  # fmt: skip
    (folder / "training_record.json").write_text(json.dumps(record))
    member_card.write_card(folder, tmp_path / "runs", questions=1)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "A miniature LLaVA-NeXT" in text
    assert "an overview and up to 4 tiles of 96 × 96 pixels" in text
    assert "began with `mini_pdrop_04`, made into a LLaVA-NeXT p5, which began with `mini_base`." in text


def test_without_a_training_record_there_is_no_card(member, tmp_path):
    (member / "training_record.json").unlink()
    with pytest.raises(UserError, match=r"has no training_record.json"):
        member_card.write_card(member, tmp_path)


def test_a_vanilla_training_drops_nothing():
    assert member_card.own_strategy(Training.of({"strategy": {"name": "vanilla"}})) is None
    assert member_card.own_strategy(Training.of({})) is None
