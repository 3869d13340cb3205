"""The speed benchmark: it times what it says, and its page says what it found."""

import importlib.util
import json
import sys

import pytest

from pdrop_eval.report.bench import training_speed
from pdrop_eval.utils.paths import PACKAGE

SCRIPT = PACKAGE.parent / "tools" / "speed" / "training.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="benchmarks are in a checkout only")


@pytest.fixture(scope="module")
def training():
    spec = importlib.util.spec_from_file_location("training_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def found(training, tmp_path_factory):
    """The whole command, on a tiny model."""
    out = tmp_path_factory.mktemp("speed") / "speed.json"
    tiny = training.Case("a tiny model", layers=8, width=32, side=32, text=12, batch=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.CASES, "miniature", tiny)
        patch.setattr(training.torch, "set_num_threads", lambda _: None)
        patch.setattr(sys, "argv", ["x", "--cases", "miniature", "--rounds", "3", "--out", str(out)])
        training.main()
    return json.loads(out.read_text(encoding="utf-8")), out.with_suffix(".md").read_text(encoding="utf-8")


def test_every_strategy_is_timed_in_every_round(found):
    (case,) = found[0]["cases"]
    assert case["image_tokens"] == 16  # 4 x 4 patches of 8 pixels
    assert [one["name"] for one in case["strategies"]] == ["vanilla", "fastv", "pdrop"]
    for one in case["strategies"]:
        assert len(one["all_seconds"]) == 3
        assert one["seconds"] == sorted(one["seconds"])
        assert min(one["all_seconds"]) > 0
    vanilla, fastv, pdrop = case["strategies"]
    assert vanilla["speedup"] == [1, 1, 1]
    assert vanilla["bound"] == 1
    assert 1 < fastv["bound"] < pdrop["bound"] < pdrop["image_bound"]


def test_a_speedup_is_of_the_times_of_one_round(training):
    wall = {"vanilla": [2.0, 4.0, 6.0], "pdrop": [1.0, 1.0, 1.0]}
    config = training.build(training.Case("x", 8, 32, 32, 12, 1)).config
    one = training.of_strategy(training.STRATEGIES[2], wall, wall, config, 16, 12, "cpu")
    # the rounds' ratios 2, 4, 6: their quartiles are 3 and 5
    assert one["speedup"] == [3, 4, 5]
    assert one["seconds"] == [1, 1, 1]
    assert (
        training.of_strategy(training.STRATEGIES[2], wall, wall, config, 16, 12, "cuda")["cpu_speedup"]
        is None
    )


def test_the_page_has_the_speedups_beside_their_bounds_and_the_published_hours(found):
    record, page = found
    assert "## a tiny model" in page
    assert "16 image tokens and 12 others a sample, 2 samples a step, 3 rounds" in page
    (case,) = record["cases"]
    bound = case["strategies"][2]["bound"]
    assert f"{bound:.2f}" in page
    # Table 1 of the paper: 366 / 218
    assert "LLaVA-NeXT-7B p5 366 to 218 hours, 1.68" in page
    lines = training_speed.speed_lines(record).splitlines()
    assert [line.split(":")[0] for line in lines] == ["- a tiny model, FastV", "- a tiny model, PDrop λ=0.5"]
    assert lines[1].endswith(f"bound {bound:.2f}.")


def test_the_environment_names_the_processor_and_no_machine(found):
    environment = found[0]["environment"]
    assert set(environment) == {"device", "threads", "dtype", "load", "packages", "code"}


def test_without_a_benchmark_there_is_nothing_to_load(tmp_path):
    assert training_speed.load_speed(tmp_path / "speed.json") is None
