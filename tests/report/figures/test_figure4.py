"""Figure 4: which record is which point, what is drawn and written of them, and what budget runs are not."""

import csv
import io
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from omegaconf import OmegaConf
from report_records import FIELDS, LLAVA_15, NEXT_P5, TABLE_5, edit

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.rows import overrides
from pdrop_eval.records.store import Run, load_records
from pdrop_eval.report.figures import chart as chart_module
from pdrop_eval.report.figures.chart import points_of
from pdrop_eval.report.figures.cli import NothingToDrawError, main, make_figures
from pdrop_eval.report.figures.flops.chart import make_charts
from pdrop_eval.report.figures.flops.draw import draw, figure_of, footer
from pdrop_eval.report.figures.flops.text import figure_csv, figure_markdown
from pdrop_eval.report.figures.style import drawing
from pdrop_eval.report.findings.questions import find
from pdrop_eval.report.readme.blocks import marks
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.tables.fill import measured_parts
from pdrop_eval.report.tables.overview import overview
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.run.evaluate import cli, experiments
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.presets import presets

FIGURE = "figure4"
KEYS = ("docvqa", "chartqa", "textvqa", "gqa")
SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.31)


def budget(**asked):
    return {"tokens": None, "share": None, "tflops": None, **asked}


def scores(value, keys=KEYS):
    return dict.fromkeys(keys, value)


@pytest.fixture
def point(add_run):
    """Writes the record of a point: `point("pdrop", 0.5, 60.0)`; vanilla's with share None."""

    def add(strategy, share, score, keys=KEYS, **settings):
        return add_run(strategy, scores(score, keys), budget=budget(share=share), **settings)

    return add


@pytest.fixture
def chart(runs):
    """The only figure of the records that were written."""

    def make(**choice):
        (made,) = make_charts("figure4", runs(), **choice)
        return made

    return make


# A run with a budget is a run of its own


def test_a_run_with_a_budget_is_in_no_table_and_no_finding(point, runs):
    point("pdrop", 0.5, 60.0, TABLE_5)
    point("fastv", 0.5, 60.0, TABLE_5)
    assert {run.key.inferred for run in runs()} == {"PDrop share=0.5", "FastV share=0.5"}
    assert [part for table in TABLES.values() for part in measured_parts(table, runs())] == []
    assert find(runs()) == []


def test_a_row_of_a_table_is_filled_by_the_run_without_a_budget(point, add_run, runs):
    point("pdrop", 0.5, 60.0, TABLE_5)
    plain = add_run("pdrop", scores(70.0, TABLE_5), budget=budget())
    (part,) = measured_parts(TABLES[5], runs())
    assert [row.run.id for row in part.rows if row.run] == [plain.folder.name]
    assert [row.others for row in part.rows if row.run] == [[]]


def test_the_overview_names_the_budget_and_does_not_mark_it_as_a_deviation(point, add_run, runs):
    add_run("pdrop", {"gqa": 70.0})
    point("pdrop", 0.5, 60.0)
    point("pdrop", 0.9, 65.0)
    (section,) = overview(runs())
    lines = [line.cells[0].text for band in section.grids[0].bands for line in band.lines]
    assert lines == ["PDrop", "PDrop budget.share=0.5", "PDrop budget.share=0.9"]


# Which record is which point


def test_both_strategies_get_the_same_budgets_on_every_model_and_vanilla_is_there():
    listed = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / "figure4.yaml"))
    models = ("mini576", "mini576_next_p5", "llava_next_7b")
    few = {"mini576_next_p5": ["limit=60"]}  # a question of its costs as much as ten
    expected = [(model, "vanilla", few.get(model, [])) for model in models]
    points = [(m, s, share) for m in models for s in ("pdrop", "fastv") for share in SHARES]
    expected += [(m, s, [f"budget.share={share}", *few.get(m, [])]) for m, s, share in points]
    found = [(run["model"], run["strategy"], run.get("overrides", [])) for run in listed["runs"]]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert [benchmarks()[key].task for key in KEYS] == listed["tasks"]


def test_the_limit_that_the_experiment_gives_a_model_is_its_default(point, chart):
    point("pdrop", 0.5, 61.0, model="mini576_next_p5", kind=NEXT_P5, limit=60, n=60)
    made = chart()
    assert made.name == "figure4_mini576_next_p5"
    *single, whole = made.commands
    assert whole == "make experiment EXPERIMENT=figure4"
    assert {"LIMIT=60" in line for line in single} == {True}


def test_a_point_is_the_record_with_its_very_settings(point, add_run, chart):
    right = point("pdrop", 0.5, 60.0)
    point("pdrop", 0.5, 61.0, fields={"stages": 3})
    point("pdrop", 0.55, 62.0)
    point("pdrop", 0.5, 63.0, model="another")
    add_run("pdrop", scores(64.0), budget=budget(tokens=72))
    add_run("pdrop", scores(65.0))
    vanilla = point("vanilla", None, 66.0)
    made = chart()
    assert [run.id for run in made.runs] == [vanilla.folder.name, right.folder.name]
    assert made.vanilla.run.id == vanilla.folder.name
    assert len(made.points) == 15
    assert len(made.missing) == 13


def test_a_preset_in_an_experiment_is_the_point_that_its_records_name(add_run, runs, monkeypatch):
    """Records carry the registered name, pdrop, and what the preset sets otherwise than `pdrop.yaml`."""
    files = {**presets("strategy"), "aggressive": {**presets("strategy")["pdrop"], "ratio": 0.3}}
    for module in (chart_module, overrides):
        monkeypatch.setattr(module, "presets", lambda group, *_: files if group == "strategy" else {})
    listed = {"model": "mini576", "strategy": "aggressive"}
    half = {**listed, "overrides": ["budget.share=0.5", "strategy.stages=3"]}
    usual = {**listed, "overrides": ["strategy.ratio=0.5"]}
    made = add_run("pdrop", scores(60.0), fields={"ratio": 0.3})
    (run,) = runs()
    points = points_of([listed, half, usual])
    assert [(point.strategy, point.settings) for point in points] == [
        ("pdrop", ("strategy.ratio=0.3",)),
        ("pdrop", ("budget.share=0.5", "strategy.ratio=0.3", "strategy.stages=3")),
        ("pdrop", ()),
    ]
    assert points[0].spot == (run.model, run.strategy, tuple(run.schedule))
    assert run.id == made.folder.name


def test_vanilla_alone_is_no_figure(point, runs):
    point("vanilla", None, 66.0)
    assert make_charts("figure4", runs()) == []


def test_the_most_points_of_one_kind_make_the_figure_and_other_runs_are_named(point, chart, runs):
    full = point("pdrop", 0.5, 60.0)
    for share in SHARES[:3]:
        point("pdrop", share, 61.0, limit=32, n=32)
    made = chart()
    assert {run.limit for run in made.runs} == {32}
    assert len(made.runs) == 3
    assert made.name == "figure4_mini576_limit32"  # it doesn't replace the whole one
    assert made.refused == [
        f"{full.folder.name} (all questions), measured otherwise than the points (limit=32)"
    ]
    whole = next(run for run in runs() if not run.limit)
    made = chart(like={"mini576": whole})
    assert [run.id for run in made.runs] == [full.folder.name]
    assert made.name == "figure4_mini576"


def test_of_as_many_points_those_of_all_questions_make_the_figure(point, chart):
    full = point("pdrop", 0.5, 60.0)
    point("pdrop", 0.5, 61.0, limit=32, n=32)
    assert [run.id for run in chart().runs] == [full.folder.name]


def test_points_have_the_same_settings_and_most_of_them_are_shown(point, chart):
    point("pdrop", 0.5, 60.0)
    for share in SHARES[:2]:
        point("pdrop", share, 61.0, seed=7)
    made = chart()
    assert made.settings == ["seed=7"]
    assert len(made.runs) == 2


def test_other_benchmarks_are_another_figure(point, chart):
    point("pdrop", 0.5, 60.0, ("pope", "gqa"))
    assert chart(tasks=["pope", "gqa"]).name == "figure4_mini576_pope_gqa"
    assert [key for _, keys in chart().missing for key in keys].count("gqa") == 14


def test_a_benchmark_that_nothing_answered_has_no_panel(point, chart):
    point("vanilla", None, 66.0, limit=4, n=4)
    point("pdrop", 0.5, 60.0, ("docvqa", "gqa"), limit=4, n=4)
    point("fastv", 0.5, 60.0, ("gqa",), limit=4, n=4)
    made = chart()
    assert made.benchmarks == ["docvqa", "gqa"]
    assert made.name == "figure4_mini576_limit4_docvqa_gqa"  # as a run with these tasks is named
    assert [(point.strategy, point.label, keys) for point, keys in made.missing if point.run] == [
        ("fastv", "share=0.5", ["docvqa"])
    ]
    assert chart(tasks=["gqa", "chartqa"]).benchmarks == ["gqa", "chartqa"]  # asked for


def test_runs_of_other_strategies_make_a_figure_only_at_a_budget(point, add_run, runs):
    other = {"_target_": "pdrop_eval.strategies.random.Random"}
    add_run("vanilla", scores(66.0))
    for ratio in (0.3, 0.4):
        add_run("random", scores(50.0), fields={**other, "ratio": ratio})
    assert make_charts("figure4", runs()) == []
    point("pdrop", 0.5, 60.0, limit=8, n=8)  # fewer points than of all questions, which draw nothing
    (made,) = make_charts("figure4", runs())
    assert {point.strategy for point in made.measured} == {"pdrop"}
    point("random", 0.5, 50.0, fields=other)
    (made,) = make_charts("figure4", runs())
    assert {point.strategy for point in made.measured} == {"vanilla", "random"}


def test_a_model_that_was_trained_otherwise_than_it_says_is_left_out_with_the_reason(point, chart):
    right = point("pdrop", 0.5, 60.0)
    training = {"strategy": {"name": "pdrop", "ratio": 0.5}, "phases": []}
    wrong = point("pdrop", 0.9, 99.0, training=training)
    made = chart()
    assert [run.id for run in made.runs] == [right.folder.name]
    assert made.refused[0].startswith(f"{wrong.folder.name}: ")
    assert wrong.folder.name in figure_markdown(made)


# What is written


def test_the_csv_has_every_number_of_every_point(point, chart):
    point("vanilla", None, 66.0)
    point("pdrop", 0.5, 60.0)
    lines = list(csv.DictReader(io.StringIO(figure_csv(chart()))))
    assert len(lines) == 4 * 15
    assert [line["benchmark"] for line in lines[::15]] == list(KEYS)
    found = {(line["strategy"], line["settings"]): line for line in lines if line["benchmark"] == "gqa"}
    line = found["pdrop", "budget.share=0.5"]
    # 144, 144, 72, 72, 36, 36, 18, 18 of 144 image tokens; 0.187 of vanilla's 0.412 GFLOPs; 1.96 * 2
    assert float(line["image_tokens_share"]) == pytest.approx(540 / 8 / 144)
    assert float(line["tflops_mean"]) == 0.000187
    assert float(line["share_of_vanilla_flops"]) == pytest.approx(0.187 / 0.412)
    assert (float(line["low"]), float(line["high"])) == pytest.approx((56.08, 63.92))
    assert (line["score"], line["n"], line["state"]) == ("60", "200", "measured")
    assert found["fastv", "budget.share=0.5"]["state"] == "missing"


def test_the_page_says_what_is_missing_and_how_it_is_measured(point, chart):
    point("vanilla", None, 66.0)
    for share in SHARES:
        point("pdrop", share, 60.0)
    for share in SHARES[1:]:
        point("fastv", share, 55.0)
    point("fastv", 0.9, 58.0, KEYS[:3])
    made = chart()
    text = figure_markdown(made)
    assert "Not measured yet: FastV share=0.9." in text
    assert (
        "make eval STRATEGY=fastv MODEL=mini576 SUITE=mini ARGS='budget.share=0.9 tasks=[gqa]'\n"
        "  make experiment EXPERIMENT=figure4\n" in text
    )
    assert "![LLaVA-1.5 mini576: scores of DocVQA, ChartQA, TextVQA, GQA against GFLOPs" in text
    cells = ["PDrop", "share=0.5", "λ=0.5, S=4", "47%", "0.187", "45%", "60.0", "56.1 to 63.9", "200"]
    assert cells in [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert footer(made).startswith("200 rendered questions a benchmark (suite mini). Bars and band: 95%")
    assert "1 of 15 runs are not complete." in footer(made)
    assert f"Model mini576 ({'ab' * 6}); pdrop-eval 0.1.0 at {'c' * 10}." in footer(made)


def test_points_without_an_interval_and_without_questions_in_common_are_told(point, chart):
    run = point("pdrop", 0.5, 60.0)
    edit(run, lambda record: record["tasks"]["gqa"].update(stderr=0.0))
    point("fastv", 0.5, 55.0, n=100)
    text = figure_markdown(chart())
    assert "No interval where all questions" in text
    assert "Not all points answered the same number of questions" in text


SAID = {"target": "a", "answer": "a"}


@pytest.fixture
def answered(tmp_path):
    """Writes a point with its samples, of one benchmark: 1 for right answers, 0 for wrong ones."""

    def add(strategy, share, earned, tflops):
        samples = [
            {"doc_id": i, "score": float(mark), "cluster": i, "content_sha256": str(i), **SAID}
            for i, mark in enumerate(earned)
        ]
        config = {"strategy": FIELDS[strategy], "seed": 1, "limit": None, "budget": budget(share=share)}
        header = {
            "config": config,
            "limit": None,
            "model": {"name": "mini576", "sha256": "m", **LLAVA_15},
            "strategy": {"name": strategy, "fields": {}},
            "suite": {"name": "mini", "source": "rendered"},
            "efficiency": {"image_tokens_per_layer": [100, 50]},
        }
        entry = {"benchmark": "gqa", "metric": "m", "score": 100 * sum(earned) / len(earned), "stderr": 1.0}
        entry |= {"n": len(samples), "tflops_mean": tflops, "data_sha256": "d"}
        with Run.open(tmp_path / "runs", "mini576", strategy, {"config": config}, header) as run:
            run.add_task("gqa", entry, samples)
            run.complete()

    return add


def test_what_it_shows_is_paired_by_question(answered, chart):
    answered("vanilla", None, [1] * 40, 0.4)
    answered("pdrop", 0.5, [1] * 40, 0.2)
    answered("fastv", 0.5, [1] * 10 + [0] * 30, 0.1)  # loses 75 points: far beyond any interval
    answered("pdrop", 0.9, [1] * 39 + [0], 0.3)
    answered("fastv", 0.9, [0] + [1] * 39, 0.3)  # as many right, other questions
    text = figure_markdown(chart(tasks=["gqa"])).replace("\\", "")
    assert (
        "At equal budgets of image tokens, PDrop scores higher than FastV in GQA, beyond the 95% interval, "
        "at 1 of 2 budgets, and lower at 0; at the others the interval contains zero." in text
    )
    # both budgets leave 150 of 200 tokens by the recorded schedule: the first of them is told
    assert "With 75% of the image tokens, the difference from vanilla in points is: PDrop -2.5 [" in text
    assert "at 75% of vanilla's FLOPs; FastV -2.5 [" in text
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "share=" in line
    ]
    rows = {line[0]: line[1:] for line in lines if len(line) == 4}
    assert rows["share=0.5"][0] == "+0.0 [-8.8, +8.8]"  # nothing changed: 1 - 0.025^(1 / 40)
    assert rows["share=0.5"][1].startswith("-75.0 [-")
    assert rows["share=0.5"][2].startswith("+75.0 [+")
    assert rows["share=0.9"][2].startswith("+0.0 [-")


# The picture


@pytest.mark.slow
def test_the_picture_is_the_same_for_the_same_records_and_shows_every_panel(point, chart):
    point("vanilla", None, 66.0)
    for strategy, shift in (("pdrop", 0.0), ("fastv", -4.0)):
        for share in SHARES:
            point(strategy, share, 40 + 20 * share + shift)
    made = chart()
    first, second = draw(made), draw(made)
    assert first == second
    root = ElementTree.fromstring(first["svg"])
    assert root.tag.endswith("svg")
    assert len([node for node in root.iter() if node.get("id", "").startswith("axes_")]) == 4
    assert b"<dc:date>" not in first["svg"]
    assert b"image/png" not in first["svg"]  # lines, not pixels
    assert first["png"][:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(first["png"][16:20], "big") == 1375  # 6.875 inches: both columns of a paper
    assert first["pdf"][:5] == b"%PDF-"
    assert b"CreationDate" not in first["pdf"]


def test_the_drawn_points_are_the_numbers_of_the_records(point, chart):
    run = point("vanilla", None, 66.0)
    edit(run, lambda record: record["tasks"]["gqa"].update(tflops_mean=0.0005))
    for share, score in ((0.5, 60.0), (0.9, 63.5)):
        run = point("pdrop", share, score)
        edit(run, lambda record, at=share: record["tasks"]["gqa"].update(tflops_mean=0.0004 * at))
    with drawing():
        axes = figure_of(chart()).axes[KEYS.index("gqa")]
    curves = {container.get_label(): container for container in axes.containers}
    (line, _, (bars,)) = next(iter(curves.values()))
    assert list(line.get_xdata()) == pytest.approx([0.2, 0.36])  # GFLOPs
    assert list(line.get_ydata()) == [60.0, 63.5]
    ends = [[end for _, end in segment] for segment in bars.get_segments()]
    assert ends == [pytest.approx([56.08, 63.92]), pytest.approx([59.58, 67.42])]  # 1.96 * 2 on both sides
    star = next(line for line in axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([0.5], [66.0])


def test_an_odd_number_of_panels_and_points_without_intervals_are_drawn(point, chart):
    run = point("pdrop", 0.5, 60.0, ("gqa",))
    edit(run, lambda record: record["tasks"]["gqa"].update(stderr=None))
    assert set(draw(chart(tasks=["gqa", "pope", "chartqa"]))) == {"svg", "pdf", "png"}


# The command, the experiment and the README


def test_the_command_writes_five_files_a_figure_and_names_what_is_missing(point, tmp_path):
    point("pdrop", 0.5, 60.0)
    said = make_figures(tmp_path / "runs", tmp_path / "out", tasks=["gqa"])
    kinds = ("csv", "md", "pdf", "png", "svg")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"figure4_mini576_gqa.{kind}" for kind in kinds
    ]
    assert "14 of 15 points are not complete." in said
    assert "make experiment EXPERIMENT=figure4" in said


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("rot=x", "Unknown setting: 'rot'. Allowed: figure, root, out, models, tasks. Did you mean root?"),
        ("root=nowhere", "No point of a figure is measured in nowhere. Run first: make experiment"),
        (
            "models=mini2",
            "Unknown model of a figure: 'mini2'. Allowed: mini576, llava_1_5_7b, mini576_pdrop_05, ",
        ),
        ("figure=2", "Unknown figure: '2'. Allowed: 1, 3, 4."),
        ("tasks=[gqb]", "Unknown task: 'gqb'."),
    ],
)
def test_wrong_arguments_end_with_one_line_and_status_2(tmp_path, argument, words, leave):
    status, said = leave(main, argument)
    assert status == 2
    assert words in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def experiment(point, tmp_path, monkeypatch):
    """Runs `experiment=figure4` with a stand-in for the evaluation that writes a record; gives the status."""
    asked = []

    def measure(config, advise, models):
        strategy = config.strategy.name
        share = config.budget.share
        asked.append((config.model.name, strategy, share))
        kind = {**LLAVA_15, "size": config.model.size}
        run = point(strategy, share, 60.0, limit=config.limit, model=config.model.name, kind=kind)
        return next(r for r in load_records(tmp_path / "runs") if r["run_id"] == run.folder.name)

    monkeypatch.setattr(cli, "evaluate", measure)
    monkeypatch.setattr(experiments, "resolve_checkpoint", lambda _: None)

    def run(*arguments):
        given = ["pdrop-eval", "experiment=figure4", f"results={tmp_path}/runs", *arguments]
        monkeypatch.setattr(sys, "argv", given)
        try:
            cli.main()
        except SystemExit as leaving:
            return leaving.code
        return 0

    run.asked = asked
    return run


@pytest.mark.slow
def test_the_experiment_runs_every_point_and_draws_into_the_folder_of_reports(experiment, tmp_path, capsys):
    assert experiment("model=mini576", "tasks=[gqa]", "limit=4") == 0
    expected = [("mini576", "vanilla", None)]
    expected += [("mini576", strategy, share) for strategy in ("pdrop", "fastv") for share in SHARES]
    assert experiment.asked == expected
    out = capsys.readouterr()
    assert "15 of 15 runs are done." in out.out
    assert "[2/15] model=mini576 strategy=pdrop budget.share=0.9" in " ".join(out.err.split())
    assert (tmp_path / "report" / "figures" / "figure4_mini576_limit4_gqa.svg").is_file()
    assert "not complete" not in out.out


def test_a_part_of_the_experiment_that_has_nothing_to_draw_is_no_failure(experiment, tmp_path, capsys):
    assert experiment("model=mini576", "strategy=vanilla") == 0
    assert "No point of a figure is measured" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()


def test_a_budget_of_an_experiment_is_its_runs_own(experiment, capsys):
    assert experiment("budget.share=0.5") == 2
    assert "budget.share can't be set in an experiment" in capsys.readouterr().err


def test_the_readme_shows_the_figure_and_what_it_says_where_it_has_a_place_for_it(point, tmp_path):
    point("pdrop", 0.5, 60.0)
    places = "".join("{}\n{}\n".format(*marks(name)) for name in ("table5", "tables1-4", FIGURE))
    (tmp_path / "README.md").write_text(places)
    out = tmp_path / "results" / "tables"
    make_tables(tmp_path / "runs", out, readme=tmp_path / "README.md")
    start, end = marks(FIGURE)
    block = (tmp_path / "README.md").read_text().partition(start)[2].partition(end)[0]
    assert "](results/figures/figure4_mini576.svg)" in block
    assert "[All numbers](results/figures/figure4_mini576.md)" in block
    assert (tmp_path / "results" / "figures" / "figure4_mini576.svg").is_file()


def test_a_readme_of_a_figure_that_is_not_measured_says_so(add_run, tmp_path):
    add_run("pdrop", {"gqa": 60.0})
    (tmp_path / "README.md").write_text(
        "".join("{}\n{}\n".format(*marks(name)) for name in ("table5", "tables1-4", FIGURE))
    )
    make_tables(tmp_path / "runs", tmp_path / "results" / "tables", readme=tmp_path / "README.md")
    start, end = marks(FIGURE)
    assert f"{start}\nNothing measured yet.\n{end}" in (tmp_path / "README.md").read_text()
    with pytest.raises(NothingToDrawError):
        make_figures(tmp_path / "runs", tmp_path / "out")


def test_importing_the_command_loads_no_matplotlib():
    code = (
        "import sys, pdrop_eval.report.figures.cli, pdrop_eval.run.evaluate.cli\n"
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_the_page_of_results_shows_figures_that_are_drawn(point, tmp_path):
    point("pdrop", 0.5, 60.0)
    page, tables = tmp_path / "results" / "README.md", tmp_path / "results" / "tables"
    make_tables(tmp_path / "runs", tables, page=page)
    assert "figure4" not in page.read_text()
    make_figures(tmp_path / "runs", tmp_path / "results" / "figures")
    make_tables(tmp_path / "runs", tables, page=page)
    text = page.read_text()
    assert "## Accuracy against FLOPs" in text
    assert "](figures/figure4_mini576.svg)" in text
    assert (tmp_path / "results" / "figures" / "figure4_mini576.md").is_file()
