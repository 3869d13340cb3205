"""What `pdrop-eval-show` shows is what an evaluation does, on tiny random checkpoints."""

import warnings
from contextlib import ExitStack

import pytest
import runner_tiny as tiny
import torch

from pdrop_eval.records.store import load_samples
from pdrop_eval.report.show.session import answers, prepare, questions
from pdrop_eval.report.show.settings import read_settings
from pdrop_eval.utils.errors import UserError

TASKS = {
    "mme": "mme",
    "pope": "pope",
    "docvqa": "docvqa_val",
    "vqav2": "vqav2_val",
    "mmstar": "mmstar",
    "seedbench": "seedbench",
}


@pytest.fixture(autouse=True)
def _lmms_eval_may_warn():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lmms_eval")
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "strategy"), [("llava", "pdrop"), ("llava_next", "fastv"), ("llava_next", "pdrop")]
)
@tiny.short_answers()
def test_answers_scores_and_retained_tokens_are_those_of_an_evaluation(
    family, strategy, data, request, tmp_path
):
    from pdrop_eval.run.config.spec import compose_spec
    from pdrop_eval.run.evaluate.cli import evaluate

    common = [
        f"model.pretrained={request.getfixturevalue(family)}",
        f"data.root={data}",
        "batch_size=4",
        "bootstrap=2",
    ]
    tasks = f"tasks=[{','.join(TASKS.values())}]"
    config = compose_spec([*common, f"strategy={strategy}", tasks, f"results={tmp_path / 'runs'}"])
    record = evaluate(config, advise=False)
    settings = read_settings(
        [*common, f"sample={','.join(f'{key}:1-4' for key in TASKS)}", f"strategy={strategy}"]
    )
    session = prepare(settings)
    with ExitStack() as stack:
        from pdrop_eval.run.lmms.tasks.task_runner import quiet

        stack.enter_context(quiet(False))
        asked = questions(session, stack)
        found = answers(session, asked)[strategy]
    assert len(asked) == 4 * len(TASKS)
    for question, outcome in zip(asked, found, strict=True):
        samples = load_samples(
            tmp_path / "runs" / record["model"]["name"] / record["run_id"], question.task.info.task
        )
        (sample,) = [sample for sample in samples if sample["doc_id"] == question.doc_id]
        measured = outcome.measured.to_dict()
        assert measured["retained"] == sample["retained"] != []
        assert all(
            list(sample[name]) == list(measured[name]) for name in ("image_grids", "image_tokens_per_layer")
        )
        assert all(
            measured[name] == sample[name] for name in ("content_sha256", "prompt_tokens", "new_tokens")
        )
        assert (question.prompt, outcome.answer) == (sample["prompt"], sample["answer"])
        assert outcome.score == pytest.approx(sample["score"])
    assert len({outcome.answer for outcome in found}) > 1


def test_the_attention_view_answers_as_vanilla_does_and_its_shares_end_at_one(llava_next, data):
    from pdrop_eval.report.show.session import attended
    from pdrop_eval.run.lmms.open import open_model
    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    common = [f"model.pretrained={llava_next}", f"data.root={data}", "sample=docvqa:0-2"]
    plain = prepare(read_settings([*common, "strategy=vanilla"]))
    with ExitStack() as stack:
        stack.enter_context(quiet(False))
        asked = questions(plain, stack)
        expected = answers(plain, asked)["vanilla"]
        model = open_model(plain.plan, plain.strategies["vanilla"])
        for question, outcome in zip(asked, expected, strict=True):
            found, shares = attended(model, question, [0, 3], "last", 1)
            assert found == outcome
            assert list(shares) == [0, 3]
            assert all(
                len(part) == outcome.measured.image_tokens and 0 < part.sum() < 1 for part in shares.values()
            )
        assert not any(layer._forward_pre_hooks for layer in model.loaded.model.get_decoder().layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["strategy=pdrop,fastv,vanilla", "fastv_overrides=[strategy.r=0.8]"],
        pytest.param(["view=attention", "layers=all", "query=text"], marks=pytest.mark.slow),
    ],
)
def test_the_command_writes_three_files_a_sample_and_opens_one_model(
    command, arguments, llava_next, data, monkeypatch, tmp_path
):
    from pdrop_eval.run.lmms import open

    opened, real = [], open.open_model
    monkeypatch.setattr(open, "open_model", lambda *a, **k: (opened.append(1), real(*a, **k))[1])
    status, out, err = command(
        "sample=docvqa:1-2,gqa:0",
        f"model.pretrained={llava_next}",
        f"data.root={data}",
        f"out={tmp_path / 'o'}",
        *arguments,
    )
    assert status == 0, err
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert len(names) == 9
    assert {name.split("_mini")[0] for name in names} == {"docvqa_1", "docvqa_2", "gqa_0"}
    assert {name.rsplit(".", 1)[1] for name in names} == {"png", "svg", "pdf"}
    assert all(name.rsplit(".", 1)[0] in out for name in names)
    assert opened == [1]
    assert "drawing: 100%" in err


def test_foreign_questions_and_hostile_settings_are_drawn(command, llava, tmp_path):
    rows = tiny.rows("gqa", 2)
    rows[0]["question"] = "这是什么颜色？ \x1b[2J $x^2$ " + "很长" * 500
    tiny.write("gqa", rows, tmp_path / "own")
    status, out, err = command(
        "sample=gqa:0", f"model.pretrained={llava}", f"data.root={tmp_path / 'own'}", "name=x", "out=o"
    )
    assert (status, out) == (0, "Written:\n  o/x.{png,svg,pdf}\n"), err


def test_each_expected_answer_is_said_once(llava, data):
    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    session = prepare(
        read_settings([f"model.pretrained={llava}", f"data.root={data}", "sample=vqav2:0,docvqa:3,mme:1"])
    )
    with ExitStack() as stack:
        stack.enter_context(quiet(False))
        targets = [question.target for question in questions(session, stack)]
    assert targets == ["red | blue", "word3 | term3", "No"]


def test_a_question_without_an_image_is_refused(command, llava, data, monkeypatch):
    monkeypatch.setattr("pdrop_eval.report.show.asking.Question.images", lambda self: [])
    status, _, err = command("sample=gqa:1", f"model.pretrained={llava}", f"data.root={data}")
    assert status == 2
    assert "sample=gqa:1 is a question without an image" in err


def test_tokens_of_an_unknown_processor_are_refused(command, llava, data, monkeypatch):
    monkeypatch.setattr("pdrop_eval.run.lmms.model.placed", lambda *_: None)
    status, _, err = command("sample=gqa:1", f"model.pretrained={llava}", f"data.root={data}")
    assert status == 2
    assert "isn't known for this checkpoint's processor" in err


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one process"):
        prepare(read_settings(["sample=gqa:1"]))


def test_an_interruption_is_told_in_a_line(command, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pdrop_eval.report.show.session.prepare", interrupt)
    assert command("sample=gqa:1")[::2] == (
        130,
        "pdrop-eval-show: interrupted. The figures drawn so far are complete.\n",
    )


def test_a_bug_keeps_its_traceback(command, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("pdrop_eval.report.show.session.prepare", fail)
    status, _, err = command("sample=gqa:1")
    assert status == 1
    assert "Traceback" in err
    assert torch.get_num_threads()
