"""Two strategies on the command line: `combine=` in place of `strategy=`, in every command that takes one."""

import pytest

from pdrop_eval.records.run_identity import code_sha256, registered_name
from pdrop_eval.report.compare import settings as compare
from pdrop_eval.report.show import settings as show
from pdrop_eval.run.bench.settings import _variants
from pdrop_eval.run.config.compose import check_command_line, chosen_strategy, help_text
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.run_list import run_list
from pdrop_eval.run.train.config.spec import compose_training
from pdrop_eval.strategies.combinations import as_parts, read_parts
from pdrop_eval.strategies.combine import Combine
from pdrop_eval.strategies.fastv import FastV
from pdrop_eval.strategies.make import combination_of
from pdrop_eval.strategies.pyramiddrop import PyramidDrop
from pdrop_eval.strategies.random import Random
from pdrop_eval.strategies.visionzip import VisionZip
from pdrop_eval.utils.errors import UserError

TARGET = "pdrop_eval.strategies.visionzip.VisionZip+pdrop_eval.strategies.pyramiddrop.PyramidDrop"
GIVEN = (
    "combine=[{visionzip:{dominant:20,contextual:4}},"
    "{pdrop:{layers:[2,4],ratios:[0.5,0.2],ratio:null,stages:null}}]"
)
MADE = Combine(VisionZip(dominant=20, contextual=4), PyramidDrop(layers=(2, 4), ratios=(0.5, 0.2)))


def test_a_combination_takes_the_place_of_the_strategy():
    spec = compose_spec(["combine=[visionzip,pdrop]"])
    assert (spec.strategy.name, spec.strategy.preset) == ("visionzip+pdrop", "visionzip+pdrop")
    assert spec.strategy.target == TARGET
    assert spec.strategy.build() == Combine(VisionZip(), PyramidDrop())
    assert spec.changes == []
    assert compose_spec(["strategy=visionzip+pdrop"]).to_dict() == spec.to_dict()
    assert registered_name(TARGET) == "visionzip+pdrop"


def test_settings_stand_inside_and_are_told_as_overrides_that_make_it_again():
    spec = compose_spec([GIVEN])
    assert spec.strategy.build() == MADE
    again = [f"strategy={spec.strategy.name}", *spec.changes]
    assert "strategy.pdrop.layers=[2,4]" in again
    assert compose_spec(again).to_dict() == spec.to_dict()
    assert chosen_strategy([GIVEN]) == "visionzip+pdrop"
    assert check_command_line(["limit=4", "combine=[visionzip,{pdrop:{ratio:0.4}}]"]) == [
        "limit=4", "strategy=visionzip+pdrop", "strategy.pdrop.ratio=0.4",
    ]  # fmt: skip
    # the second of two equal parts is told apart
    twice = compose_spec(["combine=[random,{random:{k:2,tokens:5}}]"]).strategy
    assert twice.build() == Combine(Random(), Random(tokens=5, k=2))


def test_no_combination_is_none():
    assert compose_spec(["combine=null", "strategy=fastv"]).strategy.build() == FastV()


def test_a_sweep_goes_over_combinations():
    sweep = check_command_line(["-m", "combine=[visionzip,pdrop],[uniform,fastv]"])
    assert sweep == ["-m", "strategy=visionzip+pdrop,uniform+fastv"]
    with pytest.raises(UserError, match="one of them with settings of its own"):
        check_command_line(["-m", "combine=[visionzip,{pdrop:{ratio:0.4}}],[uniform,fastv]"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["strategy=fastv", "combine=[visionzip,pdrop]"], "strategy=fastv can't be given together"),
        (["strategy.ratio=0.4", "combine=[visionzip,pdrop]"], "strategy.ratio=0.4 can't be given together"),
        (["combine=[visionzip,pdropp]"], "Unknown strategy in combine: 'pdropp'.*Did you mean pdrop"),
        (["strategy=visionzip+pdropp"], "Unknown strategy: 'pdropp'.*Did you mean pdrop"),
        (["combine=[visionzip]"], "name two strategies"),
        (["combine=visionzip"], "name two strategies"),
        (["combine=[visionzip,pdrop,fastv]"], "name two strategies"),
        (["combine=[visionzip,3]"], "combine has 3: write one strategy"),
        (["combine=[visionzip,{pdrop:0.4}]"], r"combine has \{pdrop:0.4\}"),
        (["combine=[visionzip,{pdrop:{rati:1}}]"], "Unknown setting of .*'rati'.*Did you mean ratio"),
        (["combine=[{visionzip:{dominant:20}},pdrop]", "budget.tokens=20"], "visionzip.dominant=20 can't be"),
    ],
)
def test_what_can_not_be_read_is_refused(given, words):
    with pytest.raises(UserError, match=words):
        compose_spec(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["combine=[uniform,visionzip]"], "both act before the decoder"),
        (["combine=[fastv,pdrop]"], "both act in the decoder"),
        (["combine=[pdrop,visionzip]"], r"combine=\[visionzip,pdrop\]"),
        (["combine=[visionzip,{pdrop:{ratio:3}}]"], r"^strategy\.pdrop\.ratio=3 is not allowed"),
    ],
)
def test_what_can_not_be_made_is_refused(given, words):
    with pytest.raises(UserError, match=words):
        compose_spec(given).strategy.check()


def test_training_takes_one_and_knows_what_does_not_train():
    compose_training(["combine=[uniform,{fastv:{k:3}}]"]).strategy.check_trains()
    with pytest.raises(UserError, match=r"cdpruner\+fastv can't be trained with"):
        compose_training(["combine=[cdpruner,fastv]"]).strategy.check_trains()


def test_the_code_of_both_parts_decides_a_run():
    parts = [code_sha256(target)["strategy"] for target in TARGET.split("+")]
    whole = code_sha256(TARGET)
    other = code_sha256(TARGET.replace("visionzip.VisionZip", "uniform.Uniform"))
    assert whole["sha256"] == code_sha256(TARGET.split("+", maxsplit=1)[0])["sha256"]
    assert len({whole["strategy"], other["strategy"], *parts}) == 4


def test_a_benchmark_measures_one_among_its_strategies():
    (vanilla, both, named) = _variants(
        [{"combine": ["visionzip", {"pdrop": {"ratio": 0.4}}]}, {"visionzip+fastv": {"fastv.k": 3}}]
    )
    assert vanilla.label == "vanilla"
    assert (both.label, both.strategy) == ("visionzip+pdrop pdrop.ratio=0.4", "visionzip+pdrop")
    assert (named.strategy, named.fields) == ("visionzip+fastv", {"fastv.k": 3})
    for wrong, words in [
        ({"combine": ["visionzip"]}, "name two strategies"),
        ({"combine": ["visionzip", "pdropp"]}, "Did you mean pdrop"),
        ({"combine": ["visionzip", {"pdrop": {"ratio": 2}}]}, r"pdrop\.ratio=2 is not allowed"),
        ("visionzip+pdropp", "Did you mean pdrop"),
    ]:
        with pytest.raises(UserError, match=words):
            _variants([wrong])


def test_show_draws_one_alone_or_beside_others():
    one = show.read_settings(["sample=gqa:0", "combine=[visionzip,{pdrop:{ratio:0.4}}]"])
    assert one.strategies == ("visionzip+pdrop",)
    assert one.overrides("visionzip+pdrop")[0] == "strategy=visionzip+pdrop"
    assert one.overrides("visionzip+pdrop")[-1] == "strategy.pdrop.ratio=0.4"
    own = "visionzip+pdrop_overrides=[strategy.pdrop.ratio=0.4]"
    both = show.read_settings(["sample=gqa:0", "strategy=pdrop,visionzip+pdrop", own])
    assert both.own == {"visionzip+pdrop": ("strategy.pdrop.ratio=0.4",)}
    for wrong, words in [
        (["combine=[visionzip,pdrop]", "strategy=pdrop"], "can't be given together"),
        (["combine=[visionzip,pdropp]"], "Did you mean pdrop"),
        (["strategy=visionzip+pdropp"], "Did you mean pdrop"),
    ]:
        with pytest.raises(UserError, match=words):
            show.read_settings(["sample=gqa:0", *wrong])


def test_a_comparison_names_one_in_brackets():
    candidate = "candidate=[visionzip,{pdrop:{ratio:0.4}}]"
    found = compare.read_settings(["baseline=[uniform,fastv]", candidate, "candidate_overrides=[seed=2]"])
    assert (found.baseline, found.candidate) == ("uniform+fastv", "visionzip+pdrop")
    assert found.overrides("candidate") == ("strategy.pdrop.ratio=0.4", "seed=2")
    for wrong, words in [
        ("candidate=[visionzip,pdropp]", "Unknown strategy in candidate: 'pdropp'"),
        ("combine=[visionzip,pdrop]", r"candidate=\[visionzip"),
        ("candidate_overrides=[combine=[visionzip,pdrop]]", "Name the strategy"),
    ]:
        with pytest.raises(UserError, match=words):
            compare.read_settings([wrong])


def test_an_experiment_lists_them():
    runs = run_list([{"model": "mini", "strategies": ["fastv", "visionzip+pdrop"], "tokens": [20]}])
    assert [run["strategy"] for run in runs] == ["fastv", "visionzip+pdrop"]
    with pytest.raises(UserError, match="Did you mean pdrop"):
        run_list([{"model": "mini", "strategy": "visionzip+pdropp"}])


def test_a_text_is_read_as_the_command_line_reads_it():
    text = "[visionzip,{pdrop:{ratio:0.4,layers:[2,4],score:max}}]"
    given = {"pdrop.ratio": 0.4, "pdrop.layers": [2, 4], "pdrop.score": "max"}
    assert combination_of(text) == ("visionzip+pdrop", given)
    assert combination_of("visionzip/pdrop") == ("visionzip+pdrop", {})
    assert f"{as_parts('visionzip+pdrop', given)}" == text
    assert read_parts(["random", {"random": {"k": 2}}]) == ("random+random", {"random_2.k": 2})
    with pytest.raises(UserError, match="can't be read"):
        combination_of("[visionzip,{pdrop")


def test_the_help_names_it():
    assert "combine=[visionzip,pdrop]" in help_text("evaluate")
    assert "combine=[visionzip,pdrop]" in help_text("show")
    assert "candidate=[visionzip,{pdrop:{ratio:0.4}}]" in help_text("compare")
