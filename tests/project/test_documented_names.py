"""What the documents name exists: modules, imports, settings of commands, paths, headings, variables."""

import ast
import importlib
import re
import shutil
import subprocess
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from documents import DOCUMENTS, MAKEFILE, ROOT, SCRIPTS, commands, inline, prose

from pdrop_eval.report.compare.settings import read_settings as read_compare
from pdrop_eval.report.show.settings import read_settings as read_show
from pdrop_eval.run.config.compose import check_command_line, check_settings
from pdrop_eval.run.importing.spec import read_settings as read_import
from pdrop_eval.run.sweep.spec import read_sweep

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
# How each script checks its command line before it loads anything. Raises UserError for what it doesn't take.
CHECKS = {
    "pdrop-eval": check_command_line,
    "pdrop-eval-doctor": check_command_line,
    "pdrop-eval-train": partial(check_command_line, entry="train"),
    "pdrop-eval-bench": partial(check_command_line, entry="bench"),
    "pdrop-eval-calibrate": partial(check_command_line, entry="calibrate"),
    "pdrop-eval-sweep": read_sweep,
    "pdrop-eval-compare": read_compare,
    "pdrop-eval-show": read_show,
    "pdrop-eval-tables": partial(check_settings, entry="tables"),
    "pdrop-eval-figures": partial(check_settings, entry="figures"),
    "pdrop-eval-page": partial(check_settings, entry="page"),
    "pdrop-eval-merge": partial(check_settings, entry="merge"),
    "pdrop-eval-check-results": partial(check_settings, entry="check-results"),
    "pdrop-eval-import": read_import,
}
ADDED = {  # by the steps of CONTRIBUTING
    file
    for name in ("spread", "largest", "funnel")
    for file in (f"pdrop_eval/strategies/{name}.py", f"conf/strategy/{name}.yaml")
} | {"pdrop_eval/models/families/lantern.py", "conf/model/lantern_2b.yaml"}
THEIRS = {"strategy=spread", "model=lantern_2b"}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in DOCUMENTS.items()}


@pytest.fixture(params=TEXTS)
def text(request):
    """The text of a document."""
    return TEXTS[request.param]


def calls_of(text, script):
    """Calls of a script, also those that torchrun starts; without placeholders (`...`)."""
    found = commands(text, script)
    for call in commands(text, "torchrun"):
        if "--no-python" in call:
            program, *arguments = call[call.index("--no-python") + 1 :]
            found += [arguments] if program == script else []
    return [[word for word in call if "..." not in word] for call in found]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_line_is_one_that_its_script_takes(script):
    calls = [call for text in TEXTS.values() for call in calls_of(text, script)]
    assert calls or script == "pdrop-eval-tables"  # which the documents call by `make tables`
    for call in calls:
        if not {"--help", *THEIRS} & {*call}:
            CHECKS[script](call)


@pytest.mark.parametrize("wrong", [["strategy=none"], ["limits=3"], ["recipe=x"]])
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_checks_refuse_what_is_not_there(script, wrong):
    with pytest.raises(Exception, match=r"Unknown|can't be given|No sample is named|kind= is missing"):
        CHECKS[script](wrong)


def test_torchrun_starts_the_console_scripts():
    calls = [call for text in TEXTS.values() for call in commands(text, "torchrun")]
    assert len(calls) >= 3
    for call in calls:
        assert call[call.index("--no-python") + 1] in SCRIPTS
    assert not [name for name, text in TEXTS.items() if re.search(r"torchrun[^`\n]* -m ", text)]


def modules_run(text):
    """The modules that a text runs with `python -m`."""
    return set(re.findall(r"python3? -m ([\w.]+)", text))


def test_every_module_that_is_run_is_there_and_can_be_run(text):
    for name in modules_run(text) - {"lmms_eval"}:
        assert_runs(name)


def test_every_module_that_the_makefile_runs_is_there():
    names = modules_run(MAKEFILE) - {"venv", "pip", "pytest"}
    assert len(names) > 10
    for name in names:
        assert_runs(name)


def assert_runs(name):
    """A module with a main block, or a package with a `__main__`."""
    spec = find_spec(name)
    assert spec is not None, name
    if spec.submodule_search_locations:
        spec = find_spec(f"{name}.__main__")
        assert spec is not None, f"{name} has no __main__"
    assert '__name__ == "__main__"' in Path(spec.origin).read_text(encoding="utf-8"), name


def resolve(name):
    """The module or attribute of a dotted name."""
    parts = name.split(".")
    for number in range(len(parts), 0, -1):
        module = ".".join(parts[:number])
        try:
            if find_spec(module) is None:
                continue
        except ModuleNotFoundError:
            continue
        found = importlib.import_module(module)
        for attribute in parts[number:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


def test_every_import_that_is_shown_works(text):
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    resolve(f"{node.module}.{alias.name}")
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    resolve(alias.name)


def test_every_dotted_name_of_the_package_exists(text):
    named = {match[1] for match in re.finditer(r"^::: ([\w.]+)", text, re.M)}
    named |= {words for words in inline(text) if re.fullmatch(r"(?:pdrop_eval|tools)(?:\.\w+)+", words)}
    inner = r"(?:efficiency|engine|models|records|benchmarks|strategies)\.\w+\.\w+"
    named |= {f"pdrop_eval.{words}" for words in inline(text) if re.fullmatch(inner, words)}
    for name in named:
        resolve(name)


def test_what_replaces_the_modules_that_moved_is_there():
    pairs = re.findall(r"`(pdrop_eval[\w.]+)`\s+is\s+now\s+`([\w.]+)`", CHANGELOG)
    assert len(pairs) > 15
    for _, now in pairs:
        resolve(now)


def test_every_path_that_is_named_is_there_or_made_and_ignored(text):
    tops = "pdrop_eval|conf|tasks|tests|docs|tools|results|checkpoints"
    named = {words for words in inline(text) if re.fullmatch(rf"(?:{tops})/[\w./*-]*", words)}
    absent = {name.rstrip("/") for name in named - ADDED if not list(ROOT.glob(name.rstrip("/")))}
    assert not absent or ignored(absent) == absent


def ignored(names):
    """Those of the paths that git ignores, as what users make is."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", "check-ignore", *sorted(f"{name.rstrip('/')}/" for name in names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.removesuffix("/") for line in done.stdout.split()}


@pytest.mark.parametrize("script", ["tables", "figures", "page", "show", "evaluate", "bench"])
def test_what_users_make_never_replaces_tracked_files(script):
    config = yaml.safe_load((ROOT / "conf" / f"{script}.yaml").read_text(encoding="utf-8"))
    folder = config["results" if script in ("evaluate", "bench") else "out"]
    assert ignored({folder}) == {folder}


def headings(path):
    """The anchors that GitHub gives the headings of a document."""
    titles = re.findall(r"^#+ (.*)$", prose(path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading(name):
    path = DOCUMENTS[name]
    for target, _, anchor in (
        link.partition("#")
        for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name])
        if not link.startswith("http")
    ):
        home = path.parent / target if target else path
        assert home.exists(), target
        assert not anchor or anchor in headings(home), f"{target}#{anchor}"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_every_environment_variable_of_this_project_is_read_somewhere(text):
    for name in set(re.findall(r"\bPDROP_EVAL_[A-Z_]+", text)):
        done = subprocess.run(
            ["git", "grep", "-lF", name, "--", "pdrop_eval", "tests"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip(), name
