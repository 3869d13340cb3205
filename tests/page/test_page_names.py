"""What a page says of a record has no secrets, wherever they stand, also where texts are known already."""

from pdrop_eval.report.site.names import public
from pdrop_eval.report.tables.fill import Part
from pdrop_eval.report.tables.missing import _once
from pdrop_eval.report.tables.spec import TABLES

HOME = "/ho" + "me/ann"  # in pieces: the repository holds no path of a machine


def test_secrets_and_folders_go_at_every_depth(monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    key = "hf_" + "a" * 34
    record = {
        "command": ["pdrop-eval", f"results={HOME}/runs {key}", 3, None],
        "api_key": "short", "password": "", "nested": ({f"{HOME}/x": "http://ann:pw@host/v1"}, True),
        "long": "x" * 300 + f" {HOME}/runs {key}",
    }  # fmt: skip
    hidden = {
        "command": ["pdrop-eval", "results=…/runs hf_***", 3, None],
        "api_key": "***", "password": "***", "nested": [{"…/x": "http://***@host/v1"}, True],
        "long": "x" * 300 + " …/runs hf_***",
    }  # fmt: skip
    assert public(record) == hidden
    assert public(record) == hidden  # from what is known


def test_a_secret_of_the_environment_is_hidden_in_texts_that_were_shown_before(monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    assert public(["the word swordfish"]) == ["the word swordfish"]
    monkeypatch.setenv("MY_TOKEN", "swordfish")
    assert public(["the word swordfish"]) == ["the word ***"]


def test_what_all_rows_of_a_table_have_in_common_is_worked_out_once():
    part, asked = Part(TABLES[5], "mini576", "mini", []), []
    for _ in range(3):
        assert _once(part, "shared", lambda runs: asked.append(runs) or ["seed=2"]) == ["seed=2"]
    assert asked == [[]]
