"""Workers as jobs of Slurm: what is sent, what is refused, and what survives a kill."""

import os
import signal
import subprocess
import sys
import time
from importlib import util

import pytest

from pdrop_eval.run.sweep import cli
from pdrop_eval.run.sweep.engines import slurm
from pdrop_eval.run.sweep.spec import read_sweep
from pdrop_eval.run.sweep.state import holder
from pdrop_eval.run.sweep.state.board import Board
from pdrop_eval.run.sweep.state.status import state_of
from pdrop_eval.utils.errors import UserError

SMALL = ["engine=slurm", "models=[mini]", "strategies=[vanilla,fastv]", "tasks=[gqa,pope]", "limit=2"]
# What submitit asks of sbatch: the script's path comes last, and the answer names the job.
SBATCH = "#!/bin/sh\nfor last; do :; done\ncp $last {sent}\necho Submitted batch job 77\n"


@pytest.mark.parametrize(("given", "words"), [
    (["address=auto"], "address=auto is of engine=ray"),
    (["slurm.cluster=slum"], "Unknown slurm.cluster: 'slum'. Allowed: slurm, local."),
    (["slurm.minutes=0"], "slurm.minutes=0 is not allowed"),
    (["slurm.minute=9"], "Unknown setting"),
    (["slurm.more=[r1]"], "slurm.more has 'r1': write name=value"),
    ([], "engine=slurm finds no sbatch and no srun here"),
])  # fmt: skip
def test_what_cannot_be_sent_is_refused_before_anything_is_planned(given, words, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as error:
        cli.sweep([*SMALL, f"results={tmp_path}", *given])
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_without_submitit_the_line_that_installs_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(slurm, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'pdrop-eval\[slurm\]'"):
        slurm.ENGINE.check(read_sweep([*SMALL, f"results={tmp_path}"]))


@pytest.mark.skipif(util.find_spec("submitit") is None, reason="submitit is not installed")
def test_one_array_with_an_element_a_worker_is_sent(monkeypatch, tmp_path, capsys):
    folder, results, sent = tmp_path / "bin", tmp_path / "results", tmp_path / "sent.sh"
    folder.mkdir()
    (folder / "sbatch").write_text(SBATCH.format(sent=sent))
    (folder / "srun").write_text("#!/bin/sh\n")
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    asked = [
        "actors=3",
        "gpus=1",
        "slurm.partition=short",
        "slurm.minutes=90",
        'slurm.more=["reservation=r1"]',
    ]
    cli.sweep([*SMALL, f"results={results}", *asked])
    said = capsys.readouterr().out
    assert "3 workers for 4 cells (0 of 4 are there): sent as 77_0, 77_1, 77_2." in said
    assert f"status=true results={results}" in said
    lines = sent.read_text().splitlines()
    for line in (
        "--array=0-2%3", "--gpus-per-node=1", "--partition=short", "--time=90", "--reservation=r1",
        "--cpus-per-task=1",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    state = state_of(Board(results))
    assert (state.total, state.done, state.waiting, state.alive) == (4, 0, 4, True)
    with pytest.raises(UserError, match=r"A sweep runs in .* already: jobs 77_0 to 77_2"):
        cli.sweep([*SMALL, f"results={results}"])


@pytest.mark.slow
def test_a_killed_workers_cell_is_computed_by_another_one(tmp_path):
    results, nowhere = tmp_path / "results", subprocess.DEVNULL  # a pipe would be the worker's, too
    command = [
        sys.executable, "-m", "pdrop_eval.run.sweep.cli", *SMALL, "slurm.cluster=local", "actors=1",
        f"results={results}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=nowhere, stderr=nowhere, timeout=120)
    board = Board(results)
    until = time.monotonic() + 120
    while not (running := state_of(board).running) and time.monotonic() < until:
        time.sleep(0.2)
    ((worker, _),) = running.values()
    os.kill(int(worker.rpartition("-")[2]), signal.SIGKILL)
    # Its silence, shortened: the board is as it is found a minute later.
    for path in (board.folder / "workers" / worker, board.folder / "holder.json"):
        before = time.time() - holder.SILENT_SECONDS - 1
        os.utime(path, (before, before))
    subprocess.run(command, check=True, stdout=nowhere, stderr=nowhere, timeout=120)
    while state_of(board).alive and time.monotonic() < until:
        time.sleep(0.5)
    state = state_of(board)
    assert (state.there + state.done, state.failed) == (4, {})
