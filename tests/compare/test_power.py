"""What could be seen before a run is made: by hand, by simulation, and what the command says."""

import re

import numpy as np
import pytest
from compare_samples import marks, mme
from compared_records import answers, command, record

from pdrop_eval.benchmarks.scoring.difference import paired_difference
from pdrop_eval.benchmarks.scoring.power import Design, Part, detectable, inflation_of, times
from pdrop_eval.benchmarks.scoring.rules import scoring_rule

MEAN = scoring_rule("mean")


def part(n=400, changed=0.1, size=1, inflation=1.0):
    return Part(Design.of(MEAN, marks(*[0] * n, size=size)), changed, inflation)


def test_a_design_is_that_of_the_one_interval():
    found = Design.of(MEAN, marks(*[0] * 6, size=2))
    assert (found.n, found.units) == (6, 3)
    assert (found.questions, found.effective, found.worst) == pytest.approx((6, 3, 2))
    difference = paired_difference(MEAN, marks(*[0] * 6, size=2), marks(1, 0, 0, 0, 0, 0, size=2))
    assert (difference.questions, difference.effective) == (found.questions, found.effective)
    pairs = Design.of(scoring_rule("pair_sum"), mme(("a", 0, 0), ("a", 0, 0), ("b", 0, 0)))
    # pairs weigh 100, 100 and 200 points: 400^2 / (100^2 + 100^2 + 200^2) = 2.667 pairs of two questions
    assert (pairs.units, round(pairs.effective, 3), round(pairs.questions, 3)) == (3, 2.667, 5.333)


def test_what_is_seen_by_hand():
    # n = 400, c = 0.1: 1.966 sqrt(0.1 / 400) + 0.8416 sqrt((0.1 - 0.0443^2) / 400) = 0.0311 + 0.0132 = 0.0443
    assert detectable([part()]) == pytest.approx(4.43, abs=0.005)
    # 2 points: 0.0311 + 0.8416 sqrt((0.1 - 0.0004) / 400) = 0.0444 = 2.218 times 0.02
    assert times([part()], 2) == pytest.approx(2.218**2, abs=0.01)
    assert times([part()], detectable([part()])) == pytest.approx(1)


def test_pictures_that_change_together_cost_their_size():
    alone, together = part(size=4), part(size=4, inflation=4.0)
    assert together.design.worst == 4
    assert times([together], 3) == pytest.approx(4 * times([alone], 3))


def test_the_mean_of_equal_benchmarks_sees_less_by_the_root_of_their_number():
    # with the same c the sum of four errors is that of one with four times the questions
    four, one = [part(n=1000)] * 4, [part(n=4000)]
    assert detectable(four) == pytest.approx(detectable(one), rel=1e-3)


def test_more_than_changes_can_not_be_seen():
    assert detectable([part(n=40, changed=0.05)]) is None
    assert times([part(changed=0.05)], 6) is None


def test_a_simulation_sees_four_of_five():
    random = np.random.default_rng(5)
    n, changed = 300, 0.15
    points = detectable([part(n, changed)])
    share = points / 100
    seen, draws = 0, 400
    for _ in range(draws):
        kinds = random.choice(
            [1, -1, 0], size=n, p=[(changed + share) / 2, (changed - share) / 2, 1 - changed]
        )
        before, after = marks(*(kinds < 0)), marks(*(kinds > 0))
        seen += paired_difference(MEAN, before, after).sign == 1
    assert 0.74 <= seen / draws <= 0.86


def test_the_design_effect_between_two_runs():
    before, both = marks(*[0] * 80, size=2), [1, 1] * 4 + [0, 0] * 36
    assert inflation_of(paired_difference(MEAN, before, marks(*both, size=2))) == pytest.approx(2, abs=0.1)
    apart = [1, 0] * 8 + [0, 0] * 32
    assert inflation_of(paired_difference(MEAN, before, marks(*apart, size=2))) == 1
    assert inflation_of(paired_difference(MEAN, before, before)) == 2  # nothing changed: the bound


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agreement=.9"], "agreement=0.9 is for power=true"),
        (["power=true", "agreement=1"], "agreement=1 is not allowed.*agreement=.9"),
        (["power=true", "agreement=yes"], "agreement=yes is not allowed"),
        (["power=true", "difference=0"], "difference=0 is not allowed"),
        (["power=yes"], "power=yes is not allowed: use true or false"),
        (["power=true", "limit=8", "subset=ci64"], "can't be given together"),
        (["power=true", "suite=paper", "tasks=[gqa]"], "gqa aren't on this disk.*limit=<questions>"),
        (["power=true", "tasks=[mmvet]"], "needs a judge"),
    ],
)
def test_what_can_not_be_right_is_refused(monkeypatch, capsys, arguments, words):
    monkeypatch.setenv("HF_HUB_CACHE", "nowhere")
    assert command(monkeypatch, *arguments) == 2
    assert re.search(words, " ".join(capsys.readouterr().err.split()))


@pytest.mark.usefixtures("elsewhere")
def test_data_that_are_not_here_count_as_so_many_questions(monkeypatch, capsys):
    given = ("power=true", "suite=paper", "tasks=[gqa]", "limit=400", "agreement=.9", "difference=2")
    assert command(monkeypatch, *given) == 0
    said = capsys.readouterr().out
    assert "limit=400" in said
    assert "10% of the questions earn something else" in said
    # 4.43 points, and 400 times 2.2182 squared, as above, rounded up
    assert ["GQA", "400", "400", "4.4", "1,969"] in [line.split() for line in said.splitlines()]
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.usefixtures("elsewhere")
def test_the_agreement_of_two_runs_that_are_there_is_taken(monkeypatch, capsys, tmp_path):
    folders = [
        record(tmp_path / name, name, gqa=answers(40, range(wrong)))
        for name, wrong in (("vanilla", 0), ("pdrop", 4))
    ]
    given = (f"baseline={folders[0]}", f"candidate={folders[1]}", "suite=paper", "tasks=[gqa]", "limit=400")
    assert command(monkeypatch, "power=true", *given) == 0
    said = capsys.readouterr().out
    assert "agreement as between the two runs" in said
    assert ["GQA", "400", "400", "4.4"] in [line.split() for line in said.splitlines()]  # 4 of 40 changed
