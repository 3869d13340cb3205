"""A setting that is true or false takes nothing else, in any command: a text such as "no" would be true."""

import inspect
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, get_type_hints

import pytest
from omegaconf import OmegaConf

from pdrop_eval.report.compare.settings import read_settings
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.train.config.spec import compose_training
from pdrop_eval.strategies.make import instantiate_strategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import truth_of

READ = {
    "evaluate": compose_spec, "train": compose_training, "bench": compose_bench, "compare": read_settings
}  # fmt: skip
WORDS = ("no", "off", "None", "null", "0", "1", "yes", "'true'")


@cache
def truths(entry):
    """The settings of a command whose default is true or false."""
    found, open_ = [], [("", compose_config([], entry))]
    while open_:
        group, node = open_.pop()
        for name in node:
            path = f"{group}{name}"
            if OmegaConf.is_dict(node[name]):
                open_.append((f"{path}.", node[name]))
            elif isinstance(node[name], bool):
                found.append(path)
    return sorted(found)


SETTINGS = [(entry, name) for entry in READ for name in truths(entry)]


def test_every_command_has_some():
    assert {name for entry, name in SETTINGS if entry == "evaluate"} == {
        "keep_going", "model.merge_adapter", "model.trust_remote_code", "suite.textvqa_ocr",
        "untested_packages",
    }  # fmt: skip
    assert ("train", "model.trust_remote_code") in SETTINGS
    assert ("train", "distributed.fsdp") in SETTINGS
    assert ("bench", "model.trust_remote_code") in SETTINGS
    assert ("compare", "allow_same") in SETTINGS
    assert [truths(entry) for entry in ("tables", "figures", "page", "show")] == [[], [], [], []]


@pytest.mark.thin(40)  # of some 150: a third and more of the settings, and every word
@pytest.mark.parametrize(("entry", "name"), SETTINGS)
@pytest.mark.parametrize("word", WORDS)
def test_nothing_else_is_taken_for_true_or_false(entry, name, word):
    shown = word.strip("'")
    with pytest.raises(UserError, match=rf"{name}={shown} is not allowed: use true or false"):
        READ[entry]([f"{name}={word}"])


def test_true_and_false_are_written_in_any_case():
    assert compose_spec(["model.trust_remote_code=True"]).model.trust_remote_code is True
    assert compose_spec(["suite.textvqa_ocr=FALSE"]).suite.textvqa_ocr is False
    assert compose_training(["dry_run=true"]).dry_run is True
    assert compose_bench(["compile=TRUE"]).compile is True


def test_the_settings_that_go_to_accelerate_too():
    with pytest.raises(UserError, match=r"distributed\.fsdp_config\.cpu_offload=no is not allowed"):
        compose_training(["distributed=fsdp", "distributed.fsdp_config.cpu_offload=no"])


def test_a_side_of_a_comparison_and_the_runs_of_an_experiment_are_settings_too():
    read = read_settings(["candidate_overrides=[model.trust_remote_code=off]"])
    with pytest.raises(UserError, match=r"model\.trust_remote_code=off"):
        compose_spec(read.overrides("candidate"))


def test_a_strategys_own():
    from pdrop_eval.strategies.base import Strategy

    @dataclass
    class Merging(Strategy):
        """A strategy with a switch."""

        merge: bool = False
        name: ClassVar[str] = "merging"

        def drops(self, num_layers):
            return ()

    globals()["Merging"] = Merging
    target = f"{__name__}.Merging"
    assert instantiate_strategy({"_target_": target, "merge": True}).merge is True
    with pytest.raises(UserError, match="merge=no is not allowed: use true or false"):
        instantiate_strategy({"_target_": target, "merge": "no"})


def test_what_lmms_eval_passes_is_read_by_its_word():
    assert [truth_of("x", word) for word in ("True", "False", "true", False)] == [True, False, True, False]
    for word in ("no", "off", "None", None, 1, "0", ""):
        with pytest.raises(UserError, match=r"x=.* is not allowed: use true or false"):
            truth_of("x", word)


def test_every_switch_of_the_model_of_lmms_eval_is_read_so():
    from pdrop_eval.run.lmms.model import PdropLlava

    hints = get_type_hints(PdropLlava.__init__)
    switches = [name for name in inspect.signature(PdropLlava.__init__).parameters if hints.get(name) is bool]
    assert "trust_remote_code" in switches
    for name in switches:
        with pytest.raises(UserError, match=f"{name}=no is not allowed: use true or false"):
            PdropLlava("embedded", **{name: "no"})
