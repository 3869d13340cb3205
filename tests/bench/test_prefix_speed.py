"""What shared prefixes bring is measured in one run, and the page says whether the goal is met."""

import pytest

from pdrop_eval.utils.paths import PACKAGE

pytestmark = pytest.mark.skipif(
    not (PACKAGE.parent / "tools").is_dir(),
    reason="benchmarks are in a checkout only",
)


def asked(strategy="vanilla", task="gqa", off=12.0, on=4.0, why=""):
    """Made-up times of 62 questions."""
    return {
        "strategy": strategy, "task": task, "questions": 62, "layers": 0 if why else 8, "why": why,
        "off": [off], "on": [] if why else [on], "wall": [[off], [] if why else [on * 2]], "same": 62,
        "bytes_7b": 85_000_000,
    }  # fmt: skip


def record(*goals, strategies=()):
    return {
        "goals": list(goals), "strategies": list(strategies), "layers": 32, "width": 256, "batch_size": 8,
        "new_tokens": 2, "rounds": 1, "images": 2, "load": {"others": 1.5}, "hardware": {"cpu": "A|B"},
        "packages": {"torch": "2", "transformers": "5"}, "code": {"version": "0.1", "commit": "a" * 40},
    }  # fmt: skip


def test_the_page_says_whether_the_goal_is_met_and_what_each_strategy_gains():
    from tools.speed.answering.prefix_page import prefix_page

    page = prefix_page(
        record(
            asked(),
            asked(task="pope", on=5.0),
            strategies=[
                asked("fastv", "pope", 6, 5),
                asked("pdrop", "pope", 6, 4),
                asked("random", why="it draws"),
            ],
        )
    )
    assert "Met: 3.00 times on GQA, 2.40 times on POPE." in page
    # 62 questions in 12 and in 4 seconds, 31 an image; by the clock, 12 against 8.
    (row,) = (line for line in page.splitlines() if line.startswith("| GQA"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["GQA", "31", "62", "5.17", "15.50", "3.00", "1.50", "62 of 62"]
    assert page.index("PDrop") < page.index("FastV") < page.index("it draws")
    assert "85 MB" in page
    assert "A\\|B" in page
    missed = prefix_page(record(asked(on=8.0)))
    assert "Missed: 1.50 times on GQA." in missed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_small_run_gives_the_same_answers_with_and_without(monkeypatch):
    from tools.speed.answering import prefix

    monkeypatch.setattr(prefix, "TASKS", {"gqa": 3, "pope": 3})
    monkeypatch.setattr(prefix, "IMAGES", 1)
    monkeypatch.setattr(prefix, "SIDE", 126)
    found = prefix.run(32, 1, only=("pdrop", "random"))
    assert [one["task"] for one in found["goals"]] == ["gqa", "pope"]
    assert all(one["same"] == one["questions"] for one in (*found["goals"], *found["strategies"]))
    pdrop, random = sorted(found["strategies"], key=lambda one: one["strategy"])
    assert (pdrop["layers"], len(pdrop["on"])) == (8, 1)
    assert (random["layers"], len(random["on"])) == (0, 0)
    # 611 tokens, keys and values of 8 layers and the states at the drop, 4,096 wide, two bytes each
    assert pdrop["bytes_7b"] == 611 * (2 * 8 + 1) * 4096 * 2
