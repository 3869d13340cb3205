"""What MkDocs can't do by itself: links out of docs/ into the repository, and a site that fetches nothing.

The documents are read on GitHub too, so a link such as `../results/README.md` stays as it is in them. In the
site, those of the repository's Markdown files that are worth reading stand beneath `repository/`, what else a
document links to is copied there, and links are turned to it. A link to a file that doesn't exist is left
alone, and MkDocs warns of it, which fails a strict build.
"""

import logging
import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Link, Navigation

ROOT = Path(__file__).resolve().parents[1]
HOME = "repository"
READ = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tasks/README.md", "results/*.md")
READ += (
    "pdrop_eval/models/checkpoints/*/README.md",
    "tools/mini/weights/mini576_base/README.md",
    "results/community/README.md",
)
READ += tuple(f"results/{name}/*.md" for name in ("efficiency", "figures", "reference", "tables", "training"))
READ += (
    "results/sweep_scale.md",
    "results/sweep_speed.md",
    "results/site_scale.md",
    "results/compare/coverage.md",
)  # what else lies in results/ is of those who evaluate
STRATEGIES = "<!-- strategies -->"  # where the catalogue of strategies and their documentation go
FAMILIES = "<!-- families -->"  # where the catalogue of model families goes
COMMUNITY = "PDROP_EVAL_COMMUNITY"  # set where the site has the page of shared results
OWN = "_limit"  # in the names of their figures
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
# What a browser fetches by itself; a link that a reader may follow is none of it.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|embed|video|audio)\b[^>]*\ssrc\s*=\s*["']?\s*(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\shref\s*=\s*["']?\s*(?:https?:)?//[^"'\s>]+"""
    r"""|(?:url\(|@import)\s*["']?\s*(?:https?:)?//[^"')\s]+""",
    re.I,
)


def on_startup(**_: Any) -> None:
    """Lets warnings through: with --quiet MkDocs doesn't count them, and --strict would pass."""
    said = logging.getLogger("mkdocs")
    said.setLevel(min(said.level, logging.WARNING))


def on_files(files: Files, config: Any) -> Files:
    """Adds the repository's own documents to the site."""
    for pattern in READ:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if OWN not in name:
                _add(name, files, config)
    return files


def on_nav(nav: Navigation, **_: Any) -> Navigation:
    """Leads to the page of shared results, where `make site` puts one beside the documentation."""
    if os.environ.get(COMMUNITY):
        nav.items[-1].children.append(Link("Shared results", "community/index.html"))
    return nav


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links that lead out of docs/ to where the site has what they name."""
    uri = page.file.src_uri
    at_home = uri.startswith(f"{HOME}/")
    here = posixpath.dirname(uri.removeprefix(f"{HOME}/") if at_home else f"docs/{uri}")

    def turned(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(here, match[0]))
        if target.startswith("../") or not (ROOT / target).exists():
            return match[0]
        if target.startswith("docs/"):
            found = target.removeprefix("docs/")
        elif (ROOT / target).is_file() and (not target.endswith(".md") or _is_read(target, files)):
            found = _add(target, files, config)
        else:
            return match[0]
        return os.path.relpath(found, posixpath.dirname(uri) or ".").replace(os.sep, "/")

    if uri == "api/strategies.md":
        markdown = markdown.replace(STRATEGIES, _strategies())
    if uri == "api/engine.md":
        markdown = markdown.replace(FAMILIES, _families())
    # Markdown inside of HTML's details is for GitHub plain, for MkDocs it has to be said
    return LINK.sub(turned, markdown).replace("<details>", '<details markdown="1">')


def on_post_build(config: Any) -> None:
    """Refuses a site whose pages would fetch something from a network."""
    found = []
    for path in sorted(Path(config["site_dir"]).rglob("*")):
        if path.suffix in (".html", ".css", ".svg"):
            text = path.read_text(encoding="utf-8")
            found += [f"{path}: {match[0]}" for match in FETCHED.finditer(text)]
    if found:
        raise PluginError("The site would fetch from a network:\n" + "\n".join(found))


def _strategies() -> str:
    """The catalogue of strategies, then each with its documentation: those whose files are there."""
    sys.path.insert(0, str(ROOT))
    try:
        from pdrop_eval.strategies.registry import catalogue, installed
    finally:
        sys.path.remove(str(ROOT))
    blocks = [f"::: {info.module}.{info.class_name}" for info in installed().values()]
    return "\n\n".join([catalogue("../../pdrop_eval/strategies"), *blocks])


def _families() -> str:
    """The catalogue of model families: those whose files are there."""
    sys.path.insert(0, str(ROOT))
    try:
        from pdrop_eval.models.catalogue import catalogue
    finally:
        sys.path.remove(str(ROOT))
    return catalogue("../../pdrop_eval/models/families")


def _is_read(name: str, files: Files) -> bool:
    """Whether a document has a page; one that begins to have one while pages are made would get none."""
    return files.get_file_from_path(f"{HOME}/{name}") is not None


def _add(name: str, files: Files, config: Any) -> str:
    """Makes a file of the repository one of the site; returns its name there."""
    uri = f"{HOME}/{name}"
    if files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return uri
