"""What the tests of `pdrop-eval-show` share: the runner's tiny checkpoints and suite, and the command."""

import sys
import warnings
from pathlib import Path

import pytest

for folder in ("runner", "core"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import runner_tiny as tiny


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """A random LLaVA of 4 layers and 4x4 image tokens, with its processor, which cuts out the middle."""
    return tiny.checkpoint(tmp_path_factory.mktemp("show") / "llava")


@pytest.fixture(scope="session")
def llava_next(tmp_path_factory):
    """The same as LLaVA-NeXT."""
    return tiny.checkpoint(tmp_path_factory.mktemp("show") / "llava_next", "llava_next")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Six questions of each task."""
    return tiny.suite(tmp_path_factory.mktemp("show") / "suite")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No network, and no folder of the user's."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs pdrop-eval-show: exit status, standard output, standard error."""
    from pdrop_eval.report.show import cli

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["pdrop-eval-show", *map(str, arguments)])
        status = 0
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lmms_eval")
            try:
                cli.main()
            except SystemExit as leaving:
                status = leaving.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
