"""A console script's process ends at once, after all that others have asked for; nobody else's does."""

import gc
import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from pdrop_eval.utils.paths import PACKAGE
from pdrop_eval.utils.terminal import collecting, process

# What a program leaves to the exit, and an object that only Python's own exit takes apart.
SCRIPT = """
import atexit, ctypes, sys, tempfile, threading, time
from pdrop_eval.utils.terminal.process import console_script

class Left:
    def __del__(self):
        print("taken apart", file=sys.stderr)

left = Left()
scratch = tempfile.TemporaryDirectory(dir=sys.argv[1])
atexit.register(lambda: print("atexit", end=""))

def late():
    time.sleep(0.05)
    print("thread")

@console_script
def main():
    threading.Thread(target=late).start()
    ctypes.CDLL(None).printf(b"from C\\n")
    {ends}

main()
"""
WORDS = ("thread\n", "atexit", "from C\n", "taken apart")


def ended(tmp_path, name="pdrop-eval-sample", ends="pass", options=(), **streams):
    """The process of a script after its end."""
    script, scratch = tmp_path / name, tmp_path / "scratch"
    scratch.mkdir()
    script.write_text(SCRIPT.format(ends=ends))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env, **streams}
    command = [sys.executable, *options, script, scratch]
    done = subprocess.run(command, check=False, timeout=20, **streams)
    assert list(scratch.iterdir()) == []
    return done


@pytest.mark.parametrize(
    ("ends", "status"), [("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit(True)", 1)]
)
def test_a_console_script_leaves_at_once_after_threads_temporary_folders_and_outputs(tmp_path, ends, status):
    done = ended(tmp_path, ends=ends)
    assert (done.returncode, done.stderr) == (status, "")
    assert {"thread\n", "atexit", "from C\n"} == {word for word in WORDS if word in done.stdout}


@pytest.mark.parametrize(
    ("name", "options"),
    [("mine.py", ()), ("pdrop-eval-mine.py", ()), ("pdrop-eval-sample", ("-m", "cProfile"))],
)
def test_another_program_and_one_that_is_watched_have_pythons_own_exit(tmp_path, name, options):
    done = ended(tmp_path, name, options=options)
    assert (done.returncode, done.stderr) == (0, "taken apart\n")
    assert "thread" in done.stdout
    assert ("function calls" in done.stdout) == bool(options)


@pytest.mark.parametrize(
    ("ends", "status", "said"),
    [("sys.exit('a word')", 1, "a word\n"), ("raise ValueError('a bug')", 1, "ValueError: a bug\n")],
)
def test_words_and_tracebacks_are_told_by_python(tmp_path, ends, status, said):
    done = ended(tmp_path, ends=ends)
    assert done.returncode == status
    assert said in done.stderr


def test_an_output_that_is_full_at_the_exit_is_pythons_120(tmp_path):
    with open("/dev/full", "w") as full:
        assert ended(tmp_path, stdout=full).returncode == 120


def test_garbage_is_looked_for_seldom_until_a_model_is_there():
    usual, seen = gc.get_threshold(), []

    @process.console_script
    def main():
        seen.append(gc.get_threshold())
        collecting.collect_as_usual()
        seen.append(gc.get_threshold())
        collecting.collect_as_usual()

    main()
    assert seen == [(50_000, 20, 100), usual]
    assert gc.get_threshold() == usual
    with pytest.raises(ZeroDivisionError):
        process.console_script(lambda: 1 / 0)()
    assert gc.get_threshold() == usual


def test_every_console_script_leaves_so():
    ways = {"pdrop-eval-compare": "def _leave("}  # whatever fails there, its status is 2
    scripts = [one for one in entry_points(group="console_scripts") if one.name.startswith("pdrop-eval")]
    assert len(scripts) > 10
    for one in scripts:
        source = (PACKAGE.parent / f"{one.module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert ways.get(one.name, "@console_script\ndef main()") in source, one.name
