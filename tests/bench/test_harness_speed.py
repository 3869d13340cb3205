"""What the harness takes beyond the model is told with its parts, and held against the goal."""

import pytest

from pdrop_eval.utils.paths import PACKAGE

pytestmark = pytest.mark.skipif(
    not (PACKAGE.parent / "tools").is_dir(),
    reason="benchmarks are in a checkout only",
)


def size(layers=28, alone=5.0, inside=5.05, whole=5.25):
    """Two rounds of 100 questions: by these seconds of the processor, and twice as many on the wall."""
    spent = {"whole": whole, "inside": inside, "alone": alone, "preparing": 0.1, "noting": 0.02}
    return {
        "layers": layers, "questions": 100, "batch_size": 8, "strategy": "vanilla", "tasks": ["pope"],
        "rounds": [{part: [seconds, 2 * seconds] for part, seconds in spent.items()}] * 2,
    }  # fmt: skip


def record(*sizes):
    return {
        "sizes": list(sizes), "width": 256, "new_tokens": 2, "threads": 1, "load": {"others": 1.5},
        "hardware": {"cpu": "A|B"}, "packages": {"torch": "2", "transformers": "5"},
        "code": {"version": "0.1", "commit": "a" * 40, "dirty": False},
    }  # fmt: skip


def test_the_page_tells_the_share_its_parts_and_whether_the_goal_is_met():
    from tools.speed.answering.harness_page import harness_lines, harness_page

    page = harness_page(record(size(), size(layers=7, alone=1.0, inside=1.0, whole=1.2)))
    # 0.2 of 5 seconds are outside of the model; the whole is 0.25 more. The second is too fast for a goal.
    assert "Met: 4.0%." in page
    (row,) = (line for line in page.splitlines() if line.startswith("|       28"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["28", "vanilla", "50.0", "2.00", "1.00", "0.20", "4.0%", "+5.0%", "+5.0%"]
    assert "A\\|B" in page
    assert "Missed by 5.0 points: 4.0%, 10.0%." in harness_page(record(size(), size(layers=56, whole=5.55)))
    assert "No model here takes so long." in harness_page(record(size(alone=3.0)))
    assert harness_lines(record(size())) == "- 50.0 ms of the model: 4.0% beyond"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_small_run_counts_each_part_once():
    from tools.speed.answering import harness

    found = harness.measure(4, 1, ["limit=9", "strategy=pdrop"], lambda _: None)
    (spent,) = found["rounds"]
    assert (found["questions"], found["strategy"]) == (9, "pdrop")
    for clock in (0, 1):
        assert spent["whole"][clock] > spent["inside"][clock] + spent["preparing"][clock] > 0
        assert spent["alone"][clock] > 0
        assert 0 < spent["noting"][clock] < spent["whole"][clock]
