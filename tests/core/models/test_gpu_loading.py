"""What is told to torch before a model runs on a GPU, tried without one."""

from types import SimpleNamespace

import pytest
import torch

from pdrop_eval import PyramidDrop, UserError, Vanilla
from pdrop_eval.models.loading import gpu
from pdrop_eval.models.loading import load as loading
from pdrop_eval.models.loading.gpu import recorded_backends, straight_to


@pytest.fixture(autouse=True)
def _kernels_as_before():
    was = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(was)


def load(**changes):
    given = {
        "pretrained": "embedded", "revision": None, "device": "cpu", "dtype": "float32", "attention": "sdpa",
        "trust_remote_code": False, **changes,
    }  # fmt: skip
    return loading.load(**given).model


def test_cudnn_attention_is_off_and_a_record_of_a_gpu_names_the_others():
    assert recorded_backends("cuda:1") == {"attention_backends": ["flash", "mem_efficient", "math"]}
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert recorded_backends("cpu") == {}


def test_weights_are_read_straight_onto_a_gpu(monkeypatch):
    assert straight_to("cuda:1") == {"device_map": {"": "cuda:1"}}
    assert straight_to("cuda") == {"device_map": {"": "cuda"}}
    assert straight_to("cpu") == straight_to("mps") == {}
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)  # accelerate isn't installed
    assert straight_to("cuda:1") == {}


def test_a_model_read_onto_its_device_is_the_same_and_has_no_hooks(monkeypatch):
    plain = load()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    taken = []
    monkeypatch.setattr(loading, "straight_to", lambda device: {"device_map": {"": device}})
    monkeypatch.setattr(loading, "take_device", taken.append)
    mapped = load()
    assert taken == ["cpu"]
    assert not any(hasattr(module, "_hf_hook") for module in mapped.modules())
    other = mapped.state_dict()
    assert all(torch.equal(weight, other[name]) for name, weight in plain.state_dict().items())
    with PyramidDrop()(mapped):
        pass


def test_each_process_takes_its_own_gpu(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for device in ("cuda:1", "cuda", "cpu", "mps"):
        gpu.take_device(device)
    assert taken == ["cuda:1"]


@pytest.mark.parametrize(
    "places", [{"a": 0, "b": 1}, {"a": 0, "b": "cpu"}, {"a": torch.device("cuda", 1), "b": 0}]
)
def test_a_model_that_transformers_has_spread_is_refused_before_anything_is_computed(places):
    model = load()
    model.hf_device_map = places
    with pytest.raises(
        UserError, match=r'2 devices \(.*cuda:0.*device_map=\{"": "cuda:0"\}.*model.devices=2'
    ):
        PyramidDrop()(model)
    with Vanilla()(model):  # nothing is dropped, nothing has to be found
        pass
    model.hf_device_map = {"": 0, "lm_head": "cuda:0"}
    with PyramidDrop()(model):
        pass


def test_a_model_that_is_spread_here_is_read_into_the_hosts_memory(monkeypatch):
    seen = {}

    def read(*args, **kwargs):
        seen.update(kwargs)
        raise OSError("far enough")

    family = SimpleNamespace(load_class=lambda: SimpleNamespace(from_pretrained=read), model_class="")
    for name in ("check_device", "check_devices", "check_there", "take_device"):
        monkeypatch.setattr(loading, name, lambda *args: None)
    ready = SimpleNamespace(family=family, folder=None, config=None)
    monkeypatch.setattr(loading, "prepare", lambda *args: ready)
    monkeypatch.setattr(loading, "weight_files", lambda *args: [])
    monkeypatch.setattr(loading, "_old_names", lambda *args: None)
    for devices, mapped in ((2, False), (1, True), (None, True)):
        seen.clear()
        with pytest.raises(UserError):
            load(device="cuda", devices=devices)
        assert ("device_map" in seen) is mapped
