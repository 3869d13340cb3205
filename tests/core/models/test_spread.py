"""A model over several devices: which part goes where, and that strategies find it as it was on one."""

import copy

import pytest
import torch
from contract import ROWS, STRATEGIES, build, model_of, strategy_id

from pdrop_eval.models.families import multimodal_of
from pdrop_eval.models.loading import spread as spreading
from pdrop_eval.models.loading.spread import check_devices, check_there, spread
from pdrop_eval.strategies.vanilla import Vanilla
from pdrop_eval.strategies.visionzip import VisionZip
from pdrop_eval.utils.errors import UserError


def layers_of(model):
    return multimodal_of(model.config).decoder(model).layers


@pytest.fixture(scope="module")
def both():
    """The same model twice, on one device and spread over three; here all of them are the processor."""
    whole = model_of("llava")
    parted = copy.deepcopy(whole)
    spread(parted, layers_of(parted), ["cpu"] * 3)
    return whole, parted


SPREAD = [Vanilla(), *STRATEGIES[:-1:2], VisionZip(dominant=5, contextual=3)]


@pytest.mark.parametrize("strategy", SPREAD, ids=strategy_id)
def test_a_spread_model_answers_the_same(both, strategy):
    found = []
    for model in both:
        case = build(model, list(ROWS))
        with case.under(strategy):
            found.append((case.forward().logits, case.generate()))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_the_first_layers_are_beside_all_else_and_what_passes_between_comes_back(both):
    hooked = ["_hf_hook" in vars(layer) for layer in layers_of(both[1])]
    assert hooked == sorted(hooked)
    assert any(hooked)
    for layer in layers_of(both[1])[hooked.index(True) :]:
        assert layer._hf_hook.io_same_device
        assert layer.self_attn.q_proj._hf_hook.io_same_device  # scoring calls it alone
        assert "past_key_values" in layer._hf_hook.skip_keys
    assert not any(hasattr(module, "_hf_hook") for module in both[0].modules())


def test_each_device_gets_its_share_of_the_bytes():
    """Ten equal layers and two layers' worth of all else, 12 in all, on three devices: 4 each."""
    layers = torch.nn.ModuleList(torch.nn.Linear(10, 10, bias=False) for _ in range(10))
    model = torch.nn.ModuleDict({"layers": layers, "rest": torch.nn.Linear(10, 20, bias=False)})
    assert spreading._places(model, layers, 3) == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_tied_weights_stay_tied():
    layer, rest = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    model = torch.nn.ModuleDict({"layer": layer, "one": rest, "other": torch.nn.Linear(4, 4)})
    model["other"].weight = rest.weight
    spread(model, [layer], ["cpu", "cpu"])
    assert model["one"].weight is model["other"].weight


@pytest.mark.parametrize(
    ("devices", "device", "words"),
    [
        (2, "cpu", "device=cpu is none of them. Use device=cuda"),
        (2, "cuda:1", "device=cuda:1 is none of them"),
        (0, "cuda", "model.devices=0"),
        ("two", "cuda", "model.devices=two"),
    ],
)
def test_what_can_not_be_spread_is_refused(devices, device, words):
    with pytest.raises(UserError, match=words):
        check_devices(devices, device)


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="asks for 2 GPUs, and torch can use 1 here"):
        check_there(2)
    check_there(1)
    check_there(None)


def test_accelerate_is_asked_for(monkeypatch):
    monkeypatch.setattr(spreading, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install accelerate"):
        check_devices(2, "cuda")
