"""The rule of fixed subsets: what it depends on, and what it doesn't."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest

from pdrop_eval.benchmarks.subset import SUBSETS, check_subset, choose
from pdrop_eval.utils.errors import UserError


def info(task="t", scoring="mean", unique=("id",), groups=()):
    return SimpleNamespace(task=task, scoring=scoring, unique=unique, groups=groups)


def ids_of(chosen, rows):
    return {rows[place]["id"] for place in chosen.places}


ROWS = [{"id": number, "kind": "a" if number < 75 else "b", "text": f"q{number}"} for number in range(100)]


def test_the_same_questions_are_chosen_in_any_order_of_the_data():
    mixed = random.Random(3).sample(ROWS, len(ROWS))
    one, other = choose(info(), "ci16", ROWS), choose(info(), "ci16", mixed)
    assert ids_of(one, ROWS) == ids_of(other, mixed)
    assert one.ids_sha256 == other.ids_sha256
    assert len(one.places) == 16
    assert list(one.places) == sorted(one.places)


def test_other_tasks_and_sizes_have_other_questions():
    found = [choose(info(task), name, ROWS).ids_sha256 for task in ("t", "u") for name in ("ci16", "ci64")]
    assert len(set(found)) == 4


def test_a_pictures_bytes_decide_nothing_and_a_row_without_a_number_goes_by_its_texts():
    bare = [{"text": row["text"], "image": b"%d" % row["id"]} for row in ROWS]
    other = [{**row, "image": b"other"} for row in bare]
    one, two = (choose(info(unique=()), "ci16", rows) for rows in (bare, other))
    assert one == two
    alike = [{"text": "the same"} for _ in range(40)]
    assert len(choose(info(unique=()), "ci16", alike).places) == 16


def test_each_group_has_its_share():
    rows = choose(info(groups=("kind",)), "ci16", ROWS).places
    assert Counter(ROWS[place]["kind"] for place in rows) == {"a": 12, "b": 4}  # 75 and 25 of 100


def test_shares_are_rounded_by_the_largest_remainder():
    # 16 x 50/90 = 8.89, 16 x 30/90 = 5.33, 16 x 10/90 = 1.78: 8 + 5 + 1, and the last two places by remainder
    rows = [{"id": n, "kind": "abc"[(n >= 50) + (n >= 80)]} for n in range(90)]
    chosen = choose(info(groups=("kind",)), "ci16", rows)
    assert Counter(rows[place]["kind"] for place in chosen.places) == {"a": 9, "b": 5, "c": 2}


def test_what_scores_together_stays_whole():
    pairs = [
        {"category": "ab"[n % 2], "question_id": f"p{n}", "question": side}
        for n in range(50)
        for side in "xy"
    ]
    chosen = choose(info("mme", "pair_sum", ("question",), ("category",)), "ci16", pairs)
    both = Counter((pairs[place]["category"], pairs[place]["question_id"]) for place in chosen.places)
    assert set(both.values()) == {2}
    assert len(chosen.places) == 16
    copies = [{"index": n + 1_000_000 * turn} for n in range(30) for turn in range(3)]
    chosen = choose(info("mmbench_en_dev", "circular_mean", ("index",)), "ci16", copies)
    whole = Counter(copies[place]["index"] % 1_000_000 for place in chosen.places)
    assert set(whole.values()) == {3}
    assert len(chosen.places) == 15  # five times three: a sixth would be 18


def test_of_few_questions_all_are_taken():
    assert choose(info(), "ci256", ROWS).places == tuple(range(100))


def test_a_subset_that_there_is_not_or_with_a_limit_is_refused():
    check_subset(None, 7)
    for name in SUBSETS:
        check_subset(name, None)
    with pytest.raises(UserError, match=r"subset: 'ci65'. Allowed: ci16, ci64, ci256. Did you mean ci64"):
        check_subset("ci65", None)
    with pytest.raises(UserError, match="subset=ci64 and limit=8 can't be given together"):
        check_subset("ci64", 8)
