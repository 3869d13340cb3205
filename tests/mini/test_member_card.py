"""Model cards say what the records say, and measure what no record has."""

import json
from pathlib import Path

import pytest
import torch

from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.models.pictures.tiling import pinpoints
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.records.store import Run
from pdrop_eval.utils.errors import UserError
from tools.mini.cards import card, member_card, member_page
from tools.mini.cards.member import Member
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
    """A run of these weights with PyramidDrop (`ratio` None: without), of the tasks that `answers` has."""
    strategy, target = ("pdrop", "pyramiddrop.PyramidDrop") if ratio else ("vanilla", "vanilla.Vanilla")
    settings = {"_target_": f"pdrop_eval.strategies.{target}"} | ({"ratio": ratio} if ratio else {})
    config = {"strategy": settings}
    header = {
        "config": config,
        "limit": limit,
        "model": {
            "name": "mini_pdrop_04", "sha256": checkpoint_sha256(folder, None), "size": "mini", "patches": 1,
            "architecture": "llava-1.5", "train": "pdrop", "train_ratio": 0.4, **kind,
        },
        "strategy": {"name": strategy, "fields": {}},
        "suite": {"name": "mini", "source": "rendered"},
    }  # fmt: skip
    with Run.open(root, "mini_pdrop_04", strategy, {"config": config}, header) as run:
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
    assert f"make eval STRATEGY=pdrop ARGS='strategy.ratio=0.4 model.pretrained={member}'\n" in text
    assert "It began with `mini_base`." in text
    assert "It goes back to `mini_base`, whose training decides" in text
    assert "What was aimed at" not in text
    assert "| instruct | 700" in " ".join(text.split())
    of_data = "instruct.json (3,000 conversations, sha256 dddddddddddd)"
    of_run = ("11,200", "0.312", "1.5 PFLOPs", "train projector+decoder", "Seed 0.", "CPU hours")
    for said in (*of_run, of_data, "Theory: multiply-adds"):
        assert said in text, said
    assert "No evaluation record of these weights" in text
    assert "Measured when this card was written." in text
    kept = json.loads((member / "card.json").read_text(encoding="utf-8"))
    assert "targets" not in kept
    assert set(kept["exact_match"]) == {"image", "blank image", "best constant answer"}
    assert kept["exact_match"]["image"] == kept["exact_match"]["blank image"]


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
    kept = json.loads((member / "card.json").read_text(encoding="utf-8"))
    assert kept["exact_match"]["image"]["gqa"] == 1.0
    text = (member / "README.md").read_text(encoding="utf-8")
    assert "61.2 ± 3.9" in text  # 1.96 * 2.0
    assert f"The answers with the image are those of the record {run}, but for MM-Vet." in text
    assert "100.0 (n=" in text


def test_the_first_half_of_the_questions_is_enough_of_a_record(member, measured, tmp_path):
    """LLaVA-NeXT is asked 120 of each task; what no record has is asked as often."""
    answers = {task: ["yes"] * 120 for task in suite.TASKS if task != "mmvet"}
    run = evaluated(tmp_path / "runs", member, answers, limit=120)
    member_card.write_card(member, tmp_path / "runs", blank=4)
    assert [(asked[2], asked[3]) for asked in measured] == [(120, ("mmvet",)), (4, suite.TASKS)]
    text = (member / "README.md").read_text(encoding="utf-8")
    assert f"records {run} on the first 120 questions)" in text
    assert "to the first 120 questions of each task" in text
    assert "With a blank image, the first 4 were asked" in text


@pytest.mark.parametrize("other", [{"limit": 3}, {"ratio": 0.5}, {"patches": 5}])
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


def test_another_number_of_tiles_cuts_tall_pictures_alone_otherwise(member):
    config = {"model_type": "llava_next", "vision_config": {"image_size": 192}}
    tiled = Member(member, "next", None, {**config, "image_grid_pinpoints": pinpoints("p9", 192)})
    assert tiled.patches == 9
    assert {task: member_card.cuts_alike(task, 5, tiled) for task in ("gqa", "infovqa_val", "mme")} == {
        "gqa": True, "infovqa_val": False, "mme": False,
    }  # fmt: skip
    assert member_card.cuts_alike("infovqa_val", 9, tiled)
    assert not member_card.cuts_alike("gqa", 5, Member.of(member))  # of one tile


@pytest.fixture
def undropped(member):
    """The same miniature as if it was trained without dropping, from the family's start."""
    record = {
        **RECORD,
        "name": "mini576",
        "strategy": {"name": "vanilla"},
        "base": {"name": "mini576_base", "sha256": "b" * 64},
    }
    (member / "training_record.json").write_text(json.dumps(record))
    return member


def test_what_was_aimed_at_is_measured_where_strategies_are_compared(undropped, measured, tmp_path):
    member_card.write_card(undropped, tmp_path / "runs", questions=4, blank=2)
    (image, blank, renumbered, kept, half) = measured
    assert (image[:3], blank[:3]) == ((None, False, 4), (None, True, 2))
    assert [one[1:3] for one in (renumbered, kept, half)] == [(False, 2)] * 3
    assert (renumbered[0].ratio, renumbered[0].positions) == (0.5, "renumber")
    assert (kept[0].ratio, kept[0].positions) == (0.5, "keep")
    assert (half[0].k, half[0].r) == (4, 0.9)  # of 8 layers
    found = json.loads((undropped / "card.json").read_text(encoding="utf-8"))["targets"]
    assert [*found][1:] == ["cost of 10% after 4 layers", "cost of renumbering under PyramidDrop"]
    assert found["cost of 10% after 4 layers"]["points"] == [0, 0, 0]  # it always says yes
    text = (undropped / "README.md").read_text(encoding="utf-8")
    assert "the first 2 of each task, in the mean over 16 tasks" in " ".join(text.split())
    assert "| cost of 10% after 4 layers | under 3 | 0.0 [0.0, 0.0] | met |" in text
    assert "Held\nout: PyramidDrop, DART, VisPruner, HiRED, CDPruner." in text
    assert "make eval STRATEGY=vanilla MODEL=mini576\n" in text
    assert "It goes back to `mini576_base`, which was trained while image tokens were left out" in text


def test_a_page_is_written_again_with_the_order_of_strategies_and_nothing_is_asked(
    undropped, measured, tmp_path, monkeypatch
):
    page = tmp_path / "rank.md"
    monkeypatch.setattr(card, "RANK", page)
    answers = {task: ["yes"] * 240 for task in suite.TASKS}
    evaluated(tmp_path / "runs", undropped, answers, ratio=None)
    member_card.write_card(undropped, tmp_path / "runs", blank=2)
    before, asked = (undropped / "README.md").read_text(encoding="utf-8"), len(measured)
    assert "61.2 ± 3.9" in before
    member_card.write_again(undropped)
    assert (undropped / "README.md").read_text(encoding="utf-8") == before
    short = checkpoint_sha256(undropped, None)[:12]
    page.write_text(f"| a | b |\n\nMeasured on mini576, checkpoint {short}.\n")
    member_card.write_again(undropped)
    after = (undropped / "README.md").read_text(encoding="utf-8")
    told = "Not measured of these weights: `make rank`, which writes this card again."
    assert after == before.replace(told, "| a | b |") != before
    assert len(measured) == asked


def test_only_a_card_of_this_version_is_written_again(member):
    member_card.write_again(member)
    assert not (member / "README.md").exists()
    (member / "card.json").write_text(json.dumps({"exact_match": {}, "answers": {}}))
    with pytest.raises(UserError, match="of an earlier version"):
        member_card.write_again(member)


@pytest.mark.parametrize(
    ("name", "ratio", "commands"),
    [
        ("mini576_pdrop_05", 0.5, ["make eval STRATEGY=pdrop MODEL=mini576_pdrop_05"]),
        (
            "mini576_next",
            None,
            [f"make eval STRATEGY=vanilla MODEL=mini576_next_{grids}" for grids in ("p5", "p9")],
        ),
        (
            "mini576_next_pdrop_05",
            0.5,
            [f"make eval STRATEGY=pdrop MODEL=mini576_next_{grids}_pdrop_05" for grids in ("p5", "p9")],
        ),
    ],
)
def test_the_command_names_each_model_that_reads_these_weights(name, ratio, commands):
    strategy = {"name": "vanilla"} if ratio is None else {"name": "pdrop", "ratio": ratio}
    grids = [[384, 384], [768, 384]] if "next" in name else None
    config = {
        "model_type": "llava_next" if grids else "llava",
        "vision_config": {"image_size": 192},
        "image_grid_pinpoints": grids,
    }
    found = Member(Path(name), name, Training.of({"strategy": strategy}), config)
    assert member_page._evaluate(found).splitlines() == commands
    if grids:
        assert found.patches == 9
        assert member_page._images(found).startswith("an overview and up to 4 or 8 tiles of 192 × 192 pixels")
        served = " and ".join(f"`{command.split('MODEL=')[1]}`" for command in commands)
        assert f"One checkpoint serves {served}" in member_page._what(found)


def test_without_a_training_record_there_is_no_card(member, tmp_path):
    (member / "training_record.json").unlink()
    with pytest.raises(UserError, match=r"has no training_record.json"):
        member_card.write_card(member, tmp_path)


def test_a_vanilla_training_drops_nothing():
    assert member_card.own_strategy(Training.of({"strategy": {"name": "vanilla"}})) is None
    assert member_card.own_strategy(Training.of({})) is None
