"""A run on a fixed subset: the same questions for every model, named in the record, kept apart in reports."""

from pathlib import Path

import pytest
from answering_server import MODEL, answer_to, completion, serving

from pdrop_eval.benchmarks import subset
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_samples
from pdrop_eval.report.tables.cells import PARTIAL, measured_cell
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli


@pytest.fixture
def run(data, monkeypatch):
    monkeypatch.setitem(subset.SUBSETS, "ci16", 4)  # of the six questions that the test's data have
    with serving() as server:
        server.say = lambda asked: completion(answer_to(asked))

        def made(*more):
            given = ["model=endpoint", f"model.base_url={server.url}", f"model.served={MODEL}"]
            return cli.evaluate(
                compose_spec([*given, f"data.root={data}", "tasks=[mme]", "bootstrap=0", *more])
            )

        yield made


@pytest.mark.slow
def test_a_subset_is_asked_named_and_told_apart(run):
    whole = run("results=a")
    part, again = run("results=a", "subset=ci16"), run("results=b", "subset=ci16", "model.name=another")
    samples = [load_samples(Path(one["folder"]), "mme") for one in (whole, part, again)]
    asked = [sample["doc_id"] for sample in samples[1]]
    assert (len(samples[0]), len(asked)) == (6, 4)
    assert [sample["doc_id"] for sample in samples[2]] == asked
    by_id = {sample["doc_id"]: sample for sample in samples[0]}
    same = ("prompt", "answer", "target", "content_sha256", "score")
    assert [[sample[key] for key in same] for sample in samples[1]] == [
        [by_id[place][key] for key in same] for place in asked
    ]
    entries = [one["tasks"]["mme"] for one in (part, again)]
    assert entries[0]["subset"] == entries[1]["subset"]
    assert entries[0]["subset"]["name"] == part["subset"] == "ci16"
    assert "subset" not in whole["tasks"]["mme"]
    assert whole["run_id"] != part["run_id"]
    assert "subset=ci16" in part["changes"]
    found = to_runs([part])[0]
    assert (measured_cell(found, "mme").state, measured_cell(found, "mme").why) == (PARTIAL, "subset=ci16")
