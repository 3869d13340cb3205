"""Packages that are deferred are themselves, and run their code when they are asked for a name."""

import subprocess
import sys
import threading

import pytest

from pdrop_eval.utils.terminal import deferred

HEAVY = """
import threading, time
ran.append(__name__)
time.sleep(0.02)
VALUE = 7
__version__ = "1.2"
from heavy import part
"""


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The names of modules whose code has run: a package `heavy` is deferred, which one imports, `user`."""
    import builtins

    found = []
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text(HEAVY)
    (tmp_path / "heavy" / "part.py").write_text("ran.append(__name__)")
    (tmp_path / "user.py").write_text("import heavy as kept\ndef use():\n    return kept.VALUE\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "ran", found, raising=False)
    monkeypatch.setattr(deferred, "NAMES", frozenset({"heavy"}))
    monkeypatch.setattr(sys, "meta_path", [deferred._Finder(), *sys.meta_path])
    yield found
    for name in ("heavy", "heavy.part", "user"):
        sys.modules.pop(name, None)


def test_a_package_runs_when_it_is_asked_for_a_name(ran):
    import user

    found = user.kept
    assert (ran, found.__name__, found.__file__.rsplit("/", 2)[1]) == ([], "heavy", "heavy")
    assert not hasattr(found, "__wrapped__")  # as what looks at all modules asks
    assert ran == []
    assert user.use() == 7
    assert ran == ["heavy", "heavy.part"]
    assert found.__version__ == "1.2"
    with pytest.raises(AttributeError, match="heavy"):
        _ = found.MISSING
    assert ran == ["heavy", "heavy.part"]


@pytest.mark.parametrize("how", ["import heavy.part", "from heavy import VALUE", "from heavy import *"])
def test_whatever_is_imported_of_it_runs_it_first(ran, how):
    import user

    assert (user.__name__, ran) == ("user", [])
    exec(how, {})
    assert ran == ["heavy", "heavy.part"]


def test_several_threads_run_it_once(ran):
    import user

    values = []
    threads = [threading.Thread(target=lambda: values.append(user.use())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert (values, ran) == ([7] * 8, ["heavy", "heavy.part"])


def test_a_package_that_fails_fails_each_time_and_one_that_is_missing_is_missing(ran, tmp_path, monkeypatch):
    import user

    (tmp_path / "heavy" / "__init__.py").write_text("raise ImportError('no library')")
    for _ in range(2):
        with pytest.raises(ImportError, match="no library"):
            user.use()
    monkeypatch.setattr(deferred, "NAMES", frozenset({"nowhere"}))
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        __import__("nowhere")


def test_nothing_is_deferred_in_a_program_of_someone_else():
    code = (
        "import sys; from pdrop_eval.report.share.check import main; sys.argv = ['x', 'roott=1']\n"
        "try: main()\nexcept SystemExit: print([type(one).__module__ for one in sys.meta_path])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert deferred.__name__ not in done.stdout
