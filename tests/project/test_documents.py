"""What README, CONTRIBUTING and the documentation tell people to do works."""

import csv
import re
import shlex
import shutil
import subprocess

import pytest
from documents import DOCUMENTS, MAKEFILE, ROOT, SCRIPTS, code, commands

from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.report.readme.blocks import COMPACT, marks
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.utils.paths import MINI_CHECKPOINTS
from pdrop_eval.utils.presets import DEFAULT_MODEL

README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = ROOT / "results" / "tables"


@pytest.fixture(params=DOCUMENTS)
def document(request):
    """Name and text of a document."""
    return request.param, DOCUMENTS[request.param].read_text(encoding="utf-8")


def test_every_make_command_names_a_target_and_known_variables(document):
    name, text = document
    calls = commands(text, "make")
    assert calls or name not in ("README.md", "CONTRIBUTING.md", "docs/quickstart.md")
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.M)
    variables = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.M)
    for target, *settings in calls:
        assert target in targets
        for setting in settings:
            assert setting.partition("=")[0] in variables


def test_every_console_script_that_is_named_is_installed(document):
    name, text = document
    named = set(re.findall(r"^pdrop-eval(?:-[a-z]+)*(?=\s|$)", "\n".join(code(text)), re.M))
    assert sorted(named - set(SCRIPTS)) == []
    assert "pdrop-eval-tables" in named or name != "README.md"


def test_the_readme_names_every_console_script():
    assert [name for name in SCRIPTS if f"`{name}`" not in README] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_every_evaluation_that_make_starts_is_a_valid_configuration(document, make_environment):
    name, text = document
    calls = [settings for target, *settings in commands(text, "make") if target == "eval" and settings]
    assert len(calls) >= 5 or name not in ("README.md", "docs/quickstart.md")
    for settings in calls:
        if "STRATEGY=spread" not in settings:  # the one that CONTRIBUTING adds
            check_command_line(
                evaluation(settings, make_environment)
            )  # raises UserError for what isn't there


def test_a_combination_takes_the_place_of_makes_default_strategy(make_environment):
    given = evaluation(["ARGS='combine=[visionzip,pdrop]'"], make_environment)
    assert "combine=[visionzip,pdrop]" in given
    assert not [one for one in given if one.startswith("strategy=")]
    both = evaluation(["STRATEGY=fastv", "ARGS='combine=[visionzip,pdrop]'"], make_environment)
    assert {"strategy=fastv", "combine=[visionzip,pdrop]"} <= {*both}  # which pdrop-eval refuses
    assert "strategy=pdrop" in evaluation(["LIMIT=4"], make_environment)


def evaluation(settings, env):
    """The arguments that `make eval` would give to pdrop-eval."""
    command = ["make", "--dry-run", "eval", *settings]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    recipe = done.stdout.replace("\\\n", " ").splitlines()[-1]
    program, *arguments = shlex.split(recipe)
    assert program == ".venv/bin/pdrop-eval"
    return arguments


@pytest.mark.parametrize("name", ["budgets", "shelf"])
def test_the_readme_shows_the_means_of_its_tables_by_budget(name):
    """Each mean is that of a line of the CSV; run make readme after make budgets or make shelf."""
    start, end = marks(name)
    block = README.partition(start)[2].partition(end)[0].strip()
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        lines = [
            line for line in csv.DictReader(file) if line["source"] == "measured" and line["budget_tokens"]
        ]
    measured = sorted(f"{float(line['percent']):.1f}" for line in lines if line["percent"])
    rows = [line.split("|")[3:-1] for line in block.splitlines() if line.startswith("| ")][1:]
    shown = sorted(cell.split()[0] for row in rows for cell in row if cell.strip() != "-")
    assert shown == measured
    assert len(shown) >= 15


def test_the_page_of_results_shows_the_tables_that_were_measured():
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    tables = (TABLES / f"{COMPACT}.md").read_text(encoding="utf-8").strip().split("\n### ")
    assert len(tables) == 4
    for table in tables:
        assert table.removeprefix("### ") in page, "run make readme"


def test_every_page_of_measured_costs_names_its_commit():
    table = README.partition("Each statement about cost")[2].partition("These pages were measured")[0]
    pages = [name for name in re.findall(r"\]\((results/\S+\.md)\)", table) if not name.endswith("/flops.md")]
    assert len(pages) >= 12
    named = re.compile(r"code \d\S* at [0-9a-f]{10}")
    assert [name for name in pages if not named.search((ROOT / name).read_text("utf-8"))] == []


def test_the_readme_begins_with_the_problem_two_commands_a_table_and_a_figure():
    """What a page on the web shows before one scrolls."""
    first = README.splitlines()[:40]
    assert [line for line in first if line.startswith("make ")] == commands_of_the_start()
    assert any(line.startswith("| Model ") for line in first)
    assert any(line.startswith("![") and "results/figures/" in line for line in first)
    assert README.index("```sh") < README.index("| Model ") < README.index("![")


def commands_of_the_start():
    """The two commands with which the documentation begins too."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", index, re.S)[0].splitlines()


def test_the_committed_tables_are_of_the_checkpoint_that_is_shipped():
    """Run `make eval STRATEGY=vanilla,fastv,pdrop` and `make readme` after a new training."""
    shipped = checkpoint_sha256(MINI_CHECKPOINTS / DEFAULT_MODEL, None)[:12]
    texts = [path.read_text(encoding="utf-8") for path in TABLES.glob("table5.*")]
    named = [text for text in texts if "Checkpoints:" in text]
    assert len(named) == 3  # all but the CSV
    assert all(f"{DEFAULT_MODEL} {shipped}" in text for text in named)


def test_the_readme_says_of_the_order_of_strategies_what_was_measured():
    page = (ROOT / "results" / "figures" / "rank_mini_vs_7b.md").read_text(encoding="utf-8")
    checkpoint = checkpoint_sha256(MINI_CHECKPOINTS / DEFAULT_MODEL, None)[:12]
    assert f"{DEFAULT_MODEL}, checkpoint {checkpoint}." in page
    found = dict(re.findall(r"^\| (\w+ \| [\w ]+) \| (\d\.\d+ \[[^\]]+\]) \|", page, re.M))
    said = " ".join(README.split())
    assert said.count(found["all | all"]) == 2
    assert f"in recognition alone by {found['recognition | all']}" in said
    alone = [found[f"all | at {tokens} tokens"].split()[0] for tokens in (192, 128, 64)]
    assert "at one budget alone by {}, {} and {};".format(*alone) in said


@pytest.mark.essential
def test_the_library_example_runs_and_answers_rightly(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope: dict = {}
    exec(example, scope)
    # besides the prompt's own tokens there are 576, 288, 144 and 72 of the image in the four stages
    text = scope["inputs"]["input_ids"].shape[1] - 576
    assert scope["drop"].kv_lengths == [[text + n] for n in (576, 288, 144, 72) for _ in range(4)]
    assert scope["answer"].strip() == scope["question"].answer
    said = capsys.readouterr().out
    assert scope["answer"] in said
    assert "gqa: 100.0 exact_match of 1 question, no interval" in said
