"""The regression baselines: what is committed comes out again, and a difference is said in words."""

import copy
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pdrop_eval.benchmarks.rendered.asked import TASKS
from pdrop_eval.utils.errors import UserError
from tools.mini import reference, reference_file

FOLDER = Path(__file__).resolve().parents[2] / reference.FOLDER
NAMES = list(reference.NAMES)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    with warnings.catch_warnings():  # of lmms-eval's own import
        warnings.simplefilter("ignore")
        import pdrop_eval.run.lmms.tasks.task_runner  # noqa: F401
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pdrop():
    return reference_file.read(FOLDER / "mini_pdrop.json")


@pytest.fixture
def altered(pdrop):
    """What `differences` says after a change of a copy: `altered(lambda tasks: ...)`."""

    def change(how):
        found = copy.deepcopy(pdrop)
        how(found["tasks"])
        return reference_file.differences(pdrop, found)

    return change


@pytest.mark.thin(1)
# Each name with other benchmarks, so that all sixteen have their turn; `make reference` does all of each.
@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_comes_out_again(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = reference.measure(*reference.NAMES[name], TASKS[NAMES.index(name) :: len(NAMES)])
    assert reference_file.differences(reference_file.read(FOLDER / f"{name}.json"), found) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_is_complete(name):
    document = reference_file.read(FOLDER / f"{name}.json")
    model, strategy = reference.NAMES[name]
    assert (document["model"], document["strategy"]) == (model, strategy)
    assert set(document["tasks"]) == set(TASKS)
    # PyramidDrop keeps 1, 1/2, 1/4, 1/8 in four equal stages; FastV half from layer 2 on.
    depth = 16 if model == "mini576" else 8
    shares = {
        "vanilla": [1] * depth,
        "fastv": [1] * 2 + [2] * (depth - 2),
        "pdrop": [share for share in (1, 2, 4, 8) for _ in range(depth // 4)],
    }[strategy]
    for task in document["tasks"].values():
        assert len(task["samples"]) == reference.QUESTIONS[model]
        for sample in task["samples"]:
            n = sample["image_tokens"]
            assert n > 144 if model == "mini_next_p5" else n == {"mini": 144, "mini576": 576}[model]
            assert sample["image_tokens_per_layer"] == [n // share for share in shares]
            kept = [len(reference_file.unspan(ids)) for ids in sample["retained"].values()]
            assert kept == sorted({n // share for share in shares} - {n}, reverse=True)
            assert (
                strategy == "vanilla" or sample["closest_call"] > 1e-5
            )  # no choice that rounding could turn


def test_the_files_are_as_they_would_be_written():
    for name in NAMES:
        text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
        assert reference_file.to_text(json.loads(text)) == text


def test_an_equal_run_has_no_difference(altered):
    assert altered(lambda tasks: None) == []


def test_some_tasks_alone_are_compared_alone(altered):
    assert altered(lambda tasks: [tasks.pop(task) for task in TASKS if task != "gqa"]) == []


def test_an_answer_that_changed_is_said(altered):
    def change(tasks):
        tasks["gqa"]["samples"][2] |= {"answer": "x\ny", "score": 0.5}
        tasks["gqa"]["score"] = 12.5

    lines = altered(change)
    assert any(line.startswith("gqa: score ") and line.endswith(" -> 12.5") for line in lines)
    assert any(line.startswith("gqa question 2: answer ") and line.endswith(r" -> 'x\ny'") for line in lines)
    assert any(line.startswith("gqa question 2: score ") for line in lines)
    assert len(lines) == 3


def test_one_retained_token_that_changed_is_said(pdrop, altered):
    before = reference_file.unspan(pdrop["tasks"]["pope"]["samples"][1]["retained"]["layer 4"])
    gone = before[3]
    come = next(token for token in range(144) if token not in before)

    def change(tasks):
        ids = sorted(set(before) - {gone} | {come})
        tasks["pope"]["samples"][1]["retained"]["layer 4"] = reference_file.spans(ids)

    assert altered(change) == [
        f"pope question 1: before layer 4 1 other(s) of 36 image tokens retained: +{come} -{gone}"
    ]


def test_another_order_is_a_difference(pdrop, altered):
    ids = reference_file.unspan(pdrop["tasks"]["pope"]["samples"][0]["retained"]["layer 6"])

    def change(tasks):
        tasks["pope"]["samples"][0]["retained"]["layer 6"] = reference_file.spans(ids[::-1])

    assert altered(change) == [
        "pope question 0: before layer 6 the same image tokens are retained, in another order"
    ]


def test_another_question_other_layers_and_missing_samples_are_said(altered):
    assert altered(lambda tasks: tasks["mme"]["samples"][0].update(content_sha256="0")) == [
        "mme question 0: another question or picture: what renders, prepares or asks has changed"
    ]
    assert altered(lambda tasks: tasks["mme"]["samples"][0].update(retained={"layer 3": "0"})) == [
        "mme question 0: drops before layer 3 in place of layer 2, layer 4, layer 6"
    ]
    assert "has 3 samples" in altered(lambda tasks: tasks["mme"]["samples"].pop())[0]


def test_a_long_list_is_cut(altered):
    def change(tasks):
        for sample in tasks["vqav2_val"]["samples"]:
            sample |= {"answer": "x", "score": 7, "image_tokens": 0}

    lines = altered(change)
    assert lines[-1] == "vqav2_val: and 4 more"  # 4 samples of 3 differences, 8 of them listed
    assert len(lines) == 9


def test_a_choice_that_rounding_could_turn_is_marked(pdrop):
    old, new = copy.deepcopy(pdrop), copy.deepcopy(pdrop)
    old["tasks"]["pope"]["samples"][0]["closest_call"] = 3e-7
    new["tasks"]["pope"]["samples"][0]["retained"]["layer 6"] = "0-17"
    assert "3e-07 apart: rounding can do that" in reference_file.differences(old, new)[0]


@pytest.mark.parametrize(
    ("ids", "text"),
    [([], ""), ([5], "5"), ([0, 1, 2, 7], "0-2,7"), ([3, 5, 6], "3,5-6"), ([2, 1, 0], "2,1,0")],
)
def test_spans(ids, text):
    assert reference_file.spans(ids) == text
    assert reference_file.unspan(text) == ids


def test_the_closest_call_is_the_least_gap_of_any_drop():
    report = SimpleNamespace(
        image_tokens=[4],
        retained=[[torch.tensor([0, 2, 3])], [torch.tensor([2])]],
        scores=[[torch.tensor([0.5, 0.1, 0.25, 0.125])], [torch.tensor([0.375, 0.5, 0.125])]],
    )
    # first drop: 0.125 retained, 0.1 dropped: a gap of 0.2; second: 0.5 and 0.375: 0.25
    assert reference.closest_call(report) == pytest.approx(0.2)
    assert reference.closest_call(SimpleNamespace(image_tokens=[4], retained=[], scores=[])) is None


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema": "pdrop-eval-reference/0"}'])
def test_a_file_that_is_no_reference(tmp_path, content):
    path = tmp_path / "mini_pdrop.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="make reference"):
        reference_file.read(path)


def test_the_command_writes_and_checks(tmp_path, monkeypatch, pdrop, capsys):
    monkeypatch.setattr(reference, "measure", lambda model, strategy: copy.deepcopy(pdrop))
    arguments = ["--folder", str(tmp_path), "mini_pdrop"]
    assert reference.main(["--check", *arguments]) == 2  # nothing there yet
    assert reference.main(arguments) == 0
    assert reference.main(["--check", *arguments]) == 0
    assert capsys.readouterr().out.endswith("mini_pdrop: equal\n")
    other = copy.deepcopy(pdrop)
    other["packages"]["transformers"] = "5.99.0"
    other["tasks"]["gqa"]["samples"][0]["answer"] = "x"
    monkeypatch.setattr(reference, "measure", lambda model, strategy: other)
    assert reference.main(["--check", *arguments]) == 1
    out = capsys.readouterr().out
    assert "1 difference(s); transformers " in out
    assert "-> 5.99.0" in out
    assert "gqa question 0: answer" in out
    assert reference.main(["--check", "no_such"]) == 2
