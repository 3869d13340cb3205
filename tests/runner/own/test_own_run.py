"""A folder of the user's own data from the command line to the record."""

import json
from pathlib import Path

import pytest
from own_folders import COLOURS, rows_of, write_jsonl

from pdrop_eval.records.store import read_record
from pdrop_eval.run.config.own_data import own_suite
from pdrop_eval.run.config.spec import DataSpec, compose_spec
from pdrop_eval.run.evaluate import cli, experiments
from pdrop_eval.utils.errors import UserError

OWN = ["data.metric=exact_match"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Four questions about four pictures."""
    return write_jsonl(tmp_path / "my data", rows_of())


def run(llava, folder, *overrides):
    given = [f"model.pretrained={llava}", f"data.folder='{folder}'", "results=results", *overrides]
    return cli.evaluate(compose_spec(given))


def asked(record):
    path = f"{record['folder']}/samples/{next(iter(record['tasks']))}.jsonl"
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
def test_a_folder_is_a_benchmark_with_a_record(lmms_eval, llava, folder, capsys):
    record = run(llava, folder, *OWN)
    assert record["status"] == "completed"
    assert record["suite"] == {"name": "my_data_exact_match", "source": "own"}
    entry = record["tasks"]["my_data_exact_match"]
    assert (entry["metric"], entry["n"], entry["clusters"], entry["scale"]) == ("exact_match", 4, 4, "0-100")
    samples = asked(record)
    prompt = "Which colour?\nAnswer the question using a single word or phrase."
    assert [one["prompt"] for one in samples] == [prompt] * 4
    assert [one["target"] for one in samples] == list(COLOURS)
    assert samples[1]["image_sizes"] == [[21, 16]]
    capsys.readouterr()
    assert run(llava, folder, *OWN)["run_id"] == record["run_id"]
    assert "Nothing to do" in capsys.readouterr().out
    # other questions, another metric and another ending are other runs
    write_jsonl(folder, rows_of(answer=["cyan", *COLOURS[1:]]))
    others = [run(llava, folder, *OWN), run(llava, folder, "data.metric=anls")]
    others.append(run(llava, folder, *OWN, "data.prompt_ending='\\nShort.'", "data.max_new_tokens=3"))
    assert len({record["run_id"], *(one["run_id"] for one in others)}) == 4
    assert others[1]["suite"]["name"] == "my_data_anls"
    assert others[2]["changes"][-2:] == ["data.prompt_ending=\\nShort.", "data.max_new_tokens=3"]
    assert {one["prompt"] for one in asked(others[2])} == {"Which colour?\nShort."}
    assert max(one["new_tokens"] for one in asked(others[2])) <= 3
    assert read_record(Path(record["folder"]) / "record.json")["tasks"]["my_data_exact_match"]["n"] == 4


@pytest.mark.slow
def test_choices_several_pictures_and_groups(lmms_eval, llava, tmp_path):
    choices = [["red", "green", "blue", "white"]] * 4
    images = [["images/0.png", "images/1.png"], *([f"images/{n}.png"] for n in (1, 2, 3))]
    folder = write_jsonl(tmp_path / "picks", rows_of(choices=choices, image=images, group=list("aabb")))
    record = run(llava, folder, "data.metric=choice", "data.name=mine")
    entry = record["tasks"]["mine_choice"]
    assert (entry["n"], entry["clusters"]) == (4, 2)
    first = asked(record)[0]
    assert first["prompt"] == (
        "Which colour?\nA. red\nB. green\nC. blue\nD. white\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert first["target"] == "A"
    assert first["image_sizes"] == [[20, 16], [21, 16]]


def test_the_doctor_looks_at_a_folder_and_asks_for_no_judge(folder):
    from pdrop_eval.run.doctor import inputs

    spec = compose_spec([f"data.folder='{folder}'", *OWN])
    found = [*inputs.task_packages(spec), *inputs.data(spec), *inputs.judge(spec)]
    assert [(one.status, one.what) for one in found] == [("ok", "my_data_exact_match")]
    assert found[0].text.startswith("4 questions in ")


def refused(overrides=(), tasks=None, **data):
    with pytest.raises(UserError) as error:
        own_suite(DataSpec(**data), tasks, overrides)
    return str(error.value)


def test_settings_that_do_not_go_with_a_folder():
    mine = {"folder": "mine", "metric": "anls"}
    said = refused(["suite=mini"], **mine)
    assert "suite= can't be given with data.folder=mine: it picks another list" in said
    assert "suite.tasks= can't be given" in refused(["suite.tasks=[gqa]"], **mine)
    assert "tasks= can't be given with data.folder=mine: it picks" in refused(["tasks=[gqa]"], **mine)
    assert "tasks= can't be given" in refused(tasks=("gqa",), **mine)
    assert "data.root= can't be given with data.folder=mine: it is" in refused(root="/data", **mine)
    for name, value in (("metric", "anls"), ("prompt_ending", ""), ("max_new_tokens", 4), ("ignore", ("a",))):
        assert f"data.{name} is about questions of your own" in refused(**{name: value})
    assert "give data.metric=, one of anls, choice, contains" in refused(folder="mine")
    assert "Did you mean anls?" in refused(folder="mine", metric="anl")
    assert "data.max_new_tokens=0 is not allowed" in refused(max_new_tokens=0, **mine)
    assert "data.name=my data is no name" in refused(name="my data", **mine)
    assert "data.folder=/ gives no name" in refused(folder="/", metric="anls")


def test_an_experiment_has_benchmarks_of_its_own():
    with pytest.raises(
        UserError, match=r"data\.folder=mine can't be given with an experiment.*Name the strat"
    ):
        experiments._check_settings({"data.folder": "mine"}, [{"model": "mini", "strategy": "pdrop"}])


def test_a_folder_is_a_suite_of_its_own():
    spec = compose_spec(["data.folder='a/über uns'", "data.metric=yes_no", "data.prompt_ending=' A\\nB'"])
    assert (spec.suite.name, spec.suite.source) == ("ber_uns_yes_no", "own")
    assert spec.suite.tasks == ("ber_uns_yes_no",)
    assert (spec.suite.own.max_new_tokens, spec.suite.own.prompt_ending) == (16, " A\nB")
    made = own_suite(DataSpec(folder="a", metric="contains", name="Mine"), None)
    assert made["name"] == "Mine_contains"
    assert made["own"] == {"metric": "contains", "prompt_ending": "", "max_new_tokens": 128}
    assert own_suite(DataSpec(), None) is None
