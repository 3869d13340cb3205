"""Two processes, started by torchrun, train as one does on the same global batch."""

import json
import os
import subprocess
import sys

import pytest

from pdrop_eval.utils.paths import MINI_CHECKPOINT

pytestmark = pytest.mark.slow


OF_EACH = "import os, sys; sys.argv.append(['{}', '{}'][int(os.environ['RANK'])]); "
TRAIN = "from pdrop_eval.run.train.cli import main; main()"


def start(data, out, processes, *overrides, each=()):
    """Runs the command; `each` is an override for the first process and one for the second."""
    program = [sys.executable, "-m"]
    if processes > 1:
        program += ["torch.distributed.run", f"--nproc_per_node={processes}", "--standalone", "-m"]
    settings = [
        f"model.pretrained={MINI_CHECKPOINT}",
        f"recipe.instruct.files=[{data}/instruct.json]",
        f"recipe.instruct.images={data}/images",
        "phases=[instruct]",
        "dtype=float32",
        "device=cpu",
        "log_every=1",
        "recipe.instruct.batch_size=8",
        "recipe.instruct.per_device_batch=2",
        f"output={out}",
        *overrides,
    ]
    command = [*program, "pdrop_eval.run.train.cli"]
    if each:
        command = [*program[:-1], "--no-python", sys.executable, "-c", OF_EACH.format(*each) + TRAIN]
    return subprocess.run(
        [*command, *settings],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The records of one process and of two, over two epochs with batches of pictures and of text."""
    found = {}
    for processes in (1, 2):
        out = tmp_path_factory.mktemp("out") / str(processes)
        done = start(data, out, processes, "recipe.instruct.epochs=2")
        assert done.returncode == 0, done.stderr
        found[processes] = json.loads((out / "training_record.json").read_text())
    return found


def test_the_loss_curve_is_the_same(runs):
    one, two = ([loss for _, loss in runs[n]["phases"][0]["losses"]] for n in (1, 2))
    assert len(one) == 12
    assert two == pytest.approx(one, rel=1e-4)


def test_both_devices_hours_are_counted(runs):
    (phase,) = runs[2]["phases"]
    assert phase["devices"] == 2
    assert phase["device_hours"] == pytest.approx(2 * phase["wall_hours"])


@pytest.mark.thin(1)
@pytest.mark.parametrize(("each", "words"), [
    (("strategy.ratio=0.5", "strategy.ratio=0.6"), "strategy.ratio (process 0: 0.5, process 1: 0.6)"),
    (("save_every=3", "save_every=4"), "save_every (process 0: 3, process 1: 4)"),
], ids=["strategy", "checkpoints"])  # fmt: skip
def test_processes_that_were_asked_different_things_end_before_the_first_step(data, tmp_path, each, words):
    done = start(data, tmp_path / "out", 2, "recipe.instruct.steps=2", each=each)
    assert done.returncode == 1
    assert " ".join(done.stderr.split()).count(f"they differ in {words}") == 2
    assert "parameters learn" not in done.stderr
    assert not (tmp_path / "out" / "training_record.json").exists()


def test_a_batch_that_the_processes_can_not_share_is_refused(data, tmp_path):
    done = start(data, tmp_path, 2, "recipe.instruct.per_device_batch=8")
    assert done.returncode != 0
    assert "can't be shared by 2 process(es) in batches of 8. Use a multiple of 16" in done.stderr
