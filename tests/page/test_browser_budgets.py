"""The table by budgets in a browser: read when it is looked at, with the ranks drawn above it."""

import sys
from pathlib import Path

import pytest
from browsing import Results
from browsing import tab as open_tab

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
import shelf_records as made


@pytest.mark.slow
def test_ranks_are_drawn_above_the_table_and_lead_to_records(chromium_started, tmp_path):
    from pdrop_eval.report.site.build import Sources, make_page

    made.shelf(tmp_path / "runs")
    make_page(Sources(tmp_path / "runs", tmp_path / "none", tmp_path / "none", pictures=0), tmp_path / "site")
    with open_tab(chromium_started, Results(tmp_path / "site", {})) as tab:
        tab.open("#/tables/budgets")
        tab.page.wait_for_selector(".chart[data-ready] .plotly")
        assert tab.texts("main h2") == [
            "Ranks: LLaVA-1.5 mini576, suite mini", "Table budgets, measured: LLaVA-1.5 mini576, suite mini"
        ]  # fmt: skip
        chart = "document.querySelector('.chart')"
        ranks = tab.page.evaluate(f"{chart}.data.map((one) => [one.name, one.y])")
        assert ["FastV", [1, 2]] in ranks
        assert tab.page.evaluate(f"{chart}.data[0].x") == ["48 tokens (33.3%)", "16 tokens (11.1%)"]
        keys = tab.page.evaluate(f"{chart}.data.flatMap((one) => one.customdata)")
        assert all(tab.page.evaluate("(key) => pdrop.runs.has(key)", key) for key in keys)
        assert "DivPrune (published B)" in tab.texts("main tbody th")
