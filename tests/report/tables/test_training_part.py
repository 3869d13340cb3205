"""What tables say of how their models were trained, and that they warn of an unfair comparison."""

import copy

import pytest
from report_records import LLAVA_15, NEXT_P5, training_record

from pdrop_eval.records.rows.training_info import Training, differences
from pdrop_eval.report.formats.terminal import terminal
from pdrop_eval.report.readme.blocks import compact
from pdrop_eval.report.readme.reports import make_reports
from pdrop_eval.report.tables.fill import measured_parts
from pdrop_eval.report.tables.layout import measured_section, scores_grid
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.report.tables.training_part import training_grid
from pdrop_eval.utils.text.numbers import total_flops, total_flops_unit

KEYS = TABLES[1].benchmarks
PDROP = {"train": "pdrop", "train_ratio": 0.5}


@pytest.fixture
def pair(add_run, all_scores, runs):
    """Table 1's part for LLaVA-1.5 without dropping and with PyramidDrop, of these training records."""

    def make(vanilla, pdrop, kind=LLAVA_15):
        scores = all_scores(1400, 60.0, KEYS)
        add_run("vanilla", scores, kind=kind, training=vanilla)
        add_run("pdrop", scores, model="mini576_pdrop_05", kind={**kind, **PDROP}, training=pdrop)
        (part,) = measured_parts(TABLES[1], runs())
        return part

    return make


def notes(part):
    return [note.text for note in measured_section(part).notes]


def cells(grid, line=0, band=0):
    return dict(zip(grid.heads, [c.text for c in grid.bands[band].lines[line].cells], strict=True))


def test_hours_and_theoretical_flops_stand_side_by_side(pair):
    part = pair(training_record(), training_record("pdrop", 0.5, flops={"image_tokens": 9.87e14}))
    grid = scores_grid(part)
    assert grid.heads[1:4] == ["CPU hours", "Training TFLOPs", "#patches"]
    vanilla, pdrop = (cells(grid, line, band=1) for line in (0, 1))  # the second band: the first has no run
    # 1.5e15 and 9.87e14 multiply-adds; the smaller is below 1 PFLOPs
    assert (vanilla["CPU hours"], vanilla["Training TFLOPs"]) == ("1.3", "1.5e+03")
    assert pdrop["Training TFLOPs"] == "987"
    assert "Training" not in compact([part])


def test_the_unit_of_a_whole_training_suits_its_smallest():
    assert total_flops_unit([1.5e15, 2.4e18, None]) == "PFLOPs"
    assert total_flops_unit([None]) == "TFLOPs"
    assert total_flops_unit([7.6e18]) == "EFLOPs"
    assert total_flops(2.4e18, "PFLOPs") == "2.4e+03"
    assert total_flops(1.536e15, "PFLOPs") == "1.54"
    assert total_flops(None, "PFLOPs") == "-"


def test_what_it_took_to_train_is_a_grid_of_its_own(pair):
    part = pair(training_record(), training_record("pdrop", 0.5, loss=0.5))
    grid = training_grid(part)
    assert "multiply-adds" in grid.title
    assert cells(grid) == {
        "Trained": "vanilla",
        "#patches": "1",
        "Start": "embedded:mini bbbbbbbbbbbb",
        "Steps": "700",
        "Samples": "11,200",
        "Seed": "0",
        "Loss": "0.312",
        "CPU hours": "1.3",
        "Processor hours": "0.75",
        "PFLOPs image tokens": "1.5",
        "PFLOPs all tokens": "2.5",
    }
    assert cells(grid, 1)["Trained"] == "PDrop λ=0.5"


def test_all_formats_have_it_and_a_terminal_of_80_columns_too(pair, runs):
    pair(training_record(), training_record("pdrop", 0.5))
    (report,) = make_reports(runs(), "1")
    files = report.files()
    assert "training_flops,training_flops_all_tokens,training_steps" in files["table1.csv"]
    assert ",1.5e+15,2.5e+15,700,11200,0,embedded:mini bbbbbbbbbbbb," in files["table1.csv"]
    for name in ("table1.md", "table1.tex", "table1.html"):
        assert "Training PFLOPs" in files[name], name
        assert "embedded:mini" in files[name], name
    assert max(len(line) for line in terminal(report.sections, 80).splitlines()) <= 80


def test_a_fair_pair_is_called_one(pair):
    found = notes(pair(training_record(), training_record("pdrop", 0.5, per_device_batch=1)))
    (said,) = [text for text in found if "fair" in text]
    assert said.startswith("The models of LLaVA-1.5 mini576 are a fair comparison")
    assert "steps (700) and seed (0)" in said


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"steps": 650}, "steps (700 / 650)"),
        ({"samples": 1}, "samples (11200 / 1)"),
        ({"seed": 3}, "seed (0 / 3)"),
        ({"data": [{"file": "instruct.json", "sha256": "e" * 64}]}, "data (dddddddddddd / eeeeeeeeeeee)"),
        ({"hyperparameters": {"learning_rate": 2e-3}}, "hyperparameters"),
        ({"dtype": "float32"}, "dtype (bfloat16 / float32)"),
    ],
)
def test_an_unfair_pair_is_warned_of_in_long_and_in_short(pair, changes, word):
    part = pair(training_record(), training_record("pdrop", 0.5, **changes))
    (said,) = [text for text in notes(part) if text.startswith("NOT A FAIR COMPARISON")]
    assert f"the trainings of LLaVA-1.5 mini576 differ in {word}" in said
    assert said in compact([part])


def test_another_start_is_unfair(pair):
    other = training_record("pdrop", 0.5)
    other["base"]["sha256"] = "c" * 64
    (said,) = [text for text in notes(pair(training_record(), other)) if "NOT A FAIR" in text]
    assert "start (bbbbbbbbbbbb / cccccccccccc)" in said


@pytest.mark.parametrize("little", [None, {"device_hours": 2.0, "device_label": "GPU hours"}])
def test_where_a_record_says_too_little_the_pair_is_not_called_fair(pair, little):
    found = notes(pair(little, training_record("pdrop", 0.5)))
    (said,) = [text for text in found if "FAIR" in text]
    assert "not all of them name data, steps and seed" in said
    assert not [text for text in found if "fair comparison" in text]


def test_one_model_alone_is_no_pair(add_run, all_scores, runs):
    add_run("vanilla", all_scores(1400, 60.0, KEYS), training=training_record())
    (part,) = measured_parts(TABLES[1], runs())
    assert not [text for text in notes(part) if "fair" in text.lower()]


def test_a_model_that_was_trained_otherwise_than_configured_fills_no_row(pair):
    part = pair(training_record(), training_record("pdrop", 0.4))
    assert [row.key.train for row in part.rows if row.run] == ["vanilla"]
    (said,) = [text for text in notes(part) if "is not in this table" in text]
    assert "configured as trained with PDrop λ=0.5" in said
    assert "says trained with PDrop λ=0.4" in said
    assert "is not in this table" in compact([part])


def test_models_of_other_patches_are_no_pair(add_run, all_scores, runs):
    scores = all_scores(1400, 60.0, KEYS)
    p9 = {**NEXT_P5, "patches": 9}
    add_run("vanilla", scores, model="mini576_next_p5", kind=NEXT_P5, training=training_record(steps=5))
    add_run("vanilla", scores, model="mini576_next_p9", kind=p9, training=training_record(steps=9))
    (part,) = measured_parts(TABLES[1], runs())
    assert not [text for text in notes(part) if "fair" in text.lower()]


def test_a_record_of_another_program_is_read_as_far_as_it_goes():
    training = Training.of({"device_hours": 366, "phases": "none", "strategy": None, "base": 3})
    assert training.hours == (366.0, "GPU hours")
    assert (training.flops, training.all_flops, training.steps, training.samples) == (None, None, "", None)
    assert (training.start, training.loss, training.hardware, training.convention) == ("", None, "", None)
    assert training.contradiction("pdrop", 0.5) is None
    assert Training.of(["no record"]).hours is None
    assert Training.of({"device_hours": "many"}).hours is None


def test_several_phases_are_added_up():
    record = training_record()
    first = {**copy.deepcopy(record["phases"][0]), "name": "pretrain", "steps": 60, "samples": 960}
    record["phases"].insert(0, first)
    training = Training.of(record)
    assert training.steps == "pretrain 60, instruct 700"
    assert (training.samples, training.all_flops) == (12160, 5e15)
    assert differences([training, training]) == []
    assert differences([training, Training.of(training_record())])[0].startswith("phases")


def started(name, ratio, before, sha):
    """A record of a training that began with a model of which there is a record, too."""
    record = training_record(name, ratio, steps=300)
    record["base"] = {"pretrained": f"embedded:{sha}", "as": "LLaVA-NeXT p5", "sha256": sha * 12}
    record["base"]["training"] = before
    return record


def test_starts_that_were_trained_alike_each_with_its_own_strategy_are_fair(pair):
    one = started("vanilla", None, training_record(), "1")
    other = started("pdrop", 0.5, training_record("pdrop", 0.5), "2")
    (said,) = [text for text in notes(pair(one, other)) if "fair" in text.lower()]
    assert "each from a model that was trained with its own strategy before, else in the same way" in said
    assert "without that of its start" in said
    assert Training.of(one).start == "embedded:1 as LLaVA-NeXT p5 111111111111"


@pytest.mark.parametrize(
    "before", [training_record("pdrop", 0.5, steps=9), training_record("pdrop", 0.4), training_record()]
)
def test_starts_that_were_trained_otherwise_are_not(before):
    one = Training.of(started("vanilla", None, training_record(), "1"))
    other = Training.of(started("pdrop", 0.5, before, "2"))
    assert differences([one, other]) == ["start (111111111111 / 222222222222)"]
