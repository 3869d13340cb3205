"""The registry reads from a strategy's file what its class says, without importing it."""

import subprocess
import sys
from importlib import import_module

import pytest

from pdrop_eval.strategies import registry
from pdrop_eval.strategies.registry import StrategyInfo, can_be_drawn, info_of, installed, recorded_facts
from pdrop_eval.utils.paths import PACKAGE


@pytest.mark.parametrize("name", installed())
def test_the_file_says_what_the_class_says(name):
    info = installed()[name]
    cls = getattr(import_module(info.module), info.class_name)
    assert {key: getattr(cls, key) for key in ("name", *registry.RECORDED)} == {
        key: getattr(info, key) for key in ("name", *registry.RECORDED)
    }
    assert info.stage in registry.STAGES
    assert info.summary
    assert info.series_style is None or can_be_drawn(info.series_style)
    assert name == "vanilla" or info.paper or info.series_style is None  # drawn like a published one


def test_a_budget_decides_where_and_how_much_is_dropped_of_the_strategy_itself():
    found = {name: info.decided for name, info in installed().items()}
    assert found["fastv"] == ("k", "r", "attention_rank", "preset")
    assert found["pdrop"] == ("layers", "ratio", "ratios")
    assert found["vanilla"] == ()


def test_names_styles_and_labels_need_no_torch():
    code = (
        "import sys; from pdrop_eval.strategies.registry import installed; print(len(installed()));"
        "sys.exit('torch' in sys.modules)"
    )
    assert int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout) >= 3


def test_a_label_has_the_papers_symbols_and_only_what_has_a_value():
    pdrop = installed()["pdrop"]
    assert pdrop.label({"ratio": 0.4212345, "stages": 4, "layers": None}) == ["λ=0.4212", "S=4"]
    given = {"layers": (2, 8), "ratios": (0.5, 0.25), "ratio": None, "rounding": "floor"}
    assert pdrop.label(given) == ["layers 2, 8: 0.5, 0.25"]
    assert pdrop.label({"ratio": 0.4, "stages": 4, "positions": "keep"}, ["ratio", "positions"]) == [
        "λ=0.4",
        "positions=keep",
    ]


def test_a_label_of_a_record_is_text_and_no_format():
    info = StrategyInfo("theirs", label_fields=("{k:>999999999}", "{k.__class__}", "k={k}"))
    assert info.label({"k": 3}) == ["{k:>999999999}", "{k.__class__}", "k=3"]


def test_a_record_comes_before_the_file_and_a_style_that_can_not_be_drawn_counts_as_none():
    style = {"color": "#112233", "dark": "#aabbcc", "marker": "v", "linestyle": ":"}
    assert info_of("pdrop", {"display_name": "P", "series_style": style}).series_style == style
    for wrong in ({"color": "red"}, {"marker": "?"}, {"linestyle": "wavy"}, {"order": "first"}):
        assert (
            info_of("pdrop", {"display_name": "P", "series_style": {**style, **wrong}}).series_style is None
        )
    assert info_of("pdrop", {"name": "pdrop"}) == installed()["pdrop"]
    assert info_of("unheard").display_name == "unheard"


def test_what_a_record_gets_is_read_again():
    strategy = import_module("pdrop_eval.strategies.fastv").FastV()
    assert info_of("fastv", recorded_facts(strategy)) == installed()["fastv"]


def test_the_readme_lists_strategies_as_their_classes_say():
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- strategies -->\n")[2].partition("\n<!-- /strategies -->")[0].splitlines()
    assert len(shown) >= 5  # `make readme` adds a new one
    assert set(shown) <= set(registry.catalogue("pdrop_eval/strategies").splitlines())


def test_the_package_lists_its_strategies_without_torch():
    code = (
        "import sys, pdrop_eval; listed = set(dir(pdrop_eval)); assert 'torch' not in sys.modules;"
        "assert {'FastV', 'PyramidDrop', 'VisionZip', 'Vanilla', 'UserError', '__version__'} <= listed"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
