"""The page of speed on every family: its goals and ratios from times, without measuring."""

import re

import pytest

from pdrop_eval.models import families
from pdrop_eval.run.bench.timing import Seconds
from tools.speed.prefill import families as speed


def times(**by_label):
    return [{label: Seconds(wall=2 * cpu, cpu=cpu) for label, cpu in by_label.items()}] * 3


@pytest.fixture
def rows():
    """The engine adds 1%; FastV is at its FLOPs ratio of a half and 4%, PyramidDrop at its .4 and 6%."""
    found = {
        label: {"strategy": label, "flops": {"decoder": decoder, "decoder_causal": decoder + 1}}
        for label, decoder in (("vanilla", 100), ("keep_all", 100), ("fastv", 50), ("pdrop", 40))
    }
    strategies = {"plain": {"strategy": None}, **found}
    measured = times(plain=1.0, vanilla=1.0, keep_all=1.01, fastv=0.52, pdrop=0.424)
    return speed._rows("qwen3_vl", measured, strategies)


def test_a_goal_is_met_up_to_its_limit(rows):
    engine, fastv, pdrop = rows
    assert (engine.limit, engine.measured[1], engine.met) == (1.02, pytest.approx(1.01), True)
    assert (fastv.limit, fastv.flops, fastv.met) == (pytest.approx(0.525), 0.5, True)
    assert (pdrop.limit, pdrop.met) == (pytest.approx(0.42), False)
    assert fastv.causal == pytest.approx(51 / 101)
    assert fastv.wall == pytest.approx(0.52)


def test_the_page_says_what_is_missed(rows):
    record = {
        "rows": [vars(row) for row in rows], "families": {"qwen3_vl": {"image_tokens": 900}}, "rounds": 3,
        "threads": 1, "packages": {"torch": "2.9", "transformers": "5.23"},
        "code": {"version": "1", "commit": "0123456789abcdef", "dirty": True},
    }  # fmt: skip
    text = speed.page(record)
    assert "Missed: Qwen3-VL: PyramidDrop over vanilla." in text
    assert "- torch 2.9, transformers 5.23; code 1 at 0123456789 with changes.\n" in text
    lines = [re.sub(" +", " ", line) for line in text.splitlines()]
    fastv = "| Qwen3-VL | 900 | FastV over vanilla | 0.500 | 0.505 | 0.525 | 0.520 [0.520, 0.520] | 0.520 |"
    assert f"{fastv} met |" in lines


def test_every_family_with_images_is_timed():
    timed = set(speed.FAMILIES)
    assert timed == {family.name for family in families.all_multimodal()} - {"llava"}  # goals.py has it
