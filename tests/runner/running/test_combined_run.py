"""A combination from the command line to the table: one run, one record, one row."""

import pytest
from evaluating import run

from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.report.figures.chart import points_of
from pdrop_eval.report.tables.commands import command
from pdrop_eval.report.tables.overview import overview
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.strategies.combine import Combine
from pdrop_eval.strategies.fastv import FastV
from pdrop_eval.strategies.make import instantiate_strategy
from pdrop_eval.strategies.uniform import Uniform

pytestmark = pytest.mark.slow
OWN = ["strategy.uniform.tokens=8", "strategy.fastv.k=1"]


@pytest.fixture(scope="module")
def recorded(lmms_eval, llava, data, tmp_path_factory):
    """The record of Uniform and FastV, 8 of 16 tokens and half of them after one of 4 layers."""
    folder = tmp_path_factory.mktemp("combined")
    return run(llava, data, folder, "tasks=[gqa]", *OWN, strategy="uniform+fastv"), folder


def test_the_record_says_what_was_run(recorded):
    record, _ = recorded
    assert record["strategy"]["name"] == "uniform+fastv"
    assert record["strategy"]["display_name"] == "Uniform + FastV"
    assert record["strategy"]["stage"] == "both"
    assert record["efficiency"]["image_tokens_per_layer"] == [8, 4, 4, 4]
    assert record["tasks"]["gqa"]["retained_tokens_per_layer"] == [8, 4, 4, 4]
    assert [one for one in record["changes"] if one.startswith("strategy.")] == OWN
    fields = record["strategy"]["fields"]
    again = instantiate_strategy({"_target_": record["strategy"]["target"], **fields})
    assert again == Combine(Uniform(tokens=8), FastV(k=1))


def test_the_same_command_has_nothing_to_do(recorded, llava, data, capsys):
    record, folder = recorded
    again = run(llava, data, folder, "tasks=[gqa]", *OWN, strategy="uniform+fastv")
    assert again["run_id"] == record["run_id"]
    assert "Nothing to do" in capsys.readouterr().out
    (found,) = to_runs([record])
    assert found.is_current


def test_it_is_a_row_with_its_name_and_a_command(recorded):
    record, _ = recorded
    (found,) = to_runs([record])
    assert found.strategy_label() == "Uniform + FastV 8 tokens K=1"
    assert found.strategy_label(whole=True) == "Uniform + FastV 8 tokens K=1 R=0.5"
    assert found.key.inferred == "Uniform + FastV 8 tokens K=1"
    # what a table says to run makes the same strategy
    text = command("uniform+fastv", "mini", "mini", found.key.settings)
    assert all(setting in text for setting in (*OWN, "uniform+fastv"))
    spec = compose_spec(["strategy=uniform+fastv", *found.key.settings])
    assert spec.strategy.build() == Combine(Uniform(tokens=8), FastV(k=1))
    assert "Uniform + FastV" in str(overview([found]))


def test_a_figures_point_is_the_runs():
    (point,) = points_of([{"model": "mini", "strategy": "uniform+fastv", "overrides": OWN}])
    assert (point.strategy, point.settings) == ("uniform+fastv", tuple(sorted(OWN)))
