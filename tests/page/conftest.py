"""Synthetic runs with a page of them, and a browser to look at one."""

import pytest
import synthetic
from browsing import Results, browser, make_results
from browsing import tab as open_tab
from paging import Read, build

from pdrop_eval.report.site import build as build_module


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests that open Chromium."""
    for item in items:
        if item.path.name.startswith("test_browser_") or "chromium_started" in item.fixturenames:
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Pages without the library of the charts, and without the rendered suite of this machine."""
    monkeypatch.setattr(build_module, "_plotly", lambda: "/* charts */")
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "nothing rendered"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nothing downloaded"))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Nine synthetic runs of three tasks in runs, their pictures in data; not to be changed."""
    folder = tmp_path_factory.mktemp("recorded")
    synthetic.write_runs(folder / "runs", folder / "data", 9)
    return folder


@pytest.fixture(scope="session")
def page(recorded, tmp_path_factory):
    """A page of them; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "_plotly", lambda: "/* charts */")
        build(recorded)
    return Read(recorded / "site")


@pytest.fixture
def paged(tmp_path, quick):
    """Builds a page of the runs in `tmp_path / "runs"`: `paged(pictures=0)`."""

    def make(**settings):
        told = build(tmp_path, **settings)
        found = Read(tmp_path / "site")
        found.told = told
        return found

    return make


@pytest.fixture(scope="session")
def page_results(tmp_path_factory) -> Results:
    """The page of the runs of `browsing`; not to be changed."""
    return make_results(tmp_path_factory.mktemp("browsed"))


@pytest.fixture(scope="module")
def chromium_started():
    """A headless Chromium for a module."""
    with browser() as started:
        yield started


@pytest.fixture
def tab(chromium_started, page_results):
    """A fresh tab, not yet at the page; the test fails if anything goes wrong in it."""
    with open_tab(chromium_started, page_results) as opened:
        yield opened
