"""TERM and HUP: scratch folders go, and the exit status is the signal's."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pdrop_eval.utils.terminal import signals

SCRIPT = """
import os, signal, sys, tempfile, time
from pdrop_eval.utils.terminal.cli import ending
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
{before}
with ending("a-script", "interrupted. Go on."), ending("inner"):
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as scratch:
        {first}
        print("ready", flush=True)
        {then}
"""
WAIT = "time.sleep(60)"


def started(tmp_path, before="", first="pass", then=WAIT):
    """A script that has a scratch folder, once it is ready."""
    code = SCRIPT.format(before=before, first=first, then=then)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    return child


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_is_asked_to_end_cleans_up_and_ends_by_the_signal(tmp_path, name):
    child = started(tmp_path)
    child.send_signal(getattr(signal, name))
    _, said = child.communicate(timeout=10)
    assert child.returncode == -getattr(signal, name)
    assert said == f"a-script: {name}: interrupted. Go on.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: print('mine', flush=True)"])
def test_a_handler_of_somebody_else_stays(tmp_path, handler):
    before = f"signal.signal(signal.SIGHUP, {handler})"
    child = started(tmp_path, before=before, then="time.sleep(1.2)")
    child.send_signal(signal.SIGHUP)
    out, said = child.communicate(timeout=10)
    assert (child.returncode, said) == (0, "")
    assert out == ("mine\n" if "print" in handler else "")


def test_a_forked_child_dies_alone_and_at_once(tmp_path):
    first = (
        "pid = os.fork()\n        if pid == 0:\n            time.sleep(60)\n            os._exit(0)\n"
        "        os.kill(pid, 15)\n        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -15"
    )
    child = started(tmp_path, first=first, then="time.sleep(0.7); assert os.listdir(sys.argv[1])")
    assert child.communicate(timeout=10)[1] == ""
    assert child.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_ends_the_cleaning(tmp_path):
    then = (
        "try:\n            print('trying', flush=True); time.sleep(60)\n        finally:\n"
        "            print('slow', flush=True); time.sleep(60)"
    )
    child = started(tmp_path, then=then)
    assert child.stdout.readline() == "trying\n"  # before it, nothing would be cleaned slowly
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "slow\n"
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=10)
    assert child.returncode == -signal.SIGHUP


def test_a_call_that_python_cannot_interrupt_is_waited_for_only_so_long(tmp_path):
    """Such as waiting for another process of the run; here, for a lock that nobody gives back."""
    before = (
        "import ctypes; from pdrop_eval.utils.terminal import signals; signals._PATIENCE = 0.3\n"
        "libc = ctypes.CDLL(None); lock = (ctypes.c_byte * 64)(); libc.pthread_mutex_init(lock, None)"
    )
    then = "libc.pthread_mutex_lock(lock); libc.pthread_mutex_lock(lock)"
    child = started(tmp_path, before=before, then=then)
    time.sleep(0.5)  # it has said that it is ready before it waits for the lock
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode == 128 + signal.SIGTERM


def asked_to_end():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


def test_in_the_process_of_another_program_nothing_stays():
    both = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(one) for one in both]
    with signals.ended_by_signals(lambda *_: None):
        assert signal.getsignal(signal.SIGTERM) is signals._raise
        with pytest.raises(signals.EndedBySignal, match="SIGTERM"):
            asked_to_end()
    assert [signal.getsignal(one) for one in both] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.slow
@pytest.mark.parametrize("module", ["compare.place", "site.cli"])
def test_commands_end_by_the_signal(tmp_path, module):
    code = (
        "import os, threading, time\n"
        "from pdrop_eval.report.compare import place; from pdrop_eval.report.site import cli\n"
        "place.find = cli._job = lambda *_: time.sleep(60)\n"
        "threading.Timer(1.0, lambda: os.kill(os.getpid(), 15)).start()\n"
        f"from pdrop_eval.report.{module.split('.')[0]}.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "SIGTERM: interrupted" in done.stderr
