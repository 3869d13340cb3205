"""Metrics as sums over clusters: what an exchange, a draw and a single cluster do to them."""

import numpy as np
import pytest
from compare_samples import marks, mme, pairs, pope

from pdrop_eval.benchmarks.scoring import bootstrap as resampling
from pdrop_eval.benchmarks.scoring.bootstrap import bootstrap, contributions, draw_clusters, swapped


def metric(samples, benchmark="gqa"):
    return pairs(samples, samples, benchmark).metrics()[0]


def test_the_largest_change_is_a_cluster_from_all_wrong_to_all_right():
    assert metric(marks(1, 0, 0, 1, 1, 1, size=3)).largest == pytest.approx(50)
    # MMBench's question counts once, with its copies
    assert metric(marks(1, 1, 0, 0, 1, 1, size=2), "mmbench_en").largest == pytest.approx(100 / 3)
    # one of two pairs of color: 200 / 2; the only one of count: 200
    samples = mme(("color", 1, 1), ("color", 0, 0), ("count", 1, 0))
    assert metric(samples, "mme").largest == pytest.approx(200)
    # the first yes: F1 = 2 * 2 / (4 + 0) with it, 2 / (2 + 1) without
    yes = pope(("a", "yes", "yes"), ("a", "yes", "yes"))
    assert metric(yes, "pope").largest == pytest.approx(100 - 200 / 3)


def test_contributions_of_a_mean_add_up_to_the_difference():
    one, other = pairs(marks(1, 1, 1, 0, size=2), marks(0, 1, 0.5, 0.5, size=2)).metrics()
    assert contributions(one, other).tolist() == pytest.approx([-25, 0])


def test_contributions_of_f1_are_the_mean_of_both_ways():
    before = pope(("a", "yes", "yes"), ("a", "no", "no"))
    after = pope(("a", "yes", "no"), ("a", "no", "yes"))
    one, other = pairs(before, after, "pope").metrics()
    # F1 falls from 1 to 0. The first: 1 -> 0, or 2/3 -> 0. The second: 1 -> 2/3, or 0 -> 0.
    assert contributions(one, other).tolist() == pytest.approx([-500 / 6, -100 / 6])


def test_an_exchange_of_everything_turns_the_difference_round():
    before = mme(("color", 1, 1), ("color", 1, 0), ("count", 0, 0))
    after = mme(("color", 1, 1), ("color", 1, 1), ("count", 1, 0))
    one, other = pairs(before, after, "mme").metrics()
    moved = (other.sums - one.sums).sum(axis=0)
    found = swapped(one, other, np.stack([0 * moved, moved]))
    # color: 200 / 2 + 150... 125 -> 200, count: 0 -> 50
    assert found.tolist() == pytest.approx([125, -125])


def test_draws_in_blocks_are_the_same_draws(monkeypatch):
    one = metric(marks(*[1, 0] * 10, size=2))
    whole = np.concatenate(list(draw_clusters(one, 50, [1])))
    monkeypatch.setattr(resampling, "_CELLS", 30)
    blocks = list(draw_clusters(one, 50, [1]))
    assert len(blocks) > 10
    assert np.array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(axis=1) == 10).all()


def test_mme_draws_within_its_categories():
    one = metric(mme(*[("color", 1, 1)] * 3, *[("count", 1, 1)] * 2), "mme")
    counts = np.concatenate(list(draw_clusters(one, 20, [1])))
    assert (counts[:, :3].sum(axis=1) == 3).all()
    assert (counts[:, 3:].sum(axis=1) == 2).all()


def test_both_runs_get_the_same_draws():
    samples = marks(1, 0, 1, 0.5, 0, 1)
    one = metric(samples)
    first, second = bootstrap(one, one, draw_clusters(one, 30, [1]))
    assert np.array_equal(first, second)
    assert first.std() > 0


def test_a_category_that_is_not_drawn_does_not_count():
    one = metric(pope(("a", "yes", "yes"), ("b", "yes", "no")), "pope")
    # only the first picture: F1 of category a alone; both: the mean of 1 and 0
    assert one.combine(np.array([[2.0, 0.0], [1.0, 1.0]]) @ one.sums).tolist() == pytest.approx([100, 50])
