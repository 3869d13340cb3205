"""A run's settings as one typed object."""

from dataclasses import FrozenInstanceError

import pytest

from pdrop_eval.models.loading.checkpoint import settled_dtype
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.config.spec import compose_spec, make_spec
from pdrop_eval.run.evaluate.plan import make_plan
from pdrop_eval.utils.errors import UserError


def test_the_settings_have_their_kinds_and_do_not_change():
    spec = compose_spec(["tasks=gqa", "strategy=fastv", "strategy.k=3", "model.size=7"])
    assert spec.tasks == ("gqa",)
    assert (spec.strategy.name, spec.strategy.preset, spec.strategy.settings["k"]) == ("fastv", "fastv", 3)
    assert spec.model.size == "7"
    assert spec.untested_packages is False
    with pytest.raises(FrozenInstanceError):
        spec.limit = 3


def test_it_says_what_is_not_the_default():
    assert compose_spec().changes == []
    given = ["strategy.ratio=0.6", "seed=7", "model.image_processing=pad", "workers=0", "device=cuda"]
    assert sorted(compose_spec(given).changes) == [
        "model.image_processing=pad",
        "seed=7",
        "strategy.ratio=0.6",
    ]


def test_a_second_file_with_the_same_class_is_a_preset():
    spec = make_spec(compose_config(["strategy.ratio=0.6"]), "pdrop_early")
    assert (spec.strategy.name, spec.strategy.preset) == ("pdrop", "pdrop_early")
    assert spec.changes == ["strategy.ratio=0.6"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.trust_remote_code=maybe", "model.trust_remote_code=maybe is not allowed: use true or false"),
        ("suite.textvqa_ocr=1", "suite.textvqa_ocr=1 is not allowed: use true or false"),
        ("model.name=null", "model.name=null is not allowed: it must be a text"),
        ("+judge.password=hunter22", "Unknown setting of judge: 'password'"),
        ("+downsampled=2", "Unknown setting: 'downsampled'.*Did you mean downsample"),
        ("~model.size", "model.size is missing"),
    ],
)
def test_what_has_no_meaning_is_refused(override, said):
    with pytest.raises(UserError, match=said) as error:
        compose_spec([override])
    assert "hunter22" not in str(error.value)


@pytest.mark.parametrize(
    ("device", "config", "found"),
    [
        ("cpu", {"torch_dtype": "float16"}, "float32"),
        ("mps", {}, "float32"),
        ("cuda", {"torch_dtype": "float16"}, "float16"),
        ("cuda:1", {"dtype": "float32"}, "float16"),
        ("cuda", {"torch_dtype": "bfloat16"}, "bfloat16"),  # Qwen-VL and InternVL overflow in float16
        ("cuda", {"text_config": {"dtype": "bfloat16"}}, "bfloat16"),
    ],
)
def test_the_dtype_follows_from_the_device_and_the_checkpoint(device, config, found):
    assert settled_dtype("auto", device, config) == found
    assert settled_dtype("float32", device, config) == "float32"


def test_a_run_with_dtype_auto_is_the_run_that_names_it(data):
    auto, named = (
        make_plan(compose_spec([f"data.root={data}", "tasks=[gqa]", *given]))
        for given in ([], ["dtype=float32"])
    )
    assert auto.identity == named.identity
    assert auto.config.dtype == "float32"
    assert auto.config.changes == named.config.changes
    on_gpu = make_plan(compose_spec([f"data.root={data}", "tasks=[gqa]", "device=cuda"])).config
    assert f"dtype={on_gpu.dtype}" in on_gpu.changes


def test_llava_1_5_pads_as_the_published_evaluation_does_and_the_crop_is_a_setting():
    for model in ("llava_1_5_7b", "llava_1_5_7b_pdrop_05"):
        assert compose_spec([f"model={model}"]).model.image_processing == "pad"
    assert compose_spec(["model=llava_next_7b"]).model.image_processing == "checkpoint"
    cropped = compose_spec(["model=llava_1_5_7b", "model.image_processing=checkpoint"])
    assert "model.image_processing=checkpoint" in cropped.changes
