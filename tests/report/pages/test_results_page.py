"""The page of all results: every table, and links that lead somewhere."""

import json
import re

import pytest
from report_records import LLAVA_15, training_record

from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.tables.spec import TABLES

PDROP = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.5}
SPEED = {
    "cases": [
        {
            "name": "miniature",
            "strategies": [
                {"name": "vanilla", "fields": {}},
                {"name": "pdrop", "fields": {"ratio": 0.5}, "speedup": [1.5, 1.6, 1.7], "bound": 1.69},
            ],
        }
    ]
}


@pytest.fixture
def page(add_run, all_scores, tmp_path):
    """Writes it, of one model trained without and one with dropping; returns its text."""
    scores = all_scores(1400, 60.0, TABLES[1].benchmarks)
    add_run("vanilla", scores, training=training_record())
    training = training_record("pdrop", 0.5, steps=9)
    add_run("pdrop", scores, model="mini576_pdrop_05", kind=PDROP, training=training)

    def write():
        out = tmp_path / "results" / "README.md"
        make_tables(tmp_path / "runs", tmp_path / "results" / "tables", page=out)
        return out.read_text(encoding="utf-8")

    return write


def test_all_five_tables_are_there_measured_and_as_printed(page):
    text = page()
    for number in range(1, 6):
        assert f"### Table {number}" in text
        assert f"Table {number} as the paper prints it" in text
    assert "| LLaVA-NeXT-7B | vanilla" in text
    assert "NOT A FAIR COMPARISON" in text  # 700 and 9 steps


def test_its_links_lead_to_files(page, tmp_path):
    (tmp_path / "results" / "training").mkdir(parents=True)
    for name, content in (("speed.json", json.dumps(SPEED)), ("speed.md", "")):
        (tmp_path / "results" / "training" / name).write_text(content)
    (tmp_path / "results" / "figures").mkdir()
    drawn = tmp_path / "results" / "figures" / "rank_mini_vs_7b.svg"
    drawn.touch()
    drawn.with_suffix(".md").write_text("# The order\n\n![Both](rank_mini_vs_7b.svg)\n\n| all | 0.8 |\n")
    text = page()
    assert "## What the miniature predicts of a 7B model\n\n![Both](figures/rank_mini_vs_7b.svg)" in text
    assert "| all | 0.8 |\n\nFigure and numbers: [rank_mini_vs_7b](figures/rank_mini_vs_7b.md)." in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert "training/speed.md" in links
    assert "training/findings.md" in links
    assert [link for link in links if not (tmp_path / "results" / link).is_file()] == []
    assert "- miniature, PDrop λ=0.5: 1.60 [1.50, 1.70], bound 1.69." in text


def test_without_a_benchmark_of_speed_nothing_is_said_of_it(page):
    assert "speed" not in page().lower().replace("make bench-train", "")


def test_findings_that_can_not_be_compared_are_left_to_their_page(page, tmp_path):
    # records without samples: nothing to pair
    assert "Which of the paper's claims" not in page()
    findings = (tmp_path / "results" / "training" / "findings.md").read_text(encoding="utf-8")
    assert "Not compared: LLaVA-1.5 mini576, λ=0.5" in findings
