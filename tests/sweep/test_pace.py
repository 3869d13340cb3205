"""How long a cell of a sweep takes, from records: what of them tells the number of questions."""

from types import SimpleNamespace

from pdrop_eval.run.sweep.plan.pace import Pace


def run_of(limit=None, subset=None):
    config = SimpleNamespace(limit=limit, subset=subset)
    return SimpleNamespace(
        asked=SimpleNamespace(model="mini", suite="mini"),
        plan=SimpleNamespace(config=config, strategy="pdrop"),
    )


def record(n, **more):
    entry = {"n": n, "wall_seconds": 2.0 * n}
    return {
        "model": {"name": "mini"}, "strategy": {"name": "pdrop"}, "suite": {"name": "mini"},
        "tasks": {"gqa": entry}, **more,
    }  # fmt: skip


def test_a_subset_tells_the_time_of_a_question_but_not_how_many_there_are():
    pace = Pace([record(64, subset="ci64")])
    assert pace.questions(run_of(), "gqa") is None
    assert pace.seconds(run_of(limit=10), "gqa") == 20
    assert pace.seconds(run_of(subset="ci16"), "gqa") == 32
    whole = Pace([record(40)])
    assert whole.questions(run_of(subset="ci64"), "gqa") == 40
    assert whole.questions(run_of(), "gqa") == 40
