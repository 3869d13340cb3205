"""The overview's note on models that no table of the paper can have."""

from types import SimpleNamespace

from pdrop_eval.report.tables.overview import _homeless


def run_of(name, **record):
    return SimpleNamespace(model=name, record={"model": {"name": name}, **record})


def test_a_servers_model_is_not_asked_for_what_only_the_server_knows():
    (served,) = _homeless([run_of("vLLM EVS .5", server={"served": "x"})])
    assert "Behind a server, which alone knows what it drops and what that costs: vLLM EVS .5." in served.text
    assert "conf/model" not in served.text
    bare, served = _homeless([run_of("own"), run_of("vllm", server={})])
    assert "In none of the paper's tables: own. Their records don't say" in bare.text
    assert "vllm" in served.text
