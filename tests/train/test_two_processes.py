"""Two processes, started by torchrun, train as one does on the same global batch."""

import json
import os
import subprocess
import sys

import pytest

from pdrop_eval.utils.paths import MINI_CHECKPOINTS

pytestmark = pytest.mark.slow


def start(data, out, processes, *overrides):
    program = [sys.executable, "-m"]
    if processes > 1:
        program += ["torch.distributed.run", f"--nproc_per_node={processes}", "--standalone", "-m"]
    settings = [
        f"model.pretrained={MINI_CHECKPOINTS / 'mini_base'}",
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
    return subprocess.run(
        [*program, "pdrop_eval.run.train.cli", *settings],
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


def test_a_batch_that_the_processes_can_not_share_is_refused(data, tmp_path):
    done = start(data, tmp_path, 2, "recipe.instruct.per_device_batch=8")
    assert done.returncode != 0
    assert "can't be shared by 2 process(es) in batches of 8. Use a multiple of 16" in done.stderr
