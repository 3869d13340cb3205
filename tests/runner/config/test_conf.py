"""Every YAML in conf/ can be composed, and what it names can be built."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.task_files import describe, task_names
from pdrop_eval.models import families
from pdrop_eval.run.config import compose
from pdrop_eval.run.config.endpoint import EndpointSpec
from pdrop_eval.strategies import make
from pdrop_eval.strategies.make import instantiate_strategy, make_strategy
from pdrop_eval.utils import paths
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, TASKS, options
from pdrop_eval.utils.presets import DEFAULT_MODEL, DEFAULT_SIZE, model_configs

GROUPS = {group: options(group) for groups in compose.ENTRIES.values() for group in groups}
LAUNCHERS = {"hydra/launcher/slurm.yaml"}  # in a group of Hydra's own


def test_every_file_in_the_folder_is_a_choice_of_a_known_group():
    found = {str(path.relative_to(CONF)) for path in CONF.glob("*/**/*.yaml")}
    assert found == {f"{group}/{name}.yaml" for group in GROUPS for name in GROUPS[group]} | LAUNCHERS


@pytest.mark.thin(6)
@pytest.mark.parametrize("name", GROUPS["strategy"])
def test_a_strategy_file_builds_its_strategy_and_lists_all_of_its_fields(name):
    config = compose.compose_config([f"strategy={name}"])
    strategy = instantiate_strategy(OmegaConf.to_container(config.strategy))
    assert strategy.name in GROUPS["strategy"]
    assert {*config.strategy} - {"_target_"} == {field.name for field in fields(strategy)}
    assert strategy == make_strategy(name)


@pytest.mark.thin(8)
@pytest.mark.parametrize("name", model_configs())
def test_a_model_file_has_the_keys_of_the_others(name):
    model = compose.compose_config([f"model={name}"]).model
    assert model.name == name
    assert set(model) == set(OmegaConf.load(CONF / "model" / "mini.yaml"))
    assert model.trust_remote_code is False
    assert OmegaConf.to_container(model) == model_configs()[name]


def test_an_endpoints_file_has_the_settings_of_its_spec():
    found = compose.compose_config(["model=endpoint"]).model
    assert set(found) == {field.name for field in fields(EndpointSpec)}


LLAVA = [
    name for name in model_configs() if model_configs()[name]["architecture"] in ("llava-1.5", "llava-next")
]
FURTHER = [name for name in model_configs() if name not in LLAVA and not name.startswith("mini")]


@pytest.mark.parametrize("name", FURTHER)
def test_a_further_familys_model_is_a_published_one(name):
    model = model_configs()[name]
    assert families.published_name(model["architecture"], model["size"]) == name.replace("0_5b", "0.5b")
    assert (model["train"], model["chat_template"], model["generation"]) == ("vanilla", "lmms", "checkpoint")
    family = families.of_architecture(model["architecture"])
    assert model["patches"] == family.default_patches()
    assert model["max_new_tokens"] == (128 if name.startswith("qwen") else 1024)


@pytest.mark.parametrize("name", LLAVA)
def test_a_models_name_says_what_it_is(name):
    model = model_configs()[name]
    ratio = f"0.{name[-1]}" if "_pdrop_0" in name else None
    assert model["size"] == ("7b" if "_7b" in name else name.partition("_")[0])
    assert model["architecture"] == ("llava-next" if "_next_" in name else "llava-1.5")
    assert model["patches"] == (9 if "_p9" in name else 5 if "_next_" in name else 1)
    assert model["anyres"] == {1: None, 5: "p5", 9: "p9"}[model["patches"]]
    assert (model["train"], model["train_ratio"]) == (("pdrop", float(ratio)) if ratio else ("vanilla", None))
    published = {"mini": "embedded", "llava_1_5_7b": "llava-hf/llava-1.5-7b-hf",
                 "llava_next_7b": "llava-hf/llava-v1.6-vicuna-7b-hf"}  # fmt: skip
    # The miniature LLaVA-NeXT of 576 tokens a tile is one checkpoint for five tiles and for nine
    shared = re.sub("^mini576_next_p[59]", "mini576_next", name)
    own = f"checkpoints/{name}" if model["size"] == "7b" else f"embedded:{shared}"
    assert model["pretrained"] == published.get(name, own)


@pytest.mark.parametrize("name", GROUPS["suite"])
def test_a_suite_file_names_tasks_that_there_are(name):
    suite = compose.compose_config([f"suite={name}"]).suite
    assert suite.name == name
    assert [describe(task, suite.source).benchmark for task in suite.tasks] == list(benchmarks())


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", GROUPS["experiment"])
def test_an_experiment_composes(name):
    assert compose.compose_config([f"experiment={name}"]).suite.name == "mini"


def test_every_place_that_names_a_default_model_names_the_same():
    for name in ("evaluate", "calibrate", "bench"):
        assert {"model": DEFAULT_MODEL} in OmegaConf.load(CONF / f"{name}.yaml").defaults, name
    assert OmegaConf.load(CONF / "sweep.yaml").models == [DEFAULT_MODEL]
    assert model_configs()[DEFAULT_MODEL]["size"] == DEFAULT_SIZE
    makefile = (Path(__file__).parents[3] / "Makefile").read_text(encoding="utf-8")
    assert f"\nMODEL ?= {DEFAULT_MODEL}\n" in makefile


def test_the_default_run_is_pyramiddrop_on_the_miniature():
    config = compose.compose_config()
    assert (config.model.name, config.suite.name) == ("mini576", "mini")
    assert instantiate_strategy(OmegaConf.to_container(config.strategy)).name == "pdrop"


def test_explicit_layers_become_tuples():
    strategy = make_strategy(
        "pdrop", {"ratio": None, "stages": None, "layers": [1, 3], "ratios": [0.5, 0.25]}
    )
    assert strategy.schedule(4, 16) == (16, 8, 8, 4)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("strategy=pdorp", ["'pdorp'", "fastv", "pdrop", "vanilla", "Did you mean pdrop?"]),
        (
            "strategy=mine",
            ["A new one is its class in pdrop_eval/strategies/mine.py and a file conf/strategy/mine"],
        ),
        ("model=mine", ["A new one is a file conf/model/mine.yaml"]),
        ("model=mini2", ["'mini2'", "llava_1_5_7b", "Did you mean mini?"]),
        ("suite=papers", ["'papers'", "mini", "Did you mean paper?"]),
        ("experiment=table6", ["'table6'", "Did you mean table5?"]),
        ("strategy.rato=0.3", ["'rato'", "ratio, stages", "Did you mean ratio?"]),
        ("limt=3", ["'limt'", "batch_size", "Did you mean limit?"]),
        ("model.pretraind=x", ["'pretraind'", "Did you mean pretrained?"]),
        ("strategy=[", ["strategy=[", "name=value"]),
    ],
)
def test_a_wrong_override_is_named_with_what_is_allowed(override, words):
    with pytest.raises(UserError) as error:
        compose.compose_config([override])
    for word in words:
        assert word in str(error.value)


def test_a_key_is_checked_against_the_strategies_that_were_chosen():
    compose.check_overrides(["strategy=fastv", "strategy.k=3"])
    with pytest.raises(UserError, match="strategy=vanilla: 'k'"):
        compose.check_overrides(["strategy=fastv,vanilla", "strategy.k=3"])


def test_every_choice_of_a_sweep_is_checked():
    compose.check_overrides(["strategy=vanilla,fastv,pdrop", "limit=2,4"])
    with pytest.raises(UserError, match="'pdorp'"):
        compose.check_overrides(["strategy=vanilla,pdorp"])


def test_the_task_files_of_both_sources_belong_together():
    assert set(task_names("rendered")) <= set(task_names("hub"))


def test_a_task_chain_ends_in_the_installed_file_whatever_its_place():
    info = describe("docvqa_val", "rendered")
    assert (info.metric, info.split, info.subset) == ("anls", "validation", "DocVQA")
    for path in TASKS.rglob("*.yaml"):
        assert str(Path.home()) not in path.read_text()
        assert "site-packages" not in path.read_text()


def test_a_number_with_an_exponent_is_a_number_as_in_hydra(tmp_path, monkeypatch):
    (tmp_path / "strategy").mkdir()
    written = (CONF / "strategy" / "fastv.yaml").read_text(encoding="utf-8").replace("r: 0.5", "r: 25e-2")
    (tmp_path / "strategy" / "quarter.yaml").write_text(written, encoding="utf-8")
    monkeypatch.setattr(paths, "CONF", tmp_path)
    monkeypatch.setattr(make, "CONF", tmp_path)
    assert make_strategy("quarter").r == 0.25


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"_target_": "pdrop_eval.strategies.nowhere.X"},
            "X can't be imported: ModuleNotFoundError: No module",
        ),
        ({"_target_": "pdrop_eval.strategies.fastv.X"}, "X can't be imported: AttributeError: module"),
        ({"_target_": "subprocess.run"}, "strategy._target_=subprocess.run is no strategy: name a subclass"),
        ({"_target_": "pdrop_eval.strategies.fastv.FastV", "other": 2}, "Unknown setting of FastV: 'other'"),
    ],
)
def test_what_can_be_no_strategy_is_refused(settings, words):
    with pytest.raises(UserError, match=words):
        instantiate_strategy(settings)
