"""What processes that train together have in common, and what may differ from machine to machine."""

from dataclasses import replace

import pytest

from pdrop_eval.run.train.machine import agreement
from pdrop_eval.run.train.machine.agreement import in_common
from pdrop_eval.run.train.plan import make_plan
from pdrop_eval.utils import distributed
from pdrop_eval.utils.errors import UserError


@pytest.fixture
def plan(config):
    return make_plan(config())


def differences(monkeypatch, one, other):
    """What `check_same` says of two processes; nothing where they agree."""
    monkeypatch.setattr(distributed, "_failed_together", False)
    monkeypatch.setattr(distributed, "gather", lambda _: [one, other])
    try:
        distributed.check_same(one)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.thin(4)
@pytest.mark.parametrize(("override", "named"), [
    ("strategy.ratio=0.6", "strategy.ratio (process 0: 0.5, process 1: 0.6)"),
    ("strategy=vanilla", "strategy.name (process 0: pdrop, process 1: vanilla)"),
    ("seed=1", "seed (process 0: 0, process 1: 1)"),
    ("recipe.instruct.per_device_batch=2", "phase.instruct.per_device_batch (process 0: 4, process 1: 2)"),
    ("recipe.instruct.steps=5", "phase.instruct.steps (process 0: 4, process 1: 5)"),
    ("phases=[pretrain,instruct]", "phases (process 0: ['instruct'], process 1: ['pretrain', 'instruct'])"),
    ("model.pretrained=embedded:mini576", "start"),
    ("distributed=fsdp", "distributed.name (process 0: none, process 1: fsdp)"),
    ("save_every=7", "save_every (process 0: 500, process 1: 7)"),
    ("gradient_checkpointing=true", "gradient_checkpointing"),
    ("output=elsewhere", "output"),
    ("lora.rank=4", "lora.rank (process 0: None, process 1: 4)"),
])  # fmt: skip
def test_what_differs_is_named(plan, config, monkeypatch, override, named):
    assert named in differences(monkeypatch, in_common(plan), in_common(make_plan(config(override))))


@pytest.mark.parametrize("override", ["workers=2", "threads=2", "check_images=false", "model.threads=3"])
def test_how_a_machine_does_its_part_may_differ(plan, config, monkeypatch, override):
    assert differences(monkeypatch, in_common(plan), in_common(make_plan(config(override)))) == ""


def test_data_may_lie_elsewhere_but_are_the_same(plan, monkeypatch):
    (phase,) = plan.phases
    moved = replace(phase, settings=replace(phase.settings, files=("/b/instruct.json",), images="/b"))
    assert differences(monkeypatch, in_common(plan), in_common(replace(plan, phases=[moved]))) == ""
    other = replace(phase, data=[{**phase.data[0], "sha256": "x"}])
    told = differences(monkeypatch, in_common(plan), in_common(replace(plan, phases=[other])))
    assert "phase.instruct.data.0 (process 0: " in told


def test_code_and_packages_are_compared(plan, monkeypatch):
    before = in_common(plan)
    monkeypatch.setattr(agreement, "hash_modules", lambda _: "other")
    assert "code (process 0: " in differences(monkeypatch, before, in_common(plan))
    monkeypatch.undo()
    monkeypatch.setattr(agreement, "version", lambda name: "9.9")
    assert "packages.torch (process 0: " in differences(monkeypatch, before, in_common(plan))
