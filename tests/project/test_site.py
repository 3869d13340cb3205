"""The documentation's site: links out of docs/, and nothing from a network."""

import importlib.util
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs")
DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(name):
    """A module of the folder docs, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    """The hooks for a repository in small."""
    module = load("site_hooks")
    for name in (
        "README.md",
        "docs/index.md",
        "docs/api/one.md",
        "results/README.md",
        "results/a.png",
        "code.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    for name in ("runs/README.md", "compare/mine.md", "figures/figure4_mini_limit8.md", "family/README.md"):
        (tmp_path / "results" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "results" / name).write_text("a user's own")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


@pytest.fixture
def turned(hooks):
    """A document's text with its links turned, and the names of the files that this has added."""
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

    config = MkDocsConfig()
    config.load_dict({"site_name": "x", "docs_dir": str(hooks.ROOT / "docs"), "plugins": []})
    assert config.validate() == ([], [])
    config.plugins._current_plugin = "hooks"

    def turn(uri, text):
        files = hooks.on_files(Files([]), config)
        page = SimpleNamespace(file=SimpleNamespace(src_uri=uri))
        return hooks.on_page_markdown(text, page, config, files), {file.src_uri for file in files}

    return turn


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "../README.md", "repository/README.md"),
        ("index.md", "../results/a.png", "repository/results/a.png"),
        ("api/one.md", "../../code.py", "../repository/code.py"),
        ("api/one.md", "../index.md", "../index.md"),
        ("repository/README.md", "docs/api/one.md", "../api/one.md"),
        ("repository/README.md", "code.py", "code.py"),
        ("repository/results/README.md", "a.png", "a.png"),
    ],
)
def test_a_link_leads_to_the_same_file_in_the_site(turned, page, link, expected):
    text, files = turned(page, f"[a]({link}#part) ![b]({link})")
    assert text == f"[a]({expected}#part) ![b]({expected})"
    home = (Path("/") / Path(page).parent / expected).resolve().relative_to("/").as_posix()
    assert home in files or not home.startswith("repository/")


@pytest.mark.parametrize("link", ["../nowhere.md", "nowhere.png", "https://example.org/README.md", "#part"])
def test_a_link_to_nothing_is_left_for_the_build_to_refuse_and_one_to_the_web_as_it_is(turned, link):
    assert turned("index.md", f"[a]({link})")[0] == f"[a]({link})"


@pytest.mark.parametrize(
    ("asked", "expected"), [(logging.ERROR, logging.WARNING), (logging.INFO, logging.INFO)]
)
def test_a_quiet_build_sees_warnings_all_the_same(hooks, monkeypatch, asked, expected):
    said = logging.getLogger("mkdocs")
    monkeypatch.setattr(said, "level", asked)
    hooks.on_startup(command="build", dirty=False)
    assert said.level == expected


def test_what_users_measure_is_no_part_of_the_site(turned):
    files = turned("index.md", "")[1]
    assert files == {"repository/README.md", "repository/results/README.md"}


@pytest.mark.parametrize(
    "fetched",
    [
        '<script src="https://example.org/a.js">',
        "<link rel=stylesheet href=//example.org/a.css>",
        '<img alt="x" src="http://example.org/a.png">',
        "@import url('https://example.org/a.css')",
        "src: url(https://example.org/a.woff2)",
    ],
)
def test_a_site_that_would_fetch_from_a_network_is_refused(hooks, tmp_path, fetched):
    from mkdocs.exceptions import PluginError

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.html").write_text('<a href="https://example.org">x</a><script src="js/a.js">')
    hooks.on_post_build({"site_dir": str(tmp_path / "site")})
    (tmp_path / "site" / "b.css").write_text(fetched)
    with pytest.raises(PluginError, match=r"b\.css.*example\.org"):
        hooks.on_post_build({"site_dir": str(tmp_path / "site")})


def test_the_site_with_shared_results_leads_to_them(hooks, monkeypatch):
    nav = SimpleNamespace(items=[SimpleNamespace(children=[])])
    monkeypatch.delenv(hooks.COMMUNITY, raising=False)
    assert hooks.on_nav(nav).items[-1].children == []
    monkeypatch.setenv(hooks.COMMUNITY, "1")
    (link,) = hooks.on_nav(nav).items[-1].children
    assert (link.title, link.url) == ("Shared results", "community/index.html")
    assert "site: export PDROP_EVAL_COMMUNITY" in (DOCS.parent / "Makefile").read_text(encoding="utf-8")
