"""The style of all figures: sizes in print, room for words, looks that can be told apart, the same bytes."""

import itertools
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from report_records import LLAVA_15

from pdrop_eval.report.figures.chart import figure_experiments, points_of
from pdrop_eval.report.figures.flops import draw as figure_drawing
from pdrop_eval.report.figures.flops.chart import FlopsChart
from pdrop_eval.report.figures.layers import draw as figure_layers_drawing
from pdrop_eval.report.figures.panels import Plan, lay_out, wrapped
from pdrop_eval.report.figures.registry import all_charts, files
from pdrop_eval.report.figures.style import COLUMN, SMALL, TEXT_WIDTH, drawing, looks, saved, steps
from pdrop_eval.utils.presets import model_configs

MODELS = {"figure1": ["mini576"], "figure3": ["mini576", "mini576_pdrop_05"], "figure4": ["mini576"]}


@pytest.fixture
def measured(add_run, runs):
    """A chart of which all is measured, of some benchmarks."""

    def make(name, keys, tasks=None):
        known = model_configs()
        for point in points_of(figure_experiments()[name]["runs"]):
            if point.model not in MODELS[name]:
                continue
            given = dict(setting.split("=", 1) for setting in point.settings)
            drop = {"ratio": None, "stages": None, "layers": one_in(given, "layers"),
                    "ratios": one_in(given, "ratios")}  # fmt: skip
            share = float(given.get("budget.share", 0)) or None
            kept = share or (drop["ratios"] or [1.0])[0]
            kind = {**LLAVA_15, "train": known[point.model]["train"],
                    "train_ratio": known[point.model]["train_ratio"]}  # fmt: skip
            scores = {key: (2000.0 if key == "mme" else 100.0) * kept * 0.9 for key in keys}
            add_run(
                point.strategy, scores, model=point.model, kind=kind,
                budget={"tokens": None, "share": share, "tflops": None},
                **({"fields": drop} if drop["layers"] else {}),
            )  # fmt: skip
        (chart,) = all_charts(runs(), [name], tasks=tasks)
        assert not chart.missing
        return chart

    return make


def one_in(given, name):
    text = given.get(f"strategy.{name}")
    return (
        None if text is None else [float(text.strip("[]"))] if name == "ratios" else [int(text.strip("[]"))]
    )


def figure_of(chart):
    module = figure_drawing if isinstance(chart, FlopsChart) else figure_layers_drawing
    return module.figure_of(chart)


def drawn_texts(figure, monkeypatch):
    """Every text that is drawn, with its size and its box in inches."""
    found = {}
    draw = Text.draw

    def note(self, renderer):
        if self.get_visible() and self.get_text().strip():
            box = self.get_window_extent(renderer)
            found[id(self)] = (self.get_text(), self.get_fontsize(), box.transformed(scale))
        return draw(self, renderer)

    scale = figure.dpi_scale_trans.inverted()
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", note)
        figure.canvas.draw()
    return list(found.values())


CASES = [
    ("figure1", ["textvqa"], None, COLUMN),
    ("figure1", ["textvqa", "gqa", "mme"], ["textvqa_val", "gqa", "mme"], TEXT_WIDTH),
    ("figure3", ["textvqa"], None, TEXT_WIDTH),
    ("figure3", ["docvqa", "mme"], ["docvqa_val", "mme"], TEXT_WIDTH),
    ("figure4", ["docvqa", "chartqa", "textvqa", "gqa"], None, TEXT_WIDTH),
    ("figure4", ["gqa"], ["gqa"], COLUMN),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "keys", "tasks", "width"), CASES)
def test_words_are_large_enough_whole_and_apart(measured, monkeypatch, name, keys, tasks, width):
    chart = measured(name, keys, tasks)
    with drawing():
        figure = figure_of(chart)
        texts = drawn_texts(figure, monkeypatch)
    wide, high = figure.get_size_inches()
    assert wide == width
    assert len(texts) > 15
    assert min(size for _, size, _ in texts) >= SMALL == 7.0
    cut = [text for text, _, box in texts if box.x0 < 0 or box.y0 < 0 or box.x1 > wide or box.y1 > high]
    assert cut == []
    hidden = [
        (one, other)
        for (one, _, first), (other, _, second) in itertools.combinations(texts, 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 0.005
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 0.005
    ]
    assert hidden == []


def test_axes_say_what_they_show_in_which_unit(measured, monkeypatch):
    with drawing():
        texts = [text for text, _, _ in drawn_texts(figure_of(measured("figure1", ["textvqa"])), monkeypatch)]
    assert {"Retained image tokens (%)", "Score (of 100)", "TextVQA"} <= set(texts)


def test_points_of_benchmarks_that_are_sums_are_points(measured):
    with drawing():
        figure = figure_of(measured("figure3", ["mme"], ["mme"]))
    assert figure.axes[0].get_ylabel() == "MME score (points)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "figure4")) for name in MODELS]
)
def test_the_same_records_give_the_same_bytes_in_all_formats(measured, name):
    keys = ["textvqa"] if name != "figure4" else ["docvqa", "chartqa", "textvqa", "gqa"]
    chart = measured(name, keys)
    first, second = files(chart), files(chart)
    assert first == second
    assert list(first) == ["svg", "pdf", "png", "csv", "md"]
    assert ElementTree.fromstring(first["svg"]).tag.endswith("svg")
    assert b"image/png" not in first["svg"]  # lines, not pixels
    assert not any(word in first["pdf"] for word in (b"CreationDate", b"ModDate", b"/Type3", b"matplotlib"))
    assert b"<dc:date>" not in first["svg"]


def lightness(colour):
    """CIE L* of a colour: what is left of it in grey."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16


def test_steps_are_told_apart_in_grey_and_on_white():
    shades = [lightness(step["color"]) for step in steps(4)]
    assert all(later - earlier > 10 for earlier, later in itertools.pairwise(shades))
    assert shades[-1] < 63  # 3:1 to white
    assert len({(step["marker"], step["linestyle"]) for step in steps(4)}) == 4
    assert len(steps(1)) == 1


def test_a_strategy_of_the_users_own_gets_a_look_of_its_own():
    found = looks(["pdrop", "mine", "fastv", "yours"])
    assert found["pdrop"] == {"color": "#0072B2", "marker": "o", "linestyle": "-"}
    assert len({look["color"] for look in found.values()}) == 4
    assert len({(look["marker"], look["linestyle"]) for look in found.values()}) == 4
    assert len(looks(map(str, range(9)))) == 9


def test_words_are_wrapped_by_their_width_and_none_is_lost():
    text = "mmmmmmmm iiiiiiii " * 12 + "x" * 300
    with drawing():
        figure, _ = lay_out(Plan(COLUMN, 1, 1, 1.0, "a", [("b", {"color": "k"})], text))
        lines = wrapped(figure, text, 2.0, 8.0)
        narrow = wrapped(figure, "m" * 8 + " " + "m" * 8, 0.8, 8.0)
    assert " ".join(lines) == text
    assert lines[-1] == "x" * 300
    assert 3 < len(lines) < 30
    assert narrow == ["m" * 8] * 2


def test_the_style_ends_with_its_context():
    from matplotlib import rcParams

    before = rcParams["font.size"]
    with drawing():
        assert rcParams["font.size"] == 8.0
        figure, [[axes]] = lay_out(Plan(COLUMN, 1, 1, 1.0, "a $b$ \\frac", [], ""))
        axes.plot([1, 2], [3, 4])
        assert set(saved(figure)) == {"svg", "pdf", "png"}
    assert rcParams["font.size"] == before
