"""Scores and standard errors against values worked out by hand, with lmms-eval's own aggregations."""

import math
import warnings

import pytest

from pdrop_eval.benchmarks.scoring.rules import scoring_rule
from pdrop_eval.benchmarks.scoring.score import score

pytestmark = pytest.mark.usefixtures("lmms_eval")


PERCENT_OF_ONE = ("mean", "category_f1", "group_mean")  # what lmms-eval gives from 0 to 1


def mean(items):
    return sum(items) / len(items)


def scored(rule, *given, **settings):
    return score(scoring_rule(rule), *given, 100 if rule in PERCENT_OF_ONE else 1, **settings)


def test_a_mean_with_one_question_an_image_has_the_error_of_a_proportion():
    items = [1.0] * 50 + [0.0] * 50
    result = scored("mean", items, [{}] * 100, list(map(str, range(100))), mean, resamples=4000)
    assert result.value == 50
    assert result.stderr == pytest.approx(100 * math.sqrt(0.25 / 100), rel=0.05)
    assert (result.n, result.clusters) == (100, 100)


def test_questions_about_one_image_are_drawn_together():
    # Two images with means .5 and 1: a draw gives .5, .75, .75 or 1, so the variance is .0625 / 2.
    result = scored("mean", [1.0, 0.0, 1.0, 1.0], [{}] * 4, ["a", "a", "b", "b"], mean, resamples=20000)
    assert result.value == 75
    assert result.clusters == 2
    assert result.stderr == pytest.approx(100 * math.sqrt(0.03125), rel=0.03)


def test_images_with_many_questions_weigh_more():
    result = scored("mean", [1.0, 1.0, 1.0, 0.0], [{}] * 4, ["a", "a", "a", "b"], mean)
    assert result.value == 75


def mme_items(*answers, category="color"):
    return [
        {"question_id": f"{category}{i}", "category": category, "score": float(right)}
        for i, pair in enumerate(answers)
        for right in pair
    ]


def test_mme_sums_accuracy_and_accuracy_plus_over_categories():
    from lmms_eval.tasks.mme.utils import mme_aggregate_results

    # color: (100 + 100) and (50 + 0), mean 125. count: (0 + 0) and (100 + 100), mean 100.
    items = mme_items((1, 1), (1, 0)) + mme_items((0, 0), (1, 1), category="count")
    result = scored("pair_sum", items, [{}] * 8, ["x"] * 8, mme_aggregate_results, resamples=20000)
    assert result.value == 225
    assert result.parts == {"color": 125, "count": 100}
    # the mean of two draws from {200, 50} has variance 75^2 / 2, from {0, 200} 100^2 / 2; they add up
    assert result.stderr == pytest.approx(math.sqrt(75**2 / 2 + 100**2 / 2), rel=0.03)
    assert (result.n, result.clusters) == (8, 4)
    assert [row["cluster"] for row in result.rows] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [row["part"] for row in result.rows] == ["color"] * 4 + ["count"] * 4


def pope_items(*rows):
    return [{"score": float(p == g), "prediction": p, "ground_truth": g} for p, g in rows]


def test_pope_is_the_mean_of_its_categories_f1():
    from lmms_eval.tasks.pope.utils import pope_aggregate_f1_score

    # random: both right, F1 = 1. popular: yes to everything, precision 1/2, recall 1, F1 = 2/3.
    items = pope_items(("yes", "yes"), ("no", "no"), ("yes", "yes"), ("yes", "no"))
    docs = [{"category": c} for c in ("random", "random", "popular", "popular")]
    result = scored("category_f1", items, docs, ["a", "b", "a", "b"], pope_aggregate_f1_score)
    assert result.value == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert result.parts == pytest.approx({"random": 100, "popular": 200 / 3})
    assert result.clusters == 2
    assert result.rows == tuple(
        {"score": right, "cluster": cluster, "part": part}
        for right, cluster, part in [(1, 0, "random"), (1, 1, "random"), (1, 0, "popular"), (0, 1, "popular")]
    )
    # both images: 5/6; image a twice: 1 and 1; image b twice: no "yes" is right in either: 0 and 0
    expected = math.sqrt((2 * (5 / 6) ** 2 + 1) / 4 - ((2 * 5 / 6 + 1) / 4) ** 2)
    assert scored(
        "category_f1", items, docs, ["a", "b", "a", "b"], pope_aggregate_f1_score, resamples=20000
    ).stderr == pytest.approx(100 * expected, rel=0.03)


def mmstar_items(*rows):
    return [{"question_id": i, "l2_category": group, "score": right} for i, (group, right) in enumerate(rows)]


def test_mmstar_is_the_mean_of_its_groups_means():
    from lmms_eval.tasks.mmstar.utils import mmstar_aggregate_results

    # geometry: 2 of 3 right. diagrams: both right. Image a has the first three questions, b the others.
    items = mmstar_items(("geo", 1.0), ("geo", 1.0), ("dia", 1.0), ("geo", 0.0), ("dia", 1.0))
    images = ["a", "a", "a", "b", "b"]
    result = scored("group_mean", items, [{}] * 5, images, mmstar_aggregate_results, resamples=20000)
    assert result.value == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert result.parts == pytest.approx({"geo": 200 / 3, "dia": 100})
    assert (result.n, result.clusters) == (5, 2)
    assert [row["score"] for row in result.rows] == [1, 1, 1, 0, 1]
    # both images: 5/6 (two draws of four); a twice: 1; b twice: (0 + 1) / 2
    expected = math.sqrt((2 * (5 / 6) ** 2 + 1 + 0.25) / 4 - ((2 * 5 / 6 + 1 + 0.5) / 4) ** 2)
    assert result.stderr == pytest.approx(100 * expected, rel=0.03)


def test_a_group_that_is_not_drawn_does_not_count():
    from lmms_eval.tasks.mmstar.utils import mmstar_aggregate_results

    # one right question of one group, one wrong of the other: both 1/2, one of them twice 1 or 0
    items = mmstar_items(("geo", 1.0), ("dia", 0.0))
    result = scored("group_mean", items, [{}] * 2, ["a", "b"], mmstar_aggregate_results, resamples=20000)
    assert (result.value, result.stderr) == (50, pytest.approx(100 * math.sqrt(0.125), rel=0.03))


def test_an_item_that_is_no_number_is_aggregated_alone():
    from lmms_eval.tasks.seedbench.utils import seed_aggregation_result

    items = [{"pred": said, "answer": "B", "question_id": "1"} for said in ("B", "A", "b", "B")]
    result = scored("mean", items, [{}] * 4, list("aabb"), seed_aggregation_result)
    assert (result.value, [row["score"] for row in result.rows]) == (75, [1, 0, 1, 1])
    assert result.clusters == 2


def test_mmbench_counts_a_question_only_if_all_of_its_copies_are_right():
    from lmms_eval.tasks.mmbench.cn_utils import mmbench_evaluator

    def aggregate(items):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mmbench_evaluator.eval_result(items, "static")[0] * 100

    def item(index, answer, said):
        letters = dict.fromkeys("ABCD", "x")
        fixed = {
            "category": "c",
            "L2-category": "l",
            "question": "q",
            "hint": None,
            "source": "s",
            "split": "dev",
        }
        return {"index": index, "answer": answer, "prediction": said, **letters, **fixed}

    items = [item(1, "A", "A"), item(1_000_001, "B", "C"), item(2, "D", "D"), item(3, "B", "B")]
    result = scored("circular_mean", items, items, ["x"] * 4, aggregate, resamples=20000)
    assert result.value == pytest.approx(200 / 3)
    assert (result.n, result.clusters) == (4, 3)
    assert result.stderr == pytest.approx(100 * math.sqrt(2 / 9 / 3), rel=0.03)
    assert [row["score"] for row in result.rows] == [0, 0, 1, 1]


def test_the_same_seed_gives_the_same_error_and_another_seed_another():
    items, images = [1.0, 0.0, 1.0, 0.0, 1.0], list("abcde")
    errors = [scored("mean", items, [{}] * 5, images, mean, seed=seed).stderr for seed in (1, 1, 2)]
    assert errors[0] == errors[1] != errors[2]


def test_one_cluster_has_no_error():
    assert scored("mean", [1.0, 0.0], [{}] * 2, ["a", "a"], mean).stderr is None


def test_no_sample_is_no_score():
    with pytest.raises(ValueError, match="at least one"):
        scored("mean", [], [], [], mean)


def test_a_statistic_that_is_not_lmms_evals_is_a_bug():
    with pytest.raises(RuntimeError, match="aggregates to 700"):
        scored("mean", [1.0], [{}], ["a"], lambda items: 7)
