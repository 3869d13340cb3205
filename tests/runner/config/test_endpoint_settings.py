"""`model=endpoint` before a question is asked: what is refused, what the server says, what decides a run."""

import json
import subprocess
import sys

import pytest
from answering_server import MODEL, models, serving

from pdrop_eval.records import run_identity
from pdrop_eval.records.run_identity import endpoint_identity, shared_settings
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.endpoint.header import make_header
from pdrop_eval.run.endpoint.server import ask_offer, check_endpoint, make_server
from pdrop_eval.run.evaluate.plan import make_plan
from pdrop_eval.run.evaluate.run_list import run_list
from pdrop_eval.utils.code.source_code import import_closure
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import PACKAGE

THERE = ("model=endpoint", "model.base_url=http://localhost:8000/v1", f"model.served={MODEL}")


@pytest.fixture
def server():
    with serving() as running:
        yield running


def spec_of(*overrides):
    spec = compose_spec([*THERE, *overrides]).endpoint
    check_endpoint(spec)
    return spec


def offer_of(server, *overrides):
    spec = spec_of(f"model.base_url={server.url}", *overrides)
    return ask_offer(make_server(spec), spec)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("strategy=fastv", r"strategy=fastv can't be given.*up to the server.*candidate=<folder"),
        ("strategy.ratio=0.5", r"strategy.ratio=0.5 can't be given"),
        ("combine=[visionzip,pdrop]", r"combine=\[visionzip,pdrop\] can't be given"),
        ("budget.tokens=64", r"budget.tokens=64 can't be given"),
        ("dtype=float16", r"dtype=float16 can't be given.*the server decides it.*model.concurrency"),
        ("batch_size=4", "batch_size=4 can't be given"),
        ("model.pretrained=x", "Unknown setting of model=endpoint: 'pretrained'"),
        ("model.base_ulr=x", "Did you mean base_url"),
        ("model.base_url=localhost:8000", "model.base_url=localhost:8000 is no web address"),
        ("model.base_url=null", "model=endpoint needs a server.*model.served=<name>"),
        ("model.served=''", "model.served='' is no name"),
        ("model.name=''", "model.name= is empty"),
        ("model.concurrency=0", "model.concurrency=0 is not allowed"),
        ("model.concurrency=5000", "model.concurrency=5000.*at most 1024"),
        ("model.timeout=0", "model.timeout=0 is not allowed"),
        ("model.retries=-1", "model.retries=-1 is not allowed"),
        ("model.give_up=0", "model.give_up=0 is not allowed"),
        ("model.extra_body={temperature:1}", "can't have temperature: the benchmarks decide"),
        ("model.extra_body=3", "model.extra_body=3 is no list of fields"),
    ],
)
def test_what_can_not_be_right_is_refused(override, words):
    with pytest.raises(UserError, match=words):
        spec_of(override)


@pytest.mark.parametrize("entry", ["train", "bench", "calibrate"])
def test_other_commands_need_a_checkpoint(entry):
    with pytest.raises(UserError, match=rf"only pdrop-eval can ask it. pdrop-eval-{entry} needs"):
        check_command_line(["model=endpoint"], entry)


def test_an_experiment_lists_models_with_checkpoints():
    with pytest.raises(UserError, match="Unknown model: 'endpoint'"):
        run_list([{"model": "endpoint", "strategy": "pdrop"}])


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"one process.*model.concurrency"):
        spec_of()


def test_the_server_says_what_it_has(server):
    server.offer = lambda: models("other", MODEL)
    assert offer_of(server) == {
        "base_url": server.url, "served": MODEL, "offers": ["other", MODEL],
        "says": {"id": MODEL, "max_model_len": 4096},
    }  # fmt: skip
    assert server.asked == []


def test_a_model_that_the_server_lacks_is_refused_with_those_that_it_has(server):
    server.offer = lambda: models("tiny-vl-2", "other")
    with pytest.raises(UserError, match=r"'tiny-vl'. Allowed: tiny-vl-2, other. Did you mean tiny-vl-2\?"):
        offer_of(server)


@pytest.mark.parametrize("reply", [(404, "no"), (200, "{}"), (200, '{"data": []}')])
def test_a_server_that_lists_nothing_is_taken_as_it_is(server, reply):
    server.offer = lambda: reply
    assert offer_of(server)["offers"] is None


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, "who are you"), r"refused: HTTP 401.*who are you.*model.served and the key"),
        ((200, "<html>"), "can't be asked: the answer is no chat completion"),
        ((503, "loading"), "can't be asked: HTTP 503.*loading.*the same command then goes on"),
        ((302, "", [("Location", "http://elsewhere/v1")]), "redirects.*elsewhere.*model.base_url"),
    ],
)
def test_a_server_that_is_none_is_refused(server, reply, words):
    server.offer = lambda: reply
    with pytest.raises(UserError, match=words):
        offer_of(server)


def test_a_server_that_is_not_there_is_refused_at_once(server):
    server.end()
    with pytest.raises(UserError, match=r"can't be asked: no connection .*Start it.*model.base_url"):
        offer_of(server)


def test_the_key_and_a_password_stand_nowhere(server, monkeypatch, tmp_path, data):
    monkeypatch.setenv("THE_SERVERS", "hush-hush-1")
    server.offer = lambda: models(MODEL, "hush-hush-1")
    given = [f"model.base_url='{server.url}?code=geheim-9'", "model.api_key_env=THE_SERVERS"]
    offer = offer_of(server, *given)
    plan = make_plan(compose_spec([*THERE, *given, f"data.root={data}", "tasks=[gqa]"]))
    said = json.dumps(make_header(plan, " ".join(given), offer))
    assert "hush" not in said
    assert "geheim" not in said
    assert "THE_SERVERS" in said
    server.offer = lambda: (500, "your key hush-hush-1 is bad")
    with pytest.raises(UserError, match=r"your key \*\*\* is bad"):
        offer_of(server, *given)


def test_a_key_that_is_not_set_is_refused():
    with pytest.raises(UserError, match=r"model.served=tiny-vl needs a key, .*NOT_THERE is not set"):
        make_server(spec_of("model.api_key_env=NOT_THERE"))


@pytest.fixture(scope="module")
def settings():
    return compose_spec(THERE).to_dict()


def identity(settings, model=(), **changes):
    given = {**settings, **changes, "model": {**settings["model"], **dict(model)}}
    return endpoint_identity(given, {})


def test_where_and_how_the_server_is_asked_does_not_decide_the_run(settings):
    usual = identity(settings)
    for name, value in (("base_url", "http://10.0.0.7:30000/v1"), ("concurrency", 64), ("timeout", 9),
                        ("retries", 0), ("give_up", 1), ("api_key_env", "KEY")):  # fmt: skip
        assert settings["model"][name] != value
        assert identity(settings, {name: value}) == usual
    assert identity(settings, results="elsewhere", tasks=["gqa"], batch_size=3, dtype="float16") == usual


def test_label_name_revision_and_what_is_asked_decide_the_run(settings):
    found = [identity(settings)]
    for name, value in (("name", "vLLM EVS .5"), ("served", "other"), ("revision", "v2"),
                        ("max_new_tokens", 7), ("extra_body", {"top_k": 1})):  # fmt: skip
        found.append(identity(settings, {name: value}))
    found += [identity(settings, **{name: value}) for name, value in (("limit", 4), ("downsample", 2))]
    assert all(one != other for place, one in enumerate(found) for other in found[:place])


def test_the_servers_code_is_not_that_of_strategies(settings):
    found = identity(settings)
    assert (found["code"]["strategy"], found["code"]["family"]) == (None, None)
    assert "torch" not in found["packages"]


def test_no_strategy_engine_or_family_makes_a_servers_answers_stale():
    found = import_closure([f"{PACKAGE.name}.{name}" for name in run_identity._ASKS], PACKAGE)
    apart = tuple(f"{PACKAGE.name}.{part}" for part in ("strategies", "engine", "efficiency", "models.famil"))
    assert [name for name in found if name.startswith(apart)] == []
    assert f"{PACKAGE.name}.utils.server.chat_server" in found


def test_the_identity_of_a_run_that_is_made_here_stays_as_it_was():
    assert "endpoint" not in shared_settings(compose_spec([]).to_dict())


def test_nothing_is_imported_to_refuse(server):
    code = (
        "import sys; from pdrop_eval.run.config.spec import compose_spec; "
        "from pdrop_eval.run.endpoint.server import ask_offer, check_endpoint, make_server; "
        f"spec = compose_spec({[*THERE, f'model.base_url={server.url}']!r}).endpoint; "
        "check_endpoint(spec); ask_offer(make_server(spec), spec); "
        "print({'torch', 'transformers', 'lmms_eval'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
