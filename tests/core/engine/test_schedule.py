"""Tokens per layer: expected numbers by hand."""

import pytest

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.engine.schedule import retained_counts, stage_layers, stage_ratios, tokens_per_layer


@pytest.mark.parametrize(
    ("num_layers", "stages", "layers"),
    [
        (32, 4, (8, 16, 24)),
        (40, 4, (10, 20, 30)),
        (8, 4, (2, 4, 6)),
        (30, 4, (7, 15, 22)),  # 7.5, 15, 22.5
        (8, 3, (2, 5)),  # 2.67, 5.33
        (8, 1, ()),
        (4, 4, (1, 2, 3)),
    ],
)
def test_stages_are_equal_parts_of_the_depth(num_layers, stages, layers):
    assert stage_layers(num_layers, stages) == layers


def test_ratios_are_the_numbers_that_people_type():
    assert stage_ratios(0.7, 4) == (0.7, 0.49, 0.343)
    assert stage_ratios(0.19, 3) == (0.19, 0.0361)
    assert stage_ratios(1.0, 3) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("n", "ratios", "floor", "progressive"),
    [
        (576, (0.5, 0.25, 0.125), (288, 144, 72), (288, 144, 72)),
        (36, (0.7, 0.49, 0.343), (25, 17, 12), (25, 17, 11)),  # 25.2 17.64 12.3; 36-11 25-8 17-6
        (70, (0.5, 0.25, 0.125), (35, 17, 8), (35, 17, 8)),
        (100, (0.7, 0.49), (70, 49), (70, 49)),
        (576, (1 / 3, 1 / 9), (192, 64), (192, 64)),
        (10, (0.5, 0.5, 0.2), (5, 5, 2), (5, 5, 2)),
        (3, (0.3, 0.1), (0, 0), (0, 0)),  # 3 - ceil(2.1) = 0
        (0, (0.5,), (0,), (0,)),
    ],
)
def test_counts_after_each_drop(n, ratios, floor, progressive):
    assert retained_counts(n, ratios) == floor
    assert retained_counts(n, ratios, "progressive") == progressive


@pytest.mark.parametrize(
    ("strategy", "n", "count"),
    [
        (FastV(r=0.5), 576, 288),
        (FastV(r=0.75), 64, 16),
        (FastV(r=0.9), 100, 10),
        (FastV(r=0.9, rounding="floor"), 100, 10),
        (FastV(r=0.5), 7, 4),  # round(3.5) goes to the even number
        (FastV(r=0.5), 5, 2),  # round(2.5) too
        (FastV(r=0.5, rounding="floor"), 7, 3),
        (FastV(r=0), 7, 7),
        (FastV(r=1), 7, 0),
        (FastV(attention_rank=72), 144, 72),
        (FastV(attention_rank=72), 50, 50),
    ],
)
def test_fastv_counts(strategy, n, count):
    assert strategy.schedule(4, n) == (n, n, count, count)


def test_schedules_of_the_papers():
    assert Vanilla().schedule(32, 576) == (576,) * 32
    assert FastV().schedule(32, 576) == (576,) * 2 + (288,) * 30
    assert PyramidDrop().schedule(32, 576) == (576,) * 8 + (288,) * 8 + (144,) * 8 + (72,) * 8
    explicit = PyramidDrop(layers=(8, 16, 24), ratios=(0.5, 0.25, 0.125))
    assert explicit.schedule(32, 576) == PyramidDrop().schedule(32, 576)


def test_an_average_of_64_tokens_as_the_authors_suggest():
    """lambda = .19 after layers 2, 8 and 16: 2*576 + 6*109 + 8*20 + 16*3 over 32 layers, 63 on average."""
    strategy = PyramidDrop(layers=(2, 8, 16), ratios=(0.19, 0.0361, 0.006859))
    schedule = strategy.schedule(32, 576)
    assert schedule == (576,) * 2 + (109,) * 6 + (20,) * 8 + (3,) * 16
    assert sum(schedule) / 32 == 2014 / 32


def test_a_drop_after_the_last_layer_changes_no_layer():
    assert PyramidDrop(layers=(2, 4), ratios=(0.5, 0.2)).schedule(4, 10) == (10, 10, 5, 5)


def test_no_image_no_tokens():
    assert PyramidDrop().schedule(8, 0) == (0,) * 8


def test_counts_may_not_grow():
    with pytest.raises(UserError, match="only shrink"):
        tokens_per_layer(4, (1, 2), (3, 4), 10)
    with pytest.raises(UserError, match="as many counts"):
        tokens_per_layer(4, (1, 2), (3,), 10)
    with pytest.raises(UserError, match="'floor', 'progressive'"):
        retained_counts(10, (0.5,), "up")
