"""The imported log of lmms-eval's own model agrees with our vanilla run of the miniature in every answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_results import importing, stored

from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.report.paired.effect import measure
from pdrop_eval.report.paired.pairing import pair
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli as evaluate
from pdrop_eval.run.lmms.tasks.offline_tasks import write_tasks
from pdrop_eval.utils.paths import MINI_CHECKPOINT

TASKS = ("mme", "gqa", "pope", "docvqa_val", "mmstar")
LIMIT = 8


def evaluated(strategy):
    given = ["model=mini", f"strategy={strategy}", f"limit={LIMIT}", f"tasks=[{','.join(TASKS)}]"]
    return evaluate.evaluate(compose_spec([*given, "results=out"]))


def logged(model, arguments, folder):
    """Runs lmms-eval's own command on the rendered tasks, with --log_samples."""
    write_tasks(Path("tasks").resolve())
    command = [
        sys.executable, "-m", "lmms_eval", "--model", model, "--model_args", arguments,
        "--include_path", "tasks",
        "--tasks", ",".join(f"{task}_rendered" for task in TASKS), "--limit", str(LIMIT), "--log_samples",
        "--output_path", folder, "--batch_size", "1", "--device", "cpu",
    ]  # fmt: skip
    package = Path(__file__).resolve().parents[2]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(package)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert list(Path(folder).rglob("*_samples_gqa_rendered.jsonl")), done.stderr[-3000:]


def agreements(ours, imported):
    one, other = (to_runs([record])[0] for record in (ours, imported))
    found = {key: measure(pair(one, other, key)) for key in one.results}
    assert len(found) == len(TASKS)
    for effect in found.values():
        assert effect.found.value == 0
        assert "imported results: paired by question and picture" in effect.notes
    return {effect.agreement for effect in found.values()}


@pytest.mark.slow
def test_stock_llava_hf_agrees_with_our_vanilla_run_to_the_last_answer():
    ours = evaluated("vanilla")
    logged("llava_hf", f"pretrained={MINI_CHECKPOINT},device_map=cpu,dtype=float32", "logs")
    for asked in (f"like={ours['folder']}", "suite=mini"):
        record, _ = importing("kind=lmms_eval", "from=logs", "model=mini", asked)
        assert agreements(ours, record) == {1.0}
        for task, entry in record["tasks"].items():
            mine = ours["tasks"][task]
            assert entry["data_sha256"] == mine["data_sha256"]
            for name in ("score", "n", "clusters", "stderr", "parts"):
                assert entry[name] == pytest.approx(mine[name], abs=1e-9)
    # answers alone, scored here by lmms-eval's metric
    rows = stored(record, "docvqa_val")
    text = "".join(json.dumps({"doc_id": one["doc_id"], "answer": one["answer"]}) + "\n" for one in rows)
    Path("docvqa_val.jsonl").write_text(text)
    record, _ = importing("kind=table", "from=docvqa_val.jsonl", "suite=mini")
    assert record["tasks"]["docvqa_val"]["score"] == pytest.approx(ours["tasks"]["docvqa_val"]["score"])


@pytest.mark.whole
@pytest.mark.slow
def test_our_own_model_in_lmms_evals_command_is_imported_as_the_run_that_it_is():
    ours = evaluated("pdrop")
    logged("pdrop_llava", "pretrained=embedded,strategy=pdrop,dtype=float32", "logs")
    record, _ = importing("kind=lmms_eval", "from=logs", f"like={ours['folder']}")
    assert agreements(ours, record) == {1.0}
