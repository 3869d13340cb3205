"""What README and CONTRIBUTING tell people to do works."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pdrop_eval.configs import check_command_line
from pdrop_eval.identity import checkpoint_sha256
from pdrop_eval.paths import MINI_CHECKPOINT
from pdrop_eval.report.readme import COMPACT, WHOLE, marks

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TABLES = ROOT / "results" / "tables"


def commands(text, name):
    """Every call of a command in a document's shell blocks and inline code, as words without comments."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    lines = [*blocks.splitlines(), *(code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", text))]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{name} ")]


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_make_command_names_a_target_and_known_variables(text):
    calls = commands(text, "make")
    assert len(calls) >= 2
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.M)
    variables = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.M)
    for target, *settings in calls:
        assert target in targets
        for setting in settings:
            assert setting.partition("=")[0] in variables


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_every_evaluation_in_the_readme_is_a_valid_configuration(make_environment):
    calls = [call for call in commands(README, "pdrop-eval") if call != ["--help"]]
    calls += [
        evaluation(settings, make_environment)
        for target, *settings in commands(README, "make")
        if target == "eval"
    ]
    assert len(calls) >= 6
    for call in calls:
        check_command_line(call)  # raises UserError for what does not exist


def evaluation(settings, env):
    """The arguments that `make eval` would give to pdrop-eval."""
    command = ["make", "--dry-run", "eval", *settings]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    recipe = done.stdout.replace("\\\n", " ").splitlines()[-1]
    program, *arguments = shlex.split(recipe)
    assert program == ".venv/bin/pdrop-eval"
    return arguments


@pytest.mark.parametrize("name", [WHOLE, COMPACT])
def test_the_readme_shows_the_tables_that_were_measured(name):
    start, end = marks(name)
    block = README.partition(start)[2].partition(end)[0].strip()
    table = TABLES / f"{name}.md"
    if table.is_file():
        assert block == table.read_text(encoding="utf-8").strip(), "run make readme"
    else:
        assert block == "Nothing measured yet.", f"{table} is missing: run make readme"


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_links_and_named_files_exist(text):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    named = re.findall(r"`((?:pdrop_eval|conf|tasks|tests)/[\w/.]+\.(?:py|md))`", text)
    assert len(links) >= 1
    examples = {"pdrop_eval/strategies/uniform.py"}
    assert [name for name in {*links, *named} - examples if not (ROOT / name).exists()] == []


def test_the_committed_tables_are_of_the_checkpoint_that_is_shipped():
    """Run `make eval STRATEGY=vanilla,fastv,pdrop` and `make readme` after a new training."""
    shipped = checkpoint_sha256(MINI_CHECKPOINT, None)[:12]
    for text in (README, *(path.read_text(encoding="utf-8") for path in TABLES.glob("table5.*"))):
        if "Checkpoints:" in text:
            assert f"mini {shipped}" in text
    assert "Checkpoints:" in README


def test_the_library_example_runs_and_answers_rightly(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope: dict = {}
    exec(example, scope)
    # besides the prompt's own tokens there are 144, 72, 36 and 18 of the image in the four stages
    text = scope["inputs"]["input_ids"].shape[1] - 144
    assert scope["drop"].kv_lengths == [[text + n] for n in (144, 144, 72, 72, 36, 36, 18, 18)]
    assert scope["answer"].strip() == scope["question"].answer
    assert scope["answer"] in capsys.readouterr().out
