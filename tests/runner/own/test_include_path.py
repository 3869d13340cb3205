"""`include_path=`: the user's own tasks, as YAML files of lmms-eval's form."""

import pyarrow as pa
import pytest
from own_folders import COLOURS, make_pictures
from pyarrow import parquet

from pdrop_eval.benchmarks.installed import index
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.errors import UserError

YAML = """task: my_colours
dataset_path: parquet
dataset_kwargs: {data_files: {test: rows.parquet}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.pictures
doc_to_text: "{{question}}"
doc_to_target: answer
generation_kwargs: {max_new_tokens: 4, temperature: 0, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}
metadata: [{version: 0.0}]
"""
UTILS = """import io

from PIL import Image


def pictures(doc):
    return [Image.open(io.BytesIO(doc["image"])).convert("RGB")]
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "_users", {})


@pytest.fixture
def folder(tmp_path):
    """A folder with one task, and its four questions in the working folder."""
    made = tmp_path / "my_tasks"
    made.mkdir()
    (made / "my_colours.yaml").write_text(YAML, encoding="utf-8")
    (made / "utils.py").write_text(UTILS, encoding="utf-8")
    names = make_pictures(tmp_path)
    rows = [
        {"question": f"Which colour, {n}?", "answer": COLOURS[n], "image": (tmp_path / name).read_bytes()}
        for n, name in enumerate(names)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    return made


def test_the_doctor_says_whether_the_data_of_a_task_are_there(folder, tmp_path, monkeypatch):
    from pdrop_eval.run.doctor import inputs

    monkeypatch.chdir(tmp_path)
    spec = compose_spec([f"include_path={folder}", "tasks=[my_colours]"])
    found = [*inputs.task_packages(spec), *inputs.data(spec), *inputs.judge(spec)]
    assert [(one.status, one.what) for one in found] == [("ok", "my_colours"), ("ok", "judge")]
    (tmp_path / "rows.parquet").unlink()
    [lost] = inputs.data(spec)
    assert (lost.status, "rows.parquet, which aren't there" in lost.text) == ("FAIL", True)


@pytest.mark.slow
def test_a_task_of_the_users_runs_by_its_name(lmms_eval, llava, folder):
    given = [f"model.pretrained={llava}", "results=results", "tasks=[my_colours]"]
    record = cli.evaluate(compose_spec([*given, f"include_path={folder}"]))
    entry = record["tasks"]["my_colours"]
    assert (record["status"], entry["metric"], entry["n"]) == ("completed", "exact_match", 4)
    assert entry["definition"]["name"] == "my_colours"
    (folder.parent / "rows.parquet").unlink()
    with pytest.raises(UserError, match=r"my_colours names the data rows\.parquet, which aren't there"):
        cli.evaluate(compose_spec([*given, f"include_path={folder}"]))


def test_folders_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(UserError, match=r"include_path=nowhere is no folder"):
        index.include("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no task: it has no YAML file"):
        index.include(str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.yaml").write_text("dataset_path: parquet\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no task: none of its 1 YAML files names a task"):
        index.include(str(tmp_path / "empty"))
    assert index.include(str(folder)) == ["my_colours"]
    assert index.include(str(folder)) == ["my_colours"]  # as several runs of one process do
    assert index.is_installed("my_colours")
    (folder / "broken.yaml").write_text("task: [\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.yaml can't be read: .*Fix it"):
        index.include(str(folder))
    (folder / "broken.yaml").write_text("task: gqa\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has a task gqa .*another one of this name.*task: my_gqa"):
        index.include(str(folder))
