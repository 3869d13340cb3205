"""The steps of CONTRIBUTING add a strategy of each kind: followed to the letter in a copy of the project."""

import json
import re

import pytest
from following import project_with, run, steps

# By the list of the contract: the section that adds to it.
SECTIONS = {
    "STRATEGIES": "Add a strategy",
    "BEFORE": "Add one that acts before the decoder",
    "BOTH": "Add one that acts on both sides of the decoder",
}

# Evaluates the new strategy, by its defaults and under a budget, on a random model of 4 layers and 16 image
# tokens; then makes the tables, Figure 4 and the results page.
EVALUATE = """
import sys
from pathlib import Path

import runner_tiny

runner_tiny.checkpoint(Path("tiny"), layers=4)
runner_tiny.suite(Path("data"), n=2, tasks=("gqa",))
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.cli import main, make_plan
from pdrop_eval.run.evaluate.header import make_header

given = ["tasks=[gqa]", "model.pretrained=tiny", "data.root=data"]
own = compose_spec(["strategy=spread", "strategy.k=1", "budget.share=0.625", *given])
print("k=1:", make_header(make_plan(own), "")[1]["efficiency"]["image_tokens_per_layer"])
for more in (["strategy.tokens=7"], ["budget.share=0.5"]):
    spec = compose_spec(["strategy=largest", *more, *given])
    print("largest:", make_header(make_plan(spec), "")[1]["efficiency"]["image_tokens_per_layer"])
for more in (
    ["strategy=vanilla"],
    ["strategy=spread"],
    ["strategy=spread", "budget.share=0.625"],
    ["strategy=funnel", "strategy.k=1", "budget.share=0.4"],
):
    sys.argv[1:] = [*more, *given, "results=runs"]
    main()
for report, out in (("readme", "tables"), ("figures", "figures"), ("site", "page")):
    sys.argv[1:] = ["root=runs", f"out={out}"]
    __import__(f"pdrop_eval.report.{report}.cli", fromlist=["main"]).main()
"""
CATALOGUE = "from pdrop_eval.strategies.registry import catalogue; print(catalogue('x'))"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the strategies added."""
    return project_with(tmp_path_factory.mktemp("project"), SECTIONS)


@pytest.mark.slow
def test_the_contract_runs_on_the_new_strategy(project):
    some = "(spread or largest or funnel) and (llava_gqa or bare_llama)"  # all families take half a minute
    out = run(project, "-m", "pytest", "tests/core", "-k", some, "-p", "no:cacheprovider", "-rA")
    for name in ("spread", "largest", "funnel"):
        assert len(re.findall(rf"^PASSED .*\[.*{name}\b", out, re.M)) >= 8, name


def test_its_settings_are_refused_without_torch(project):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pdrop_eval.strategies.make import make_strategy\n"
        "from pdrop_eval.utils.errors import UserError\n"
        "for name, field in (('spread', 'k'), ('largest', 'tokens'), ('funnel', 'tokens')):\n"
        "    try: print(make_strategy(name), make_strategy(name, {field: 'x'}))\n"
        "    except UserError as error: print(name, error)\n"
    )
    refused = run(project, "-c", code).splitlines()
    assert [line.split()[0] for line in refused if "'x'" in line] == ["spread", "largest", "funnel"]
    assert "torch" not in " ".join(refused)


@pytest.fixture(scope="module")
def evaluated(project):
    """The same project after three evaluations and all reports; what was printed."""
    return run(project, "-c", EVALUATE)


def read(project, name):
    return (project / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_runner_knows_the_new_strategy_and_its_budget(project, evaluated):
    paths = (project / "runs" / "mini576").glob("spread-*/record.json")
    records = {json.dumps(r["changes"]): r for r in (json.loads(path.read_text()) for path in paths)}
    assert all(record["status"] == "completed" for record in records.values())
    plain, budget = (next(r for key, r in records.items() if ("budget" in key) == b) for b in (False, True))
    assert plain["efficiency"]["image_tokens_per_layer"] == [16, 16, 8, 8]
    assert plain["tasks"]["gqa"]["retained_tokens_per_layer"] == [16, 16, 8, 8]
    # 0.625 of 4 x 16 tokens are 40: 16 + 16 + 4 + 4
    assert budget["efficiency"]["image_tokens_per_layer"] == [16, 16, 4, 4]
    assert plain["strategy"]["display_name"] == "Spread"


@pytest.mark.slow
def test_a_budget_leaves_the_settings_that_it_does_not_solve(evaluated):
    """FastV's k is chosen by the budget; Spread solves r only. 0.625 of 4 x 16 tokens: 16 + 8 + 8 + 8."""
    assert "k=1: [16, 8, 8, 8]" in evaluated


@pytest.mark.slow
def test_one_before_the_decoder_leaves_its_count_or_that_of_the_budget_in_every_layer(evaluated):
    assert "largest: [7, 7, 7, 7]" in evaluated
    assert "largest: [8, 8, 8, 8]" in evaluated  # half of 16


@pytest.mark.slow
def test_one_on_both_sides_leaves_what_the_budget_allows(project, evaluated):
    """T tokens in one layer of 4 and half of them in 3: 0.4 of 4 x 16 are 25.6, so 10 + 3 * 5."""
    (path,) = (project / "runs" / "mini576").glob("funnel-*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["efficiency"]["image_tokens_per_layer"] == [10, 5, 5, 5]
    assert record["tasks"]["gqa"]["retained_tokens_per_layer"] == [10, 5, 5, 5]
    assert record["strategy"]["stage"] == "both"
    assert "Funnel k=1 budget.share=0.4" in read(project, "tables/overview.md")


@pytest.mark.slow
def test_tables_and_overview_have_its_rows(project, evaluated):
    assert re.search(r"Spread ", evaluated)
    table5, field, overview = (read(project, f"tables/{name}.md") for name in ("table5", "field", "overview"))
    assert re.search(r"^\| +\| Spread\\\* ", table5, re.M)
    assert re.search(r"^\| +\| Spread share=0.625\\\* ", table5, re.M)
    assert re.search(r"\| Spread share=0.625\\\* ", field)
    assert re.search(r"\| Spread budget.share=0.625\\\* ", overview)


@pytest.mark.slow
def test_figure_4_has_its_curve(project, evaluated):
    text = read(project, "figures/figure4_mini576_gqa.md")
    assert re.search(r"for Spread\b.* at several budgets", text)
    assert re.search(r"\| Spread +\| share=0.625 +\| k=2, r=0.7\d +\|", text)


@pytest.mark.slow
def test_the_site_has_its_name_colour_rows_and_curve(project, evaluated):
    index = json.loads(re.search(r"\{.*\}", read(project, "page/data/index.js"), re.S)[0])
    assert index["strategies"]["spread"] == {
        "name": "Spread", "color": "#007A5A", "dark": "#2fc79b", "symbol": "triangle-up", "dash": "dashdot",
    }  # fmt: skip
    assert {run["label"] for run in index["runs"]} == {
        "vanilla", "Spread k=2 r=0.5", "Spread share=0.625", "Funnel k=1 share=0.4"
    }  # fmt: skip
    table5 = next(table for table in index["tables"] if table["number"] == 5)
    labels = [
        row["labels"][-1] for part in table5["parts"] for group in part["groups"] for row in group["rows"]
    ]
    assert "Spread" in labels
    assert "Spread share=0.625" in labels
    (curve,) = [curve for curve in index["curves"] if curve["number"] == 4]
    assert [series["name"] for series in curve["series"]] == ["vanilla", "Spread", "Funnel"]
    assert len(curve["series"][1]["points"]) == 2


def test_the_catalogue_of_the_documentation_has_it(project):
    found = run(project, "-c", CATALOGUE)
    assert "| `spread` | Spread | - | in the decoder | yes | [spread.py](x/spread.py) |" in found
    assert "| `largest` | Largest | - | before the decoder | yes | [largest.py](x/largest.py) |" in found
    both = "before the decoder and in it"
    assert f"| `funnel` | Funnel | - | {both} | yes | [funnel.py](x/funnel.py) |" in found


def test_the_new_code_is_as_clean_as_the_rest(project):
    files = [path for title in SECTIONS.values() for path in steps(title) if path.startswith("pdrop_eval/")]
    run(project, "-m", "ruff", "check", "--no-cache", *files)
    run(project, "-m", "ruff", "format", "--no-cache", "--check", *files)
