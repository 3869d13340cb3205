"""The fast run of the tests: what it leaves out has a marker, and what is too slow for it is named."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

SPEC = importlib.util.spec_from_file_location("shared", Path(__file__).resolve().parents[1] / "conftest.py")
shared = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(shared)


def report(nodeid, seconds, *keywords, when="call"):
    return SimpleNamespace(nodeid=nodeid, duration=seconds, when=when, keywords=dict.fromkeys(keywords, 1))


def test_what_takes_over_three_seconds_and_has_no_marker_is_named_the_longest_first():
    reports = [
        report("a.py::one", 3.1, "usefixtures"),
        report("a.py::two", 2.9),
        report("a.py::three", 9.0, "slow"),
        report("a.py::five", 9.0, "essential"),
        report("b.py::four", 12.5, when="setup"),
        SimpleNamespace(message="a warning has no duration"),
    ]
    assert shared.too_slow(reports) == ["  12.5 s  setup     b.py::four", "   3.1 s  call      a.py::one"]


@pytest.mark.parametrize(("cases", "number", "stay"), [
    (9, 3, {0, 3, 6}), (8, 3, {0, 2, 5}), (5, 1, {0}), (2, 3, {0, 1}),
])  # fmt: skip
def test_of_a_thinned_test_cases_at_equal_distances_stay(cases, number, stay):
    assert shared.spread(cases, number) == stay


def test_the_other_cases_of_a_thinned_test_are_slow(pytestconfig):
    class Item:
        def __init__(self, nodeid, *marks):
            self.nodeid, self.marks = nodeid, {mark.name: mark for mark in marks}

        def get_closest_marker(self, name):
            return self.marks.get(name)

        def add_marker(self, name):
            self.marks[name] = None

    thin = pytest.mark.thin(2).mark
    items = [
        *(Item(f"a.py::one[{i}]", thin) for i in range(4)),
        Item("a.py::two[0]"),
        Item("b.py::one[0]", thin),
    ]
    shared.pytest_collection_modifyitems(items)
    for marker in ("slow", "whole"):
        assert [item.nodeid for item in items if marker in item.marks] == ["a.py::one[1]", "a.py::one[3]"]


def test_the_markers_are_those_that_the_makefile_chooses_by(pytestconfig):
    declared = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert declared >= shared.MARKERS
    makefile = (pytestconfig.rootpath / "Makefile").read_text(encoding="utf-8")
    chosen = re.findall(r"-m '(?:not )?\(([\w ]+)\)", makefile)
    assert [set(words.split(" or ")) for words in chosen] == [shared.MARKERS] * 2


@pytest.mark.parametrize(("required", "end"), [("", "Skipped"), ("required", "Failed")])
def test_tests_without_a_browser_say_which_line_installs_it(monkeypatch, required, end):
    pytest.importorskip("playwright")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "page"))
    import browsing

    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("PDROP_EVAL_CHROMIUM", raising=False)
    monkeypatch.setenv("PDROP_EVAL_BROWSER", required)
    ends = (pytest.skip.Exception, pytest.fail.Exception)
    with pytest.raises(ends, match="no Chromium here: apt-get install chromium") as left:
        browsing.chromium()
    assert type(left.value).__name__ == end
