"""The comparison with real runs of a tiny random model: evaluated once, then taken from their records."""

import json
import sys
from pathlib import Path

import pytest

from pdrop_eval.report.compare import cli
from pdrop_eval.run.evaluate import cli as evaluate

TASKS = "tasks=[gqa,pope,mme]"


@pytest.fixture
def compare(llava, data, lmms_eval, monkeypatch, capsys):
    """Runs the command on the tiny model and data; returns its status, the JSON and standard output."""

    def run(*arguments):
        given = [f"model.pretrained={llava}", f"data.root={data}", "limit=4", TASKS, "name=x", *arguments]
        monkeypatch.setattr(sys, "argv", ["pdrop-eval-compare", *map(str, given)])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        found = json.loads(Path("results/compare/x.json").read_text(encoding="utf-8"))
        return leaving.value.code, found, capsys.readouterr().out

    return run


@pytest.mark.slow
def test_retaining_everything_changes_no_answer(compare, monkeypatch):
    keep_all = "candidate_overrides=[strategy.ratio=1.0]"
    status, found, shown = compare(keep_all, "downsample=2")
    assert status == 0
    assert {one["agreement"] for one in found["benchmarks"]} == {100.0}
    assert found["overall"]["agreement"] == 100
    assert [run["role"] for run in found["runs"].values()] == ["baseline", "candidate", "downsampled"]
    assert found["runs"]["candidate"]["strategy"]["fields"]["ratio"] == 1.0
    assert [text for text in found["warnings"] if not text.startswith("code ")] == []  # commits may come in
    assert "PASSED" in shown
    # the same again, without a model
    monkeypatch.setattr(evaluate, "_run", lambda *_: pytest.fail("a finished run was computed again"))
    assert compare(keep_all, "downsample=2")[0] == 0
    # and from a record's folder, against the strategy
    folder = found["runs"]["baseline"]["folder"]
    status, found, _ = compare(keep_all, f"baseline={folder}")
    assert status == 0
    assert found["runs"]["baseline"]["run_id"] == Path(folder).name


@pytest.mark.slow
def test_a_candidate_that_changes_answers_is_told_apart(compare):
    status, found, _ = compare("candidate=pdrop", "candidate_overrides=[strategy.ratio=0.1]", "max_drop=5")
    assert status in (0, 1)  # a random model's scores say nothing; its answers do
    changed = sum(one["changed"] for one in found["benchmarks"])
    rows = Path("results/compare/x.answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert changed == len(rows) > 0
    pictures = [json.loads(row)["picture"] for row in rows]
    named = [name for name in pictures if name]
    assert named
    assert all(Path("results/compare/x.pictures", name).is_file() for name in named)
