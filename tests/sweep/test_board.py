"""The sweep on disk: who may commit, who holds the folder, what is left of a torn line."""

import json
import os
import subprocess
import sys

import pytest

from pdrop_eval.run.sweep.state.board import Board, FencedError, Lease
from pdrop_eval.run.sweep.state.holder import held, holder_of
from pdrop_eval.utils.errors import UserError


@pytest.fixture
def board(tmp_path):
    found = Board(tmp_path)
    found.begin({"runs": []})
    return found


def test_only_the_last_lease_may_commit(board):
    first, other = board.claim("mini/a/gqa"), board.claim("mini/b/gqa")
    board.check(first)
    second = board.claim("mini/a/gqa")
    with pytest.raises(FencedError):
        board.check(first)
    board.check(second)
    board.check(other)
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.writer != second.writer


def test_a_lease_of_an_earlier_sweep_is_worth_nothing(board):
    old = board.claim("mini/a/gqa")
    board.begin({"runs": []})
    with pytest.raises(FencedError):
        board.check(old)
    board.claim("mini/a/gqa")  # of the same epoch
    with pytest.raises(FencedError):
        board.check(old)


def test_a_lease_goes_to_another_process_as_plain_values(board):
    lease = board.claim("mini/a/gqa")
    board.check(Lease(**json.loads(json.dumps(lease.to_dict()))))


def test_a_torn_event_is_as_if_it_were_not_there(board):
    events = board.writer("driver")
    events.note("mini/a/gqa", "running", worker="here")
    with open(board.folder / "events" / "driver.jsonl", "ab") as file:
        file.write(b'{"at": 1, "cell": "mini/a')
    events = board.writer("driver")
    events.note("mini/a/gqa", "done", n=2)
    assert [event["state"] for event in board.events()] == ["running", "done"]


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no sweep in"):
        Board(tmp_path).definition()


def test_a_second_sweep_is_refused_with_the_name_of_the_first(board):
    with held(board, "pdrop-eval-sweep models=[mini]"):
        assert holder_of(board)["alive"]
        with pytest.raises(UserError) as error, held(board, "another"):
            pass
    assert f"process {os.getpid()} on" in str(error.value)
    assert "pdrop-eval-sweep models=[mini]" in str(error.value)
    with held(board, "another"):  # free again
        pass
    assert holder_of(board) is None


def test_what_a_dead_process_held_is_taken_over(board):
    code = (
        "import os, sys; from pathlib import Path; from pdrop_eval.run.sweep.state.board import Board;"
        "from pdrop_eval.run.sweep.state.holder import held;"
        "holding = held(Board(Path(sys.argv[1])), 'killed'); holding.__enter__();"
        "print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(board.results)], check=False, capture_output=True, text=True
    )
    assert done.stdout == "held\n"
    assert holder_of(board)["about"] == "killed"
    assert not holder_of(board)["alive"]
    with held(board, "next"):
        assert holder_of(board)["about"] == "next"


def test_a_holder_on_another_machine_counts_as_long_as_it_is_heard_of(board):
    path = board.folder / "holder.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": 0, "about": "theirs"}))
    with pytest.raises(UserError, match="process 1 on elsewhere"), held(board, "ours"):
        pass
    os.utime(path, (0, 0))  # silent since 1970
    with held(board, "ours"):
        assert holder_of(board)["about"] == "ours"
