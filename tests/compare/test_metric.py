"""The scoring rules: what each unit adds, weighs and moves, worked out by hand."""

import math

import numpy as np
import pytest
from compare_samples import marks, mme, pope, sample

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring import score as scoring
from pdrop_eval.benchmarks.scoring.differences import contributions
from pdrop_eval.benchmarks.scoring.rules import rule_names, score_range, scoring_rule

MMSTAR = [("geo", 1), ("geo", 0), ("geo", 0), ("dia", 1), ("dia", 0), ("one", 1), ("two", 0)]


def tally(rule, samples):
    return scoring_rule(rule).tally(samples)


def groups(*rows):
    return [sample(i, score, part=part) for i, (part, score) in enumerate(rows)]


def test_every_benchmark_has_a_rule_and_every_rule_a_benchmark():
    others = {"own_mean", "whole"}  # of tasks that aren't in the registry
    assert {one.rule.name for one in benchmarks().values()} | others == set(rule_names())


@pytest.mark.parametrize(
    ("rule", "samples", "weights", "sizes"),
    [
        # four questions, two a picture
        ("mean", marks(1, 0, 1, 1, size=2), [50, 50], [2, 2]),
        # the same on a scale of lmms-eval's own
        ("own_mean", marks(5, 0, 3, 1, size=2), [50, 50], [2, 2]),
        # a question with its two copies is one
        ("circular_mean", marks(1, 0, 1, 1, 0, 0, size=2), [100 / 3] * 3, [1, 1, 1]),
        # four subcategories of 25 points: three questions, two, one, one
        ("group_mean", groups(*MMSTAR), [25 / 3] * 3 + [12.5] * 2 + [25, 25], [1] * 7),
        # 200 for each category: two pairs, one pair
        ("pair_sum", mme(("color", 1, 1), ("color", 1, 0), ("count", 0, 0)), [100, 100, 200], [2, 2, 2]),
        # two categories of 50 points: two questions, one
        (
            "category_f1",
            pope(("a", "yes", "yes"), ("a", "no", "no"), ("b", "yes", "no")),
            [25, 25, 50],
            [1] * 3,
        ),
    ],
)
def test_weights_are_the_points_that_a_unit_carries(rule, samples, weights, sizes):
    found = tally(rule, samples)
    assert found.weights.tolist() == pytest.approx(weights)
    assert found.sizes.tolist() == sizes


def test_a_unit_moves_a_mean_by_its_distance_from_it():
    # 3 of 5 right. The pictures' distances: 2 - 2 * .6, 1 - 2 * .6, 0 - .6 points of 20; times sqrt(3 / 2)
    found = tally(
        "mean",
        [sample(i, s, cluster=c) for i, (s, c) in enumerate(zip([1, 1, 1, 0, 0], "aabbc", strict=True))],
    )
    assert found.influences.tolist() == pytest.approx([20 * math.sqrt(1.5) * d for d in (0.8, -0.2, -0.6)])
    assert found.freedom == 2


def test_each_subcategory_has_a_variance_of_its_own():
    found = tally("group_mean", groups(*MMSTAR))
    geo = [25 / 3 * math.sqrt(3 / 2) * d for d in (2 / 3, -1 / 3, -1 / 3)]
    dia = [12.5 * math.sqrt(2) * d for d in (0.5, -0.5)]
    # the two of a single question are one: their mean is 1 / 2
    both = [25 * math.sqrt(2) * d for d in (0.5, -0.5)]
    assert found.influences.tolist() == pytest.approx(geo + dia + both)
    assert found.freedom == 2 + 1 + 1


def test_a_last_category_of_one_pair_joins_the_smallest():
    found = tally("pair_sum", mme(*[("a", 1, 1)] * 3, *[("b", 1, 1)] * 2, ("c", 0, 0)))
    # b and c: 100, 100 and 200 points; their mean mark is 200 of 400
    assert found.influences.tolist() == pytest.approx(
        [0, 0, 0, *(math.sqrt(1.5) * d for d in (50, 50, -100))]
    )
    assert found.freedom == 2 + 2


def test_f1_moves_by_its_slopes():
    # TP 2, FP 1, FN 1: F1 = 4 / 6. A true positive: 2 (1 - 2/3) / 6 = 1/9, a mistake: -(2/3) / 6 = -1/9
    rows = [
        ("a", "yes", "yes"),
        ("a", "yes", "yes"),
        ("a", "no", "yes"),
        ("a", "yes", "no"),
        ("a", "no", "no"),
    ]
    found = tally("category_f1", pope(*rows))
    assert found.value == pytest.approx(200 / 3)
    assert found.influences.tolist() == pytest.approx(
        [100 / 9 * math.sqrt(5 / 4) * d for d in (1, 1, -1, -1, 0)]
    )


def test_contributions_of_a_mean_add_up_to_the_difference():
    one, other = tally("mean", marks(1, 1, 1, 0, size=2)), tally("mean", marks(0, 1, 0.5, 0.5, size=2))
    assert contributions(one, other).tolist() == pytest.approx([-25, 0])


def test_contributions_of_f1_are_the_mean_of_both_ways():
    one = tally("category_f1", pope(("a", "yes", "yes"), ("a", "no", "no")))
    other = tally("category_f1", pope(("a", "yes", "no"), ("a", "no", "yes")))
    # F1 falls from 1 to 0. The first: 1 -> 0, or 2/3 -> 0. The second: 1 -> 2/3, or 0 -> 0.
    assert contributions(one, other).tolist() == pytest.approx([-500 / 6, -100 / 6])


def test_draws_in_blocks_are_the_same_draws(monkeypatch):
    one = tally("mean", marks(*[1, 0] * 10, size=2))
    (whole,) = scoring._draws(one, 50, 1)
    monkeypatch.setattr(scoring, "_CELLS", 30)
    blocks = list(scoring._draws(one, 50, 1))
    assert len(blocks) > 10
    assert np.array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(axis=1) == 10).all()


def test_mme_draws_within_its_categories():
    (counts,) = scoring._draws(tally("pair_sum", mme(*[("color", 1, 1)] * 3, *[("count", 1, 1)] * 2)), 20, 1)
    assert (counts[:, :3].sum(axis=1) == 3).all()
    assert (counts[:, 3:].sum(axis=1) == 2).all()


def test_a_category_that_is_not_drawn_does_not_count():
    one = tally("category_f1", pope(("a", "yes", "yes"), ("b", "yes", "no")))
    # only the first picture: F1 of category a alone; both: the mean of 1 and 0
    assert one.combine(np.array([[2.0, 0.0], [1.0, 1.0]]) @ one.sums).tolist() == pytest.approx([100, 50])


@pytest.mark.parametrize("name", rule_names())
def test_the_range_that_is_read_from_a_rules_file_is_the_rules_own(name):
    assert score_range(name) == scoring_rule(name).range == ((0, 2000) if name == "pair_sum" else (0, 100))
