"""Processor time of starts and of decode steps: the pages say which goals are met."""

import os

import pytest

from pdrop_eval.utils.paths import PACKAGE

pytestmark = pytest.mark.skipif(
    not (PACKAGE.parent / "tools").is_dir(),
    reason="benchmarks are in a checkout only",
)
CODE = {"version": "0.1", "commit": "a" * 40, "dirty": False}


def test_ratios_of_starts_are_of_the_same_round_and_a_goal_that_is_missed_is_named():
    from tools.speed.answering.startup import summary
    from tools.speed.answering.startup_page import page_of

    rows = [
        summary("two questions", {"before": [16, 12, 20], "now": [8, 9, 5]}, 8.0),
        summary("nothing to do", {"before": [4, 4, 4], "now": [2, 2, 2]}, 1.5),
    ]
    assert rows[0]["ratio"] == [0.375, 0.5, 0.625]  # 1/2, 3/4, 1/4
    assert [row["met"] for row in rows] == [True, False]
    page = page_of({"rows": rows, "before": "3c6f181", "rounds": 3, "code": CODE, "hardware": "A"})
    assert "**Two questions take 8.0 s of processor time, 0.50 times" in page
    assert "Goals missed: nothing to do." in page


def test_every_console_script_is_timed():
    from tools.speed.answering.startup import SCRIPTS

    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.partition("[project.scripts]\n")[2].partition("\n\n")[0].splitlines()
    assert dict(line.replace('"', "").removesuffix(":main").split(" = ") for line in listed) == SCRIPTS


def test_processor_time_is_that_of_the_whole_process(tmp_path, monkeypatch):
    from tools.speed.answering import startup

    (tmp_path / "busy.py").write_text(
        "import sys, time\nwhile time.process_time() < 0.15: pass\nsys.exit(3)\n"
    )
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path.parent / "busy.py").write_text("the current folder's")  # an error where it is run
    assert 0.15 <= startup.processor_seconds(["busy"], 3, tmp_path) < 2
    with pytest.raises(SystemExit, match="ended with 3"):
        startup.processor_seconds(["busy"], 0, tmp_path)
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"


def test_a_decode_step_is_held_against_vanillas_of_the_same_round():
    from tools.speed.prefill.decode import ratios

    steps = {"vanilla": [0.01, 0.02, 0.04], "pdrop": [0.008, 0.01, 0.04]}
    found = ratios({name: {"decode": {"all_cpu_seconds": one}} for name, one in steps.items()})
    assert found["vanilla"][1] == [1, 1, 1]
    assert found["pdrop"] == (pytest.approx([9, 10, 25]), pytest.approx([0.65, 0.8, 0.9]))
