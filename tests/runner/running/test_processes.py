"""One run shared by two processes, as torchrun starts them, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import runner_tiny as tiny

from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils import distributed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.exits import LibraryExitError

pytestmark = pytest.mark.usefixtures("lmms_eval")
# pairs, an odd number, one that leaves the second process without a question, and one without a score
ASKED = {"mme": 6, "pope": 5, "gqa": 1, "mmvet": 3}


def torchrun(*arguments, code="from pdrop_eval.run.evaluate.cli import main; main()"):
    """Runs the command, or code in its place, in two processes."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = ["--no-python", sys.executable, "-c", code] if code else ["-m", "pdrop_eval.run.evaluate.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*start, *command, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uneven")
    for task, n in ASKED.items():
        tiny.write(task, tiny.rows(task, n), folder)
    return folder


def settings(checkpoint, data, results):
    return [f"model.pretrained={checkpoint}", f"data.root={data}", f"results={results}"]


@pytest.mark.slow
def test_two_processes_give_the_answers_and_scores_of_one(llava, uneven, tmp_path):
    tasks = f"tasks=[{','.join(ASKED)}]"
    done = torchrun(*settings(llava, uneven, tmp_path / "two"), tasks, "batch_size=2", code=None)
    assert done.returncode == 0, done.stderr
    given = [*settings(llava, uneven, tmp_path / "one"), tasks, "batch_size=2"]
    one = cli.evaluate(compose_spec(given))
    [two] = load_records(tmp_path / "two")
    assert two["status"] == "completed"
    assert two["run_id"] == one["run_id"]
    assert (one["processes"], two["processes"]) == (1, 2)
    assert list(two["tasks"]) == list(one["tasks"])
    for task, n in ASKED.items():
        entries = [
            {k: v for k, v in r["tasks"][task].items() if k not in ("wall_seconds", "usage")}
            for r in (one, two)
        ]
        assert entries[0] == entries[1]
        assert entries[1]["n"] == n
        assert entries[1]["retained_tokens_per_layer"] == [16, 8, 4, 2]  # of all samples of both processes
        samples = [load_samples(record["folder"], task) for record in (one, two)]
        assert samples[0] == samples[1]
        assert [sample["doc_id"] for sample in samples[1]] == list(range(n))
    predictions = [Path(r["folder"]) / r["tasks"]["mmvet"]["predictions"] for r in (one, two)]
    assert len({path.read_text(encoding="utf-8") for path in predictions}) == 1
    # told once, by the first process
    assert done.stdout.count("record: ") == 1
    assert done.stderr.count("Loading torch") == 1


@pytest.mark.whole
@pytest.mark.slow
def test_a_sample_that_fails_in_one_process_fails_the_run_in_all(llava, uneven, tmp_path):
    code = (
        "from pdrop_eval.run.lmms.inputs import preprocess; from pdrop_eval.run.evaluate.cli import main\n"
        "original = preprocess.build_prompt\n"
        "def broken(template, processor, context, *rest):\n"
        "    if 'xxx 3?' in context: raise RuntimeError('unreadable')\n"  # of the second process
        "    return original(template, processor, context, *rest)\n"
        "preprocess.build_prompt = broken; main()"
    )
    done = torchrun(*settings(llava, uneven, tmp_path), "tasks=[gqa,pope]", code=code)
    assert done.returncode == 1
    [record] = load_records(tmp_path)
    assert record["status"] == "failed"
    assert record["error"] == "task pope, sample 3 can't be prepared: unreadable"
    assert "SampleError: task pope, sample 3" in done.stderr


@pytest.mark.slow
def test_wrong_input_is_one_message_for_all_processes(llava, uneven, tmp_path):
    done = torchrun(*settings(llava, uneven, tmp_path), "dtype=float8")
    assert done.returncode == 1  # torchrun's own
    assert done.stderr.count("pdrop-eval: Unknown dtype: 'float8'.") == 1
    assert load_records(tmp_path) == []


@pytest.mark.slow
def test_processes_that_were_asked_different_things_end_at_once_and_name_them(llava, uneven, tmp_path):
    code = (
        "import os, sys; sys.argv.append(['strategy=pdrop', 'strategy=vanilla'][int(os.environ['RANK'])])\n"
        "from pdrop_eval.run.evaluate.cli import main; main()"
    )
    done = torchrun(*settings(llava, uneven, tmp_path), code=code)
    assert done.returncode == 1
    assert done.stderr.count("they differ in strategy (process 0: pdrop, process 1: vanilla);") == 2
    assert load_records(tmp_path) == []


SAME = {
    "settings": {"limit": 8, "strategy": {"name": "pdrop"}},
    "code": {"sha256": "a"},
    "packages": {"torch": "2"},
}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            {"settings": {"limit": 9, "strategy": {"name": "pdrop"}}},
            r"settings.limit \(process 0: 8, process 2: 9\)",
        ),
        ({"settings": {"strategy": {"name": "pdrop"}}}, r"settings.limit \(process 0: 8, process 2: None\)"),
        ({"code": {"sha256": "b"}}, r"code.sha256 \(process 0: a, process 2: b\)"),
        ({"packages": {"torch": "2", "numpy": "1"}}, r"packages.numpy \(process 0: None, process 2: 1\)"),
    ],
)
def test_what_processes_were_asked_differently_is_named_in_each(other, words, monkeypatch):
    monkeypatch.setattr(distributed, "_failed_together", False)
    monkeypatch.setattr(distributed, "gather", lambda value: [SAME, SAME, {**SAME, **other}])
    with pytest.raises(UserError, match=f"not asked the same: they differ in {words}. Start"):
        distributed.check_same(SAME)
    monkeypatch.setattr(distributed, "gather", lambda value: [SAME, SAME, {**SAME}])
    distributed.check_same(SAME)


def test_of_a_library_that_asks_one_process_to_exit_all_are_told(monkeypatch):
    """None waits for it until its patience is over."""
    told = []
    monkeypatch.setattr(distributed, "_failed_together", False)
    monkeypatch.setattr(distributed, "_connected", lambda: True)
    monkeypatch.setattr(distributed, "gather", lambda value: told.append(value) or [None, value])
    with pytest.raises(LibraryExitError):
        distributed.run_on_all_ranks(lambda: sys.exit("no GPU is left"))
    assert told == ["a library has asked the program to exit: no GPU is left"]


def test_a_world_without_its_address_is_refused(llava, uneven, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"WORLD_SIZE=2, but RANK, MASTER_ADDR, MASTER_PORT .* torchrun"):
        cli.evaluate(compose_spec(settings(llava, uneven, tmp_path)))


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    assert distributed.local_device("cuda") == "cuda"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed.local_device("cuda") == "cuda:3"
    assert distributed.local_device("cuda:1") == "cuda:1"
    assert distributed.local_device("cpu") == "cpu"


def test_one_process_imports_no_torch_for_this():
    code = (
        "import json, sys; from pdrop_eval.utils import distributed as p; p.start()\n"
        "print(json.dumps([p.rank(), p.world_size(), p.gather(5), p.run_on_all_ranks(lambda: 6),"
        "p.main_process_first(lambda: 7), p.stop(), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, 1, [5], 6, 7, None, False]
