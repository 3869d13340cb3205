"""What choosing costs: every strategy is timed, and the page says which is over the limit."""

import importlib.util
import sys

import pytest

from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.paths import PACKAGE

SCRIPT = PACKAGE.parent / "tools" / "speed" / "prefill" / "choosing.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="benchmarks are in a checkout only")
TINY = (
    "sizes.layers=8", "sizes.width=64", "sizes.heads=4", "sizes.kv_heads=4", "sizes.intermediate=64",
    "sizes.vision_layers=3", "sizes.vision_width=32", "sizes.vision_heads=2", "sizes.vision_intermediate=32",
    "rounds=3", "warmup=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def choosing():
    spec = importlib.util.spec_from_file_location("choosing_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def record_of(*rows):
    """A record with made-up times: names, settings, and choosing's shares of vanilla's prefill."""
    return {
        "rows": [
            {
                "name": name, "setting": setting, "tokens": 64.0, "choosing": [share - 0.01, share, share],
                "gathering": 0.001, "wall": share, "theory": None,
            }
            for name, setting, share in rows
        ],
        "limit": 0.05, "rounds": 5, "threads": 1, "packages": {"torch": "2", "transformers": "5"},
        "code": {"version": "1", "commit": "0123456789abcdef", "dirty": False},
        "model": {"layers": 32, "heads": 32, "width": 512, "vision_width": 128},
        "sample": {"image_tokens": 576, "text_tokens": 64},
    }  # fmt: skip


def test_the_page_names_what_is_over_the_limit_and_sets_none_to_methods_of_all_pairs(choosing):
    page = choosing.page(record_of(("visionzip", "64 tokens", 0.02), ("divprune", "64 tokens", 0.3)))
    assert "All 1 strategies with a limit are under it." in page
    assert "| VisionZip  | 64 tokens |" in page
    assert "2.00% [1.00%, 2.00%]" in page
    assert "- torch 2, transformers 5; code 1 at 0123456789.\n" in page
    assert "no limit: distances of all pairs" in page
    page = choosing.page(record_of(("visionzip", "64 tokens", 0.06), ("hired", "64 tokens", 0.02)))
    assert "Over the limit: VisionZip at 64 tokens." in page


@pytest.mark.slow
def test_every_strategy_is_timed_against_vanilla_in_each_round(choosing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = choosing.measure(TINY)
    rows = [choosing.Row(**row) for row in record["rows"]]
    assert {row.name for row in rows} == set(installed()) - {"vanilla"}
    for row in rows:
        assert 0 < row.choosing[0] <= row.choosing[1] <= row.choosing[2]
        assert row.tokens <= 576
        if row.setting == "64 tokens":
            assert row.tokens <= 64
    found = {(row.name, row.setting): row for row in rows}
    assert found["uniform", "192 tokens"].tokens == 192
    assert (
        found["prumerge_plus", "its paper's mean"].tokens == 145
    )  # 72 by attention, 72 spaced, the others' sum
    # Of one class token's row over 577: 1024 multiply-adds each; vanilla's prefill at 7B is 4.3 T.
    assert found["fastervlm", "64 tokens"].theory == pytest.approx(577 * 1024 / 4.3e12, rel=0.05)
    assert "| Uniform" in choosing.page(record)
