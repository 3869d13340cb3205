"""Which worker has which cell where there is no driver: one each, and a silent one's are free again."""

import os
import signal
import sys
import threading
import time

import pytest

from pdrop_eval.run.sweep.state import holder
from pdrop_eval.run.sweep.state.board import FAILED, Board
from pdrop_eval.run.sweep.state.claims import Claims
from pdrop_eval.run.sweep.work.worker import Worker


@pytest.fixture
def board(tmp_path):
    board = Board(tmp_path)
    board.begin({})
    return board


def silent(board, worker):
    """Let a worker have been silent for longer than is waited."""
    before = time.time() - holder.SILENT_SECONDS - 1
    os.utime(board.folder / "workers" / worker, (before, before))


@pytest.fixture
def time_is_out():
    """Sends the process the signal of a time-out, whose handler leaves as submitit's does."""

    def handler(number, frame):
        sys.exit(-1)  # the job has been sent again

    before = signal.signal(signal.SIGUSR2, handler)
    yield lambda: signal.raise_signal(signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, before)


def test_a_cell_is_one_workers_as_long_as_it_lives(board):
    first, second = Claims(board, "first"), Claims(board, "second")
    with first.living(), second.living():
        assert first.take("mini/fastv/gqa")
        assert first.take("mini/fastv/gqa")  # its own, as after it was started anew
        assert not second.take("mini/fastv/gqa")
        assert second.take("mini/fastv/pope")
        assert holder.living(board) == ["first", "second"]
    assert holder.living(board) == []


def test_a_silent_workers_cells_are_free_for_one_other(board):
    first = Claims(board, "first")
    with first.living():
        assert first.take("cell")
        silent(board, "first")
        others = [Claims(board, f"other {number}") for number in range(8)]
        began, taken = threading.Barrier(8), []

        def take(claims):
            with claims.living():
                began.wait()
                taken.append(claims.take("cell"))
                began.wait()

        threads = [threading.Thread(target=take, args=(one,)) for one in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(taken) == [False] * 7 + [True]


def test_a_folder_is_held_until_all_jobs_have_ended(board, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no squeue
    with holder.held(board, "a sweep") as jobs:
        jobs += ["77_0", "77_1"]
    assert holder.holder_of(board)["alive"]  # they have yet to begin
    with Claims(board, "one").living():
        assert holder.holder_of(board)["alive"]
    assert holder.holder_of(board)["alive"]  # of the other one nothing has been heard yet
    with Claims(board, "two").living():
        pass
    assert not holder.holder_of(board)["alive"]


@pytest.mark.parametrize(("queue", "alive"), [("echo 77_1", True), ("true", False), ("exit 1", False)])
def test_jobs_that_wait_for_long_are_asked_for(board, tmp_path, monkeypatch, queue, alive):
    script = tmp_path / "bin" / "squeue"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n{queue}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/bin:/usr/bin")
    with holder.held(board, "a sweep") as jobs:
        jobs += ["77_0", "77_1"]
    before = time.time() - holder.SILENT_SECONDS - 1
    os.utime(board.folder / "holder.json", (before, before))
    assert holder.holder_of(board)["alive"] is alive


def test_a_worker_whose_time_is_out_is_sent_again_and_not_at_its_end(
    board, tmp_path, monkeypatch, time_is_out
):
    script = tmp_path / "bin" / "squeue"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 77\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/bin:/usr/bin")
    with holder.held(board, "a sweep") as jobs:
        jobs += ["77"]
    claims = Claims(board, "worker")
    assert claims.take("cell")
    with pytest.raises(SystemExit), claims.living():
        time_is_out()
    before = time.time() - holder.SILENT_SECONDS - 1
    for name in ("holder.json", "workers/worker"):
        os.utime(board.folder / name, (before, before))
    assert holder.holder_of(board)["alive"]  # it waits in Slurm's queue
    with Claims(board, "worker").living():
        assert claims.take("cell")
    assert not holder.holder_of(board)["alive"]


def test_a_worker_that_a_library_ends_is_at_its_end(board):
    """Nobody sends it again."""
    with pytest.raises(SystemExit), Claims(board, "worker").living():
        sys.exit(0)
    assert (board.folder / "workers" / f"worker{holder.ENDED}").exists()
    assert holder.living(board) == []


def test_a_cell_whose_benchmark_asks_to_exit_has_failed_with_its_reason(board, monkeypatch):
    board.begin({"runs": [], "bases": []})
    worker = Worker(board.results)
    monkeypatch.setattr(worker, "_computed", lambda lease: sys.exit(3))
    told = worker.compute(board.claim("mini/fastv-0123456789/gqa"))
    reason = "LibraryExitError: a library has asked the program to exit with status 3"
    assert told == {"state": FAILED, "reason": reason}


def test_a_cell_whose_time_is_out_has_not_failed(board, monkeypatch, time_is_out):
    board.begin({"runs": [], "bases": []})
    worker = Worker(board.results)

    def late(lease):
        try:
            time_is_out()
        except SystemExit:
            raise SystemExit(1) from None  # what a library makes of it

    monkeypatch.setattr(worker, "_computed", late)
    with pytest.raises(SystemExit):
        worker.compute(board.claim("mini/fastv-0123456789/gqa"))
