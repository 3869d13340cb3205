"""Figures 1 and 3: which record is which point, what is said and written of them, and by which commands."""

import csv
import io
import sys

import pytest
from omegaconf import OmegaConf
from report_records import FIELDS, LLAVA_15, edit

from pdrop_eval.records.store import Run, load_records
from pdrop_eval.report.figures import chart as figure_chart
from pdrop_eval.report.figures.cli import make_figures
from pdrop_eval.report.figures.layers import chart as figure_layers
from pdrop_eval.report.figures.layers.chart import make_charts, once, retained
from pdrop_eval.report.figures.layers.draw import figure_of, footer
from pdrop_eval.report.figures.layers.gains import shows
from pdrop_eval.report.figures.layers.text import figure_csv, figure_markdown
from pdrop_eval.report.figures.registry import all_charts, kind_of
from pdrop_eval.report.figures.style import drawing
from pdrop_eval.report.readme.blocks import marks
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.run.evaluate import cli, experiments
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF

LAYERS, DEEP = (1, 4, 8, 12), (2, 8, 16, 24)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
TRAINED = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.5}
OURS, VICUNA = "mini576_pdrop_05", "llava_1_5_7b"


def settings(layer, ratio):
    return {"ratio": None, "stages": None, "layers": [layer], "ratios": [ratio]}


def tokens(layer, ratio):
    return [144] * layer + [int(144 * ratio)] * (16 - layer)


@pytest.fixture
def drop(add_run):
    """Writes the record of a point: `drop(8, 0.5, 60.0)`, vanilla's with layer None, `model` for others."""

    def add(layer, ratio, score, keys=("textvqa",), model="mini576", **given):
        kind = {**(TRAINED if "pdrop" in model else LLAVA_15), "size": given.pop("size", "mini576")}
        own = {} if layer is None else {"fields": {**settings(layer, ratio), **given.pop("fields", {})}}
        own["efficiency"] = {"image_tokens_per_layer": tokens(layer or 16, ratio or 1)}
        name = "vanilla" if layer is None else "pdrop"
        return add_run(name, dict.fromkeys(keys, score), model=model, kind=kind, **own, **given)

    return add


@pytest.fixture
def chart(runs):
    """The only chart of a figure of the records that were written."""

    def make(number=1, **choice):
        (made,) = make_charts(f"figure{number}", runs(), **choice)
        return made

    return make


SAID = {"target": "a", "answer": "a"}


@pytest.fixture
def answered(tmp_path):
    """Writes a point with its answers: 1 for right ones, 0 for wrong ones."""

    def add(layer, ratio, earned, model="mini576"):
        samples = [
            {"doc_id": i, "score": float(mark), "cluster": i, "content_sha256": str(i), **SAID}
            for i, mark in enumerate(earned)
        ]
        strategy = "vanilla" if layer is None else "pdrop"
        own = {} if layer is None else settings(layer, ratio)
        config = {"strategy": {**FIELDS[strategy], **own}, "seed": 1, "limit": None}
        header = {
            "config": config,
            "limit": None,
            "model": {"name": model, "sha256": "m", **(TRAINED if model == OURS else LLAVA_15)},
            "strategy": {"name": strategy, "fields": {}},
            "suite": {"name": "mini", "source": "rendered"},
            "efficiency": {"image_tokens_per_layer": tokens(layer or 16, ratio or 1)},
        }
        entry = {"benchmark": "textvqa", "metric": "m", "score": 100 * sum(earned) / len(earned)}
        entry |= {"stderr": 1.0, "n": len(samples), "tflops_mean": 0.1, "data_sha256": "d"}
        with Run.open(tmp_path / "runs", model, strategy, {"config": config, "m": model}, header) as run:
            run.add_task("textvqa_val", entry, samples)
            run.complete()

    return add


# Which record is which point


@pytest.mark.parametrize(
    ("number", "models"),
    [(1, {"mini576": LAYERS, VICUNA: DEEP}), (3, {"mini576": LAYERS, OURS: LAYERS, VICUNA: DEEP,
                                               f"{VICUNA}_pdrop_05": DEEP})],
)  # fmt: skip
def test_every_model_has_vanilla_and_each_layer_at_each_share(number, models):
    listed = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"figure{number}.yaml"))
    assert (listed["figure"], listed["tasks"]) == (number, ["textvqa_val"])
    points = figure_chart.points_of(listed["runs"])
    assert len(points) == len(set(points)) == len(models) * (1 + 4 * 7)
    found = {(p.model, *(once(p) if p.strategy != "vanilla" else (None, 1.0))) for p in points}
    expected = {(m, layer, r) for m, layers in models.items() for layer in layers for r in RATIOS}
    assert found == expected | {(model, None, 1.0) for model in models}
    assert {point.strategy for point in points} == {"vanilla", "pdrop"}


def test_the_layers_are_at_the_same_depths():
    assert [16 * layer / 32 for layer in DEEP] == list(LAYERS)


def test_a_point_is_the_record_that_drops_once_at_its_layer_and_share(drop, add_run, chart):
    right = drop(8, 0.5, 60.0)
    drop(8, 0.55, 61.0)
    drop(3, 0.5, 62.0)
    drop(8, 0.5, 63.0, model="another")
    drop(8, 0.5, 64.0, fields={"rank_with": "last_layer"})
    drop(8, 0.5, 65.0, fields={"layers": [4, 8], "ratios": [0.7, 0.5]})
    drop(8, 0.5, 66.0, budget={"tokens": None, "share": 0.5, "tflops": None})
    add_run("pdrop", {"textvqa": 67.0})
    add_run("fastv", {"textvqa": 68.0})
    drop(4, 0.5, 69.0, keys=("gqa",))
    vanilla = drop(None, None, 70.0)
    made = chart()
    assert [run.id for run in made.runs] == [vanilla.folder.name, right.folder.name]
    assert [retained(point) for point in made.curve("mini576", 8)] == [0.5, 1.0]
    assert [point.run.id for point in made.curve("mini576", 8)] == [right.folder.name, vanilla.folder.name]
    assert made.curve("mini576", 4) == []
    assert (made.name, made.layers, made.depth) == ("figure1_mini576", list(LAYERS), 16)
    assert len(made.points) - len(made.missing) == 2


def test_vanilla_alone_is_no_figure(drop, runs):
    drop(None, None, 70.0)
    drop(None, None, 70.0, model=OURS)
    assert all_charts(runs()) == []


def test_figure_3_has_both_models_in_one_chart_and_figure_1_has_one(drop, runs):
    for model in ("mini576", OURS):
        drop(None, None, 70.0, model=model)
        drop(8, 0.5, 60.0, model=model)
    first, third = all_charts(runs())
    assert (first.name, first.models) == ("figure1_mini576", ["mini576"])
    assert (third.name, third.models) == ("figure3_mini576", ["mini576", OURS])
    assert [len(first.measured), len(third.measured)] == [2, 4]
    ours = next(p for p in third.measured if p.model == OURS and p.strategy == "pdrop")
    assert third.rival(ours).model == "mini576"
    assert third.rival(ours).settings == ours.settings


def test_a_model_of_figure_3_that_has_no_runs_is_missing_and_not_another_chart(drop, chart):
    drop(8, 0.5, 60.0, model=OURS)
    made = chart(3)
    assert made.models == ["mini576", OURS]
    assert {point.model for point, _ in made.missing} == {"mini576", OURS}
    assert len(made.missing) == 57
    assert figure_markdown(made)
    assert chart(3, models=[OURS]).name == "figure3_mini576"


def test_both_models_of_a_chart_were_measured_with_the_same_settings(drop, chart, runs):
    drop(8, 0.5, 60.0)
    drop(4, 0.5, 50.0)
    drop(8, 0.5, 61.0, model=OURS, limit=32, n=32)
    drop(8, 0.5, 62.0, limit=32, n=32)
    made = chart(3)
    assert {run.limit for run in made.runs} == {None}
    assert {run.model for run in made.runs} == {"mini576"}
    limited = next(run for run in runs() if run.limit and run.model == OURS)
    made = chart(3, like={OURS: limited})
    assert {(run.model, run.limit) for run in made.runs} == {("mini576", 32), (OURS, 32)}
    assert made.name == "figure3_mini576_limit32"


def test_a_run_that_does_more_than_drop_once_is_no_point_of_these_figures(drop, runs, monkeypatch):
    listed = {"figure": 1, "tasks": ["gqa"], "runs": [{"model": "mini576", "strategy": "pdrop"}]}
    monkeypatch.setattr(figure_layers, "figure_experiments", lambda: {"mine": listed})
    with pytest.raises(UserError, match=r"Each is vanilla or drops once: strategy.layers="):
        make_charts("mine", [])


def test_an_experiment_with_a_figure_that_cannot_be_drawn_says_which_can(monkeypatch):
    monkeypatch.setattr(
        "pdrop_eval.report.figures.registry.figure_experiments", lambda: {"mine": {"figure": 2}}
    )
    with pytest.raises(UserError, match=r"The experiment mine has figure: 2, .* Allowed: 1, 3, 4;"):
        kind_of("mine")


# What is missing


def test_missing_points_are_named_with_their_commands(drop, chart):
    drop(None, None, 70.0)
    for layer in LAYERS:
        for ratio in RATIOS[layer == 8 :]:
            drop(layer, ratio, 60.0)
    made = chart()
    text = figure_markdown(made)
    assert "- Not measured yet: layer 8, 10%.\n" in text
    one, whole = made.commands
    assert "make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini ARGS='strategy.layers=[8]" in one
    assert "strategy.ratio=null strategy.ratios=[0.1] strategy.stages=null tasks=[textvqa_val]'" in one
    assert whole == "make experiment EXPERIMENT=figure1"
    assert one in text
    assert "1 of 29 runs are not complete." in footer(made)


def test_a_model_that_everyone_has_elsewhere_is_asked_for_by_its_folder(drop, chart):
    drop(8, 0.5, 60.0, model=VICUNA, size="7b", suite="paper", source="hub")
    made = chart(3)
    assert (made.name, made.suite) == ("figure3_llava_1_5_7b", "paper")
    ours = [text for text in made.commands if f"MODEL={VICUNA}_pdrop_05" in text]
    assert len(ours) == 29
    assert all("model.pretrained=<folder>" in text for text in ours)
    assert not any("<folder>" in text for text in made.commands if text not in ours)
    assert made.commands[-1] == "make experiment EXPERIMENT=figure3 SIZE=7b"
    assert "<folder\\> stands for where the model's checkpoint is." in figure_markdown(made)


def test_a_checkpoint_that_was_elsewhere_is_kept_in_the_commands_of_its_model_alone(drop, chart):
    default = {"name": OURS, "pretrained": f"embedded:{OURS}"}
    drop(8, 0.5, 60.0)
    run = drop(8, 0.5, 61.0, model=OURS)
    edit(run, lambda r: r["config"].update(model={**default, "pretrained": "/here"}))
    made = chart(3)
    assert made.places == {OURS: ["model.pretrained=/here"]}
    assert len(made.runs) == 2
    assert all(("model.pretrained=/here" in text) == (f"MODEL={OURS}" in text) for text in made.commands)
    assert not any("EXPERIMENT" in text for text in made.commands)
    assert "model.pretrained=/here" in footer(made)
    assert made.changes == ["model.pretrained=/here"]


# What is written


def test_the_csv_has_every_number_of_every_point(drop, chart):
    drop(None, None, 66.0)
    run = drop(8, 0.3, 60.0)
    edit(run, lambda record: record["tasks"]["textvqa_val"].update(tflops_mean=0.000309))
    lines = list(csv.DictReader(io.StringIO(figure_csv(chart()))))
    assert len(lines) == 29
    found = {(line["layer"], line["ratio"]): line for line in lines}
    line = found["8", "0.3"]
    # 43 is 0.3 * 144 rounded down; 8 layers of 144 and 8 of 43; 0.309 of 0.412 GFLOPs; 1.96 * 2
    assert (line["image_tokens"], line["image_tokens_retained"]) == ("144", "43")
    assert float(line["image_tokens_share"]) == pytest.approx((8 * 144 + 8 * 43) / (16 * 144))
    assert float(line["share_of_vanilla_flops"]) == pytest.approx(0.75)
    assert (float(line["low"]), float(line["high"])) == pytest.approx((56.08, 63.92))
    assert (line["score"], line["n"], line["state"], line["model"]) == ("60", "200", "measured", "mini576")
    assert (found["", "1"]["score"], found["", "1"]["image_tokens_retained"]) == ("66", "144")
    assert found["12", "0.3"]["state"] == "missing"
    assert "other_model" not in line


def test_the_page_has_a_line_a_point(drop, chart):
    drop(None, None, 66.0)
    run = drop(8, 0.3, 60.0)
    edit(run, lambda record: record["tasks"]["textvqa_val"].update(tflops_mean=0.000309))
    made = chart()
    text = figure_markdown(made)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["8", "30%", "43 of 144", "75%", "60.0", "56.1 to 63.9", "-", "200"] in lines
    assert ["vanilla", "100%", "144 of 144", "100%", "66.0", "62.1 to 69.9", "-", "200"] in lines
    assert "](figure1_mini576.svg)" in text
    assert "the last instruction token pays the most attention" in text
    assert footer(made).startswith("200 rendered questions (suite mini). Bars and band: 95% intervals")
    assert f"Model mini576 ({'ab' * 6}); pdrop-eval 0.1.0 at {'c' * 10}." in footer(made)


def test_figure_1_says_what_each_layer_loses_and_from_where_on_nothing(answered, chart):
    answered(None, None, [1] * 40)
    answered(1, 0.1, [0] * 40)  # loses everything
    answered(1, 0.5, [1] * 40)
    answered(4, 0.5, [1] * 10 + [0] * 30)
    answered(8, 0.1, [1] * 40)
    answered(8, 0.3, [0] * 30 + [1] * 10)  # a loss at more tokens: not harmless from 10% on
    answered(8, 0.9, [1] * 39 + [0])  # one question: the interval reaches to zero
    text = figure_markdown(chart())
    told = shows(chart())
    assert "difference from vanilla in TextVQA is: -100.0 " in told
    assert told.count(" with 10%") == 2
    assert "-75.0 [-" in told
    assert "+0.0 [-8.8, +8.8] at layer 8 with 10%" in told
    assert "layer 1: from 50% on; layer 4: at no share tried; layer 8: from 90% on." in told
    assert told in text.replace("\\", "")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (line,) = [line for line in lines if line[:1] == ["30%"]]
    assert line[1:3] == ["-", "-"]
    assert line[3].startswith("-75.0 [-")


def test_figure_3_says_where_the_trained_model_is_higher_beyond_the_paired_interval(answered, chart):
    right, wrong = [1] * 40, [0] * 40
    answered(None, None, right)
    answered(None, None, [0] + [1] * 39, OURS)
    for layer, ratio, other, ours in (
        (1, 0.1, wrong, right), (1, 0.5, wrong, [1] * 20 + [0] * 20), (8, 0.1, right, wrong),
        (12, 0.1, [1] * 39 + [0], [0] + [1] * 39), (12, 0.3, right, right),
    ):  # fmt: skip
        answered(layer, ratio, other)
        answered(layer, ratio, ours, OURS)
    answered(4, 0.5, right, OURS)  # nothing to pair it with
    made = chart(3)
    told = shows(made)
    assert told.startswith("Trained with PDrop λ=0.5, the model scores higher than trained without dropping")
    assert "at 2 of 5 drops (layer 1: 10%, 50%), and lower at 1 (layer 8: 10%)" in told
    assert "; at the other 2 the interval contains zero (layer 12: 10%, 30%)." in told
    assert "With all tokens, the difference is -2.5 [-" in told
    text = figure_markdown(made).replace("\\", "")
    assert told in text
    # with an interval: two at layer 1, of which the first is +100 throughout, layer 8, one of 12, all tokens
    assert "of 5, about 0.25 would exclude zero by chance" in text
    lines = list(csv.DictReader(io.StringIO(figure_csv(made))))
    (line,) = [n for n in lines if (n["model"], n["layer"], n["ratio"]) == (OURS, "1", "0.5")]
    assert (line["other_model"], line["minus_other"], line["minus_all_tokens"]) == ("mini576", "50", "-47.5")
    assert 34 < float(line["minus_other_low"]) < 36  # 50 -+ 1.96 * 7.9
    assert (line["train"], line["train_ratio"]) == ("pdrop", "0.5")


def test_a_training_that_is_never_higher_is_said_to_be(answered, chart):
    for model, earned in (("mini576", [1] * 40), (OURS, [0] * 40)):
        answered(None, None, earned, model)
        answered(8, 0.5, earned, model)
    assert "at 0 of 1 drops, and lower at 1 (layer 8: 50%)." in shows(chart(3))


# What is drawn


def markers(axes):
    """Of each curve with marks: colour, shares and scores."""
    lines = [line for line in axes.lines if line.get_marker() in "os^D" and len(line.get_xdata())]
    return {line.get_color(): (list(line.get_xdata()), list(line.get_ydata())) for line in lines}


def test_the_drawn_points_are_the_numbers_of_the_records(drop, chart):
    drop(None, None, 66.0)
    wanted = {(layer, ratio): 5.0 * layer + 30 * ratio for layer in LAYERS for ratio in (0.9, 0.1, 0.5)}
    for (layer, ratio), score in wanted.items():
        drop(layer, ratio, score)
    with drawing():
        (axes,) = figure_of(chart()).axes
    curves = list(markers(axes).values())
    assert [xs for xs, _ in curves] == [[10.0, 50.0, 90.0]] * 4
    assert [ys for _, ys in curves] == [[wanted[layer, at] for at in (0.1, 0.5, 0.9)] for layer in LAYERS]
    star = next(line for line in axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([100.0], [66.0])
    bars = [segment for container in axes.containers for segment in container[2][0].get_segments()]
    assert [[y for _, y in bars[0]]] == [pytest.approx([8.0 - 3.92, 8.0 + 3.92])]  # layer 1: 5 + 3


def test_figure_3_draws_a_panel_a_layer_and_a_curve_a_model(drop, chart):
    for model, shift in (("mini576", 0.0), (OURS, 10.0)):
        drop(None, None, 66.0 + shift, model=model)
        for layer in LAYERS:
            for ratio in (0.1, 0.9):
                drop(layer, ratio, 5 * layer + 10 * ratio + shift, model=model)
    with drawing():
        figure = figure_of(chart(3))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"Layer {n}" for n in LAYERS]
    for layer, axes in zip(LAYERS, figure.axes, strict=True):
        other, ours = markers(axes).values()
        assert other == ([10.0, 90.0], [5 * layer + 1, 5 * layer + 9])
        assert ours == ([10.0, 90.0, 100.0], [5 * layer + 11, 5 * layer + 19, 76.0])
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained without dropping", "trained with PDrop λ=0.5",
                      "all tokens, trained without dropping"]  # fmt: skip


def test_what_is_missing_is_not_drawn(drop, chart):
    drop(8, 0.5, 60.0)
    run = drop(8, 0.3, 50.0)
    edit(run, lambda record: record["tasks"]["textvqa_val"].update(stderr=None))
    with drawing():
        (axes,) = figure_of(chart()).axes
    assert list(markers(axes).values()) == [([30.0, 50.0], [50.0, 60.0])]
    assert not any(line.get_marker() == "*" for line in axes.lines)


# The commands


@pytest.mark.slow
def test_one_command_draws_all_figures_and_the_numbers_chosen(drop, add_run, tmp_path):
    for model in ("mini576", OURS):
        drop(None, None, 70.0, ("textvqa", "gqa"), model)
        drop(8, 0.5, 60.0, ("textvqa", "gqa"), model)
    add_run("fastv", {"gqa": 50.0}, budget={"tokens": None, "share": 0.5, "tflops": None})
    (tmp_path / "runs" / "mini576" / "notes").mkdir()  # not a run's
    said = make_figures(tmp_path / "runs", tmp_path / "out")
    # Figure 4 has GQA alone: nothing at a budget answered the others.
    names = ("figure1_mini576", "figure3_mini576", "figure4_mini576_gqa")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "png", "csv", "md")
    )
    assert [line.split(".{")[0].rsplit("/")[-1] for line in said.splitlines() if ".{" in line] == list(names)
    assert "27 of 29 points are not complete." in said
    assert "make experiment EXPERIMENT=figure3" in said
    again = make_figures(
        tmp_path / "runs", tmp_path / "again", names=["figure3"], tasks=["gqa", "textvqa_val"]
    )
    assert "figure3_mini576_gqa_textvqa.{svg,pdf,png,csv,md}" in again
    assert "figure1" not in again


@pytest.fixture
def experiment(drop, tmp_path, monkeypatch):
    """Runs an experiment with a stand-in for the evaluation that writes a record; gives the status."""
    asked = []

    def measure(config, advise, models):
        layer, ratio = ((config.strategy.settings.get(name) or [None])[0] for name in ("layers", "ratios"))
        asked.append((config.model.name, layer, ratio))
        run = drop(layer, ratio, 60.0, model=config.model.name, limit=config.limit)
        return next(r for r in load_records(tmp_path / "runs") if r["run_id"] == run.folder.name)

    monkeypatch.setattr(cli, "evaluate", measure)
    monkeypatch.setattr(experiments, "resolve_checkpoint", lambda _: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pdrop-eval", f"results={tmp_path}/runs", *arguments])
        try:
            cli.main()
        except SystemExit as leaving:
            return leaving.code
        return 0

    run.asked = asked
    return run


@pytest.mark.slow
def test_the_experiment_runs_every_point_and_draws_it(experiment, tmp_path, capsys):
    assert experiment("experiment=figure3", "limit=4") == 0
    expected = {(m, layer, r) for m in ("mini576", OURS) for layer in LAYERS for r in RATIOS}
    assert set(experiment.asked) == expected | {("mini576", None, None), (OURS, None, None)}
    assert len(experiment.asked) == 58
    out = capsys.readouterr().out
    assert "58 of 58 runs are done." in out
    assert "not complete" not in out
    assert (tmp_path / "report" / "figures" / "figure3_mini576_limit4.pdf").is_file()
    assert not list((tmp_path / "report" / "figures").glob("figure1*"))


@pytest.mark.slow
def test_the_readme_and_the_page_of_results_show_each_figure_in_its_place(drop, tmp_path):
    drop(None, None, 70.0)
    drop(8, 0.5, 60.0)
    names = ("table5", "figure1", "figure3", "figure4")
    (tmp_path / "README.md").write_text("".join("{}\n{}\n".format(*marks(name)) for name in names))
    tables = tmp_path / "results" / "tables"
    make_tables(tmp_path / "runs", tables, readme=tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    blocks = [text.partition(marks(name)[0])[2].partition(marks(name)[1])[0] for name in names]
    assert "](results/figures/figure1_mini576.svg)" in blocks[1]
    assert "](results/figures/figure3_mini576.svg)" in blocks[2]
    assert blocks[3].strip() == "Nothing measured yet."
    page = tmp_path / "results" / "README.md"
    make_tables(tmp_path / "runs", tables, page=page)
    assert "## Accuracy against retained tokens, by layer" in page.read_text()
    assert "## Accuracy against retained tokens, by training" in page.read_text()
    assert "## Accuracy against FLOPs" not in page.read_text()
