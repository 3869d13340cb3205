"""A run's settings as one typed object."""

from dataclasses import FrozenInstanceError

import pytest

from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.config.spec import compose_spec, make_spec
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
