"""Whole runs on tiny random checkpoints: records, resuming, sweeps, the 7B configurations."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import runner_tiny as tiny
from evaluating import run

from pdrop_eval.benchmarks.data import checks
from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.task_files import describe
from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.exits import LibraryExitError

pytestmark = pytest.mark.usefixtures("lmms_eval")
QUICK = ["tasks=[chartqa,gqa]", "limit=4"]


def command(monkeypatch, *arguments):
    """Runs the console script in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["pdrop-eval", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as leaving:
        return leaving.code
    return 0


@pytest.fixture(scope="module")
def whole(llava, data, tmp_path_factory, lmms_eval):
    """The record of a run on all sixteen tasks."""
    with tiny.short_answers():
        return run(llava, data, tmp_path_factory.mktemp("results"))


def test_a_record_says_what_was_run(whole, llava):
    record = json.loads((Path(whole["folder"]) / "record.json").read_text())
    assert record["status"] == "completed"
    assert record["run_id"].startswith("pdrop-")
    assert record["config"]["model"]["pretrained"] == str(llava)
    assert record["seed"] == 1
    assert record["strategy"]["fields"]["ratio"] == 0.5
    assert record["suite"] == {"name": "mini", "source": "rendered"}
    assert record["packages"]["lmms-eval"] == "0.7.3"
    assert record["code"]["version"]
    assert record["hardware"]["cores"] >= 1
    assert record["model"]["family"] == "llava"
    assert record["model"]["layers"] == 4
    assert len(record["model"]["sha256"]) == 64
    assert record["batch_size"] == "auto"
    assert record["limit"] is None


def test_a_record_has_the_theoretical_cost_with_its_convention(whole):
    efficiency = whole["efficiency"]
    assert efficiency["image_tokens"] == 16
    assert efficiency["image_tokens_per_layer"] == [16, 8, 4, 2]
    # a layer: 4 n d^2 + 2 n^2 d + 3 n d m with d = 32, m = 48: n * 8704 + n^2 * 64
    macs = sum(n * (4 * 32 * 32 + 3 * 32 * 48) + n * n * 64 for n in (16, 8, 4, 2))
    assert efficiency["tflops"] == pytest.approx(macs / 1e12)
    assert "multiply-adds" in efficiency["convention"]
    # keys and values, 32 wide, 4 bytes
    assert efficiency["kv_cache_bytes"] == 2 * 32 * 4 * (16 + 8 + 4 + 2)


def test_every_task_has_a_score_with_its_error_and_basis(whole):
    assert list(whole["tasks"]) == list(tiny.TASKS)
    assert [entry["benchmark"] for entry in whole["tasks"].values()] == list(benchmarks())
    scored = {task: entry for task, entry in whole["tasks"].items() if task != "mmvet"}
    assert {entry["status"] for entry in scored.values()} == {"scored"}
    for entry in scored.values():
        assert entry["clusters"] == (6 if entry["benchmark"].startswith("mmbench") else 3)
        assert entry["stderr"] >= 0
        assert entry["metrics"]
        assert 0 <= entry["score"] <= (400 if entry["scale"] == "sum" else 100)
    for entry in whole["tasks"].values():
        assert entry["n"] == 6
        assert entry["higher_is_better"] is True
        assert entry["wall_seconds"] > 0
        assert len(entry["data_sha256"]) == 64
        assert entry["retained_tokens_per_layer"] == [16, 8, 4, 2]
        assert entry["image_tokens_mean"] == entry["image_tokens_max"] == 16
        assert entry["tflops_mean"] == pytest.approx(whole["efficiency"]["tflops"])
        assert entry["usage"]["images"] == 6
        assert entry["usage"]["model_seconds"] > 0
    # Six questions about three pictures, the same ones in every task.
    assert sum(entry["usage"]["encoded"] for entry in whole["tasks"].values()) == 3
    assert whole["tasks"]["mme"]["scale"] == "sum"
    assert set(whole["tasks"]["pope"]["parts"]) == {"random", "popular", "adversarial"}


def test_every_sample_is_kept_in_order(whole):
    for task in tiny.TASKS:
        samples = load_samples(Path(whole["folder"]), task)
        assert [sample["doc_id"] for sample in samples] == list(range(6))
        assert len({sample["content_sha256"] for sample in samples}) == 6
        assert len({sample["images_sha256"] for sample in samples}) == 3
        assert all(sample["answer"] is not None and sample["prompt"] for sample in samples)
        scores = [sample["score"] for sample in samples]
        assert scores == [None] * 6 if task == "mmvet" else all(0 <= score <= 1 for score in scores)
        if task in ("pope", "mme"):  # two questions, and more, about a picture
            assert {sample["part"] for sample in samples} == set(whole["tasks"][task]["parts"])
            assert len({sample["cluster"] for sample in samples}) == 3


def test_a_second_call_recomputes_nothing(whole, llava, data, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", lambda *_: pytest.fail("something was computed"))
    path = Path(whole["folder"]) / "record.json"
    before = path.stat().st_mtime_ns
    again = run(llava, data, path.parents[2])
    assert path.stat().st_mtime_ns == before
    assert again["tasks"] == whole["tasks"]
    out = capsys.readouterr().out
    assert "Nothing to do" in out
    assert str(path) in out


def test_a_task_whose_samples_lost_lines_is_evaluated_again(llava, data, tmp_path, capsys):
    record = run(llava, data, tmp_path, *QUICK)
    path = Path(record["folder"]) / "samples" / "gqa.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.split(b"\n", 1)[1])
    after = run(llava, data, tmp_path, *QUICK)
    told = capsys.readouterr()
    assert "samples are not those that were scored. gqa: 3 lines for 4 questions" in " ".join(
        told.err.split()
    )
    assert "Nothing to do" not in told.out
    assert path.read_bytes() == whole
    assert after["tasks"]["chartqa"] == record["tasks"]["chartqa"]
    assert after["tasks"]["gqa"]["score"] == record["tasks"]["gqa"]["score"]


def test_the_summary_fits_a_terminal(whole, llava, data, capsys):
    run(llava, data, Path(whole["folder"]).parents[1])
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= 80
    assert sum(line.startswith(tiny.TASKS) for line in lines) >= 16


def test_nothing_to_do_never_imports_torch(whole, llava, data):
    code = (
        "import sys; from pdrop_eval.run.evaluate.cli import main; "
        f"sys.argv = ['pdrop-eval', 'model.pretrained={llava}', 'data.root={data}', "
        f"'results={Path(whole['folder']).parents[1]}']; main(); "
        "heavy = ('torch', 'transformers', 'lmms_eval', 'datasets', 'pandas', 'scipy')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_help_needs_no_torch_and_names_the_choices():
    code = (
        "import sys, atexit; from pdrop_eval.run.evaluate.cli import main\n"
        "sys.argv = ['pdrop-eval', '--help']\n"
        "atexit.register(lambda: print('torch' in sys.modules or 'transformers' in sys.modules))\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"strategy: {', '.join(sorted(installed()))}" in " ".join(done.stdout.split())
    assert "pdrop-eval -m strategy=vanilla,fastv,pdrop" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


class Killed(BaseException):
    """What ends a process without giving it the chance to clean up."""


def test_a_run_that_only_lacks_its_last_word_is_completed(llava, data, tmp_path, monkeypatch):
    record = run(llava, data, tmp_path, *QUICK)
    path = Path(record["folder"]) / "record.json"
    path.write_text(path.read_text().replace('"completed"', '"started"'))
    monkeypatch.setattr(cli, "_run", lambda *_: pytest.fail("something was computed"))
    after = run(llava, data, tmp_path, *QUICK)
    assert after["status"] == json.loads(path.read_text())["status"] == "completed"
    assert after["tasks"] == record["tasks"]


def test_what_was_finished_before_an_interruption_is_kept(llava, data, tmp_path, monkeypatch):
    original = cli._run_one

    def dies_at_the_second(plan, run, model, task, tflops):
        if run.done:
            raise Killed
        original(plan, run, model, task, tflops)

    monkeypatch.setattr(cli, "_run_one", dies_at_the_second)
    with pytest.raises(Killed):
        run(llava, data, tmp_path, *QUICK)
    [record] = load_records(tmp_path)
    assert record["status"] == "started"
    assert list(record["tasks"]) == ["chartqa"]

    computed = []
    monkeypatch.setattr(cli, "_run_one", lambda *a: (computed.append(a[3]), original(*a)))
    after = run(llava, data, tmp_path, *QUICK)
    assert computed == ["gqa"]
    assert after["status"] == "completed"
    assert after["tasks"]["chartqa"] == record["tasks"]["chartqa"]
    assert len(load_records(tmp_path)) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.essential
def test_a_killed_process_leaves_a_run_that_can_be_completed(llava, data, tmp_path):
    code = (
        "import os, signal, sys; from pdrop_eval.records import store as records\n"
        "from pdrop_eval.run.evaluate.cli import main\n"
        "write = records.write_atomically\n"
        "def dies(path, text):\n"  # samples of the second task on disk, the record not yet
        "    if '\"gqa\"' in text and path.name == 'record.json' and '\"chartqa\": {' in text:\n"
        "        if '\"gqa\": {' in text: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(path, text)\n"
        "records.write_atomically = dies\n"
        f"sys.argv = ['pdrop-eval', 'model.pretrained={llava}', 'data.root={data}', 'results={tmp_path}', "
        f"{', '.join(map(repr, QUICK))}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    [record] = load_records(tmp_path)
    assert (record["status"], list(record["tasks"])) == ("started", ["chartqa"])
    after = run(llava, data, tmp_path, *QUICK)
    assert (after["status"], list(after["tasks"])) == ("completed", ["chartqa", "gqa"])
    assert after["tasks"]["chartqa"] == record["tasks"]["chartqa"]
    assert len(load_records(tmp_path)) == 1


def test_a_failing_sample_fails_the_run_and_says_which(llava, data, tmp_path, monkeypatch):
    from pdrop_eval.run.lmms.inputs import preprocess as wrapper

    original = wrapper.build_prompt

    def broken(template, processor, context, *rest):
        if "Question xxx 3?" in context and "single word or phrase." in context:  # GQA's third
            raise ValueError("unreadable")
        return original(template, processor, context, *rest)

    monkeypatch.setattr(wrapper, "build_prompt", broken)
    with pytest.raises(wrapper.SampleError, match="task gqa, sample 3 can't be prepared: unreadable"):
        run(llava, data, tmp_path, *QUICK)
    [record] = load_records(tmp_path)
    assert record["status"] == "failed"
    assert "task gqa, sample 3" in record["error"]
    assert list(record["tasks"]) == ["chartqa"]

    monkeypatch.setattr(wrapper, "build_prompt", original)
    assert run(llava, data, tmp_path, *QUICK)["status"] == "completed"


def test_a_benchmark_that_asks_to_exit_fails_the_run_with_the_reason(llava, data, tmp_path, monkeypatch):
    from pdrop_eval.run.lmms.inputs import preprocess as wrapper

    monkeypatch.setattr(wrapper, "build_prompt", lambda *_: sys.exit("no GPU is left"))
    with pytest.raises(LibraryExitError):
        run(llava, data, tmp_path, "tasks=[gqa]", "limit=2")
    [record] = load_records(tmp_path)
    assert record["status"] == "failed"
    assert record["error"] == "a library has asked the program to exit: no GPU is left"


def test_half_an_image_is_not_asked_about(llava, tmp_path):
    from pdrop_eval.run.lmms.model import SampleError

    rows = tiny.rows("gqa", 4)
    rows[3]["image"] = {"bytes": rows[3]["image"]["bytes"][:-60], "path": None}
    tiny.write("gqa", rows, tmp_path / "data")
    with pytest.raises(SampleError, match=r"task gqa, sample 3 can't be prepared: .*truncated"):
        run(llava, tmp_path / "data", tmp_path / "runs", "tasks=[gqa]")


def test_a_picture_that_is_none_is_one_message_and_finished_tasks_are_kept(
    llava, data, tmp_path, monkeypatch, capsys
):
    rows = tiny.rows("gqa", 4)
    rows[2]["image"] = {"bytes": b"no picture at all", "path": None}
    tiny.write("chartqa", tiny.rows("chartqa", 4), tmp_path / "data")
    tiny.write("gqa", rows, tmp_path / "data")
    given = [f"model.pretrained={llava}", f"data.root={tmp_path / 'data'}", f"results={tmp_path / 'runs'}"]
    assert command(monkeypatch, *given, "tasks=[gqa,chartqa]") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(r"^pdrop-eval: task gqa, sample 2 can't be prepared: .*tasks=\[", said, re.M)
    assert "cannot identify image file. Fix" in said  # without the object's address
    [record] = load_records(tmp_path / "runs")
    assert (record["status"], list(record["tasks"])) == ("failed", ["chartqa"])


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("task", "column", "words"),
    [
        (
            "gqa",
            "image",
            "sample 2 can't be prepared: a value is missing or of the wrong kind (AttributeError: ",
        ),
        ("textvqa_val", "question", "sample 2 can't be prepared: a value is missing or of the wrong kind ("),
        ("pope", "answer", "sample 2 can't be scored: a value is missing or of the wrong kind ("),
    ],
)
def test_a_value_that_is_missing_is_one_message(llava, tmp_path, monkeypatch, capsys, task, column, words):
    # data of the Hub are not searched for such values before the run
    monkeypatch.setattr(checks, "check_gold", lambda *_: None)
    rows = tiny.rows(task, 4)
    rows[2][column] = None
    tiny.write(task, rows, tmp_path / "data")
    given = [f"model.pretrained={llava}", f"data.root={tmp_path / 'data'}", f"results={tmp_path / 'runs'}"]
    assert command(monkeypatch, *given, f"tasks=[{task}]") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert f"pdrop-eval: task {task}, {words}" in said
    assert "Fix or replace the task's data" in said


def test_data_that_cannot_be_loaded_say_why(llava, data, tmp_path, monkeypatch):
    from pdrop_eval.utils.errors import UserError

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("lmms_eval.api.task.ConfigurableTask.download", full)
    with pytest.raises(UserError, match=r"data of chartqa .*ChartQA.* OSError: No space left on device"):
        run(llava, data, tmp_path, *QUICK)


def test_other_tasks_of_the_suite_are_added_to_the_same_record(llava, data, tmp_path):
    first = run(llava, data, tmp_path, "tasks=[gqa]", "limit=2")
    both = run(llava, data, tmp_path, "tasks=[docvqa_val,gqa]", "limit=2")
    assert both["run_id"] == first["run_id"]
    assert both["tasks"]["gqa"] == first["tasks"]["gqa"]
    assert set(both["tasks"]) == {"gqa", "docvqa_val"}


def identity(llava, data, results, *overrides, strategy="pdrop"):
    config = compose_spec(
        [f"model.pretrained={llava}", f"data.root={data}", f"results={results}", *overrides]
    )
    return cli.make_plan(config).identity


@pytest.mark.slow
def test_what_decides_the_numbers_decides_the_run(llava, llava_next, data, tmp_path):
    base = identity(llava, data, tmp_path / "a")
    assert identity(llava, data, tmp_path / "b") == base
    assert identity(llava, data, tmp_path / "a", "tasks=[gqa]") == base
    moved = tiny.suite(tmp_path / "moved")
    assert identity(llava, moved, tmp_path / "a") == base
    shorter = tiny.suite(tmp_path / "shorter", n=4)
    others = [
        identity(llava, data, tmp_path, *change)
        for change in (["limit=2"], ["seed=2"], ["strategy.ratio=0.6"], ["batch_size=2"], ["dtype=bfloat16"])
    ]
    others += [identity(llava_next, data, tmp_path), identity(llava, shorter, tmp_path)]
    others += [identity(llava, data, tmp_path, "strategy=fastv", strategy="fastv")]
    assert all(other != base for other in others)


@pytest.mark.slow
def test_a_sweep_is_one_run_for_each_strategy(llava, data, tmp_path, monkeypatch, capsys):
    status = command(
        monkeypatch,
        "-m",
        "strategy=vanilla,fastv,pdrop",
        f"model.pretrained={llava}",
        f"data.root={data}",
        f"results={tmp_path}/runs",
        "tasks=[gqa]",
        "limit=4",
    )
    assert status == 0
    records = {record["strategy"]["name"]: record for record in load_records(tmp_path / "runs")}
    assert set(records) == {"vanilla", "fastv", "pdrop"}
    layers = {name: r["tasks"]["gqa"]["retained_tokens_per_layer"] for name, r in records.items()}
    assert layers == {"vanilla": [16] * 4, "fastv": [16, 16, 8, 8], "pdrop": [16, 8, 4, 2]}
    assert sorted(os.listdir(tmp_path)) == ["runs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "family", "tokens"), [("llava_1_5_7b", "llava", 16), ("llava_next_7b", "llava_next", 80)]
)
def test_the_7b_configurations_run_on_a_tiny_checkpoint_of_their_kind(
    config, family, tokens, data, tmp_path, request
):
    folder = request.getfixturevalue(family)
    record = run(folder, data, tmp_path, f"model={config}", *QUICK, "dtype=bfloat16")
    assert record["model"]["name"] == config
    assert record["model"]["family"] == family
    assert record["model"]["chat_template"] == "vicuna"
    assert record["model"]["dtype"] == "bfloat16"
    # LLaVA-NeXT by its config: 4 tiles and the overview of 16 tokens each
    assert record["efficiency"]["image_tokens"] == tokens
    assert record["tasks"]["gqa"]["image_tokens_mean"] >= 16
    assert Path(record["folder"]).parent.name == config


@pytest.mark.slow
def test_the_hubs_data_take_the_same_path(whole, llava, data, tmp_path, monkeypatch):
    asked = {}

    def from_disk(path, name=None, **given):
        assert given["revision"] == f"commit of {path}"
        info = next(i for i in infos if (i.dataset, i.subset) == (path, name))
        asked[info.task] = given["revision"]
        split = datasets.Dataset.from_parquet(str(data / f"{info.task}.parquet"), cache_dir=str(tmp_path))
        return datasets.DatasetDict({info.split: split})

    infos = [describe(task, "hub") for task in tiny.TASKS]
    config = compose_spec([f"model.pretrained={llava}", "suite=paper", "suite.textvqa_ocr=false"])
    with monkeypatch.context() as patched, tiny.short_answers():
        patched.setattr(datasets, "load_dataset", from_disk)
        patched.setattr("pdrop_eval.benchmarks.data.prepare.hub_commit", lambda path, *_: f"commit of {path}")
        patched.setattr("pdrop_eval.benchmarks.gqa.join_gqa_images", lambda questions: questions)
        record = cli.evaluate(config)
    assert list(record["tasks"]) == list(asked) == list(tiny.TASKS)
    assert record["suite"] == {"name": "paper", "source": "hub"}
    assert record["tasks"]["pope"]["data_sha256"] == asked["pope"]
    for task in tiny.TASKS:
        assert record["tasks"][task]["score"] == whole["tasks"][task]["score"]


def test_a_limit_that_leaves_nothing_to_score_says_so(llava, tmp_path):
    from pdrop_eval.utils.errors import UserError

    rows = [{**row, "category": "code_reasoning"} for row in tiny.rows("mme", 4)]
    tiny.write("mme", rows, tmp_path / "data")
    with pytest.raises(UserError, match=r"None of the 2 questions of mme .* mme_perception_score"):
        run(llava, tmp_path / "data", tmp_path / "runs", "tasks=[mme]", "limit=2")


@pytest.mark.parametrize(
    "arguments",
    [
        ["strategy=pdorp"],
        ["strategy.rato=1"],
        ["limit=0"],
        ["strategy=vanilla,fastv"],
        ["batch_size=0,1", "-m", "limit=2"],
    ],
)
def test_a_user_error_is_one_message_and_status_2(arguments, monkeypatch, capsys, llava, data, tmp_path):
    monkeypatch.setattr(cli, "_run", lambda *_: pytest.fail("something was computed"))
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={tmp_path}"]
    assert command(monkeypatch, *arguments, *given) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pdrop-eval: ")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_an_interruption_from_the_keyboard_says_how_to_go_on(monkeypatch, capsys, llava, data, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={tmp_path}"]
    assert command(monkeypatch, *given) == 130
    assert "Run the same command to resume" in capsys.readouterr().err
