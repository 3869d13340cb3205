"""`python -m pytest tests/golden --golden-dir DIR` runs any cases and prints a line for each."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import golden_driver

SLOW = ("fitprune_ratio60_32l",)  # 26 drops, each by the whole attention
OUTCOMES = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}


def pytest_addoption(parser):
    parser.addoption("--golden-dir", metavar="DIR", help="run the golden cases of this folder, and only them")


def asked_folder(config):
    """The folder that the command names, or None."""
    asked = config.getoption("--golden-dir", None)
    return Path(asked).absolute() if asked is not None else None


def pytest_generate_tests(metafunc):
    if "golden_name" not in metafunc.fixturenames:
        return
    asked = asked_folder(metafunc.config)
    folder = asked or golden_driver.FOLDER
    if not folder.is_dir():
        raise pytest.UsageError(f"--golden-dir {folder} is no folder: name one with cases, NAME.json each.")
    names = golden_driver.names(folder)
    if not names:
        raise pytest.UsageError(f"--golden-dir {folder} holds no case (NAME.json, NAME.safetensors).")
    seen, cases = set(), []
    for name in names:
        kind = golden_driver.kind(folder, name)
        # The fast run has one case of each kind, and all of the strategies in the decoder.
        slow = asked is None and (name in SLOW or (kind in seen and name.startswith("pre_")))
        cases.append(pytest.param(name, id=name, marks=pytest.mark.slow if slow else ()))
        seen.add(kind)
    metafunc.parametrize("golden_name", cases)


def pytest_collection_modifyitems(config, items):
    """With a folder given, only its cases run."""
    if asked_folder(config) is not None:
        others = [item for item in items if "golden_name" not in getattr(item, "fixturenames", ())]
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)


@pytest.fixture
def golden_folder(request):
    return asked_folder(request.config) or golden_driver.FOLDER


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread):
    """Every case."""


def pytest_terminal_summary(terminalreporter, config):
    """Prints one line for each case: what became of it, and what was compared or why it didn't pass."""
    if asked_folder(config) is None:
        return
    told = {}
    for reports in list(terminalreporter.stats.values()):
        for report in reports:
            name = dict(getattr(report, "user_properties", ())).get("golden case")
            if name is not None and (report.when == "call" or report.outcome != "passed"):
                told[name] = report.outcome, dict(report.user_properties).get("golden line", "")
    terminalreporter.section(f"golden cases of {asked_folder(config)}")
    width = max(map(len, told), default=0)
    for name, (outcome, line) in sorted(told.items()):
        terminalreporter.write_line(f"{OUTCOMES[outcome]}  {name:{width}}  {line}".rstrip())
    counts = [f"{sum(o == outcome for o, _ in told.values())} {word}" for outcome, word in OUTCOMES.items()]
    terminalreporter.write_line(", ".join(counts))
