"""The command beneath a missing row fills it, or says what it lacks."""

import subprocess

import pytest

from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.report.tables import commands
from pdrop_eval.report.tables.commands import command, experiment, fill, find_model, is_there
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.run.config.quoting import parsed
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.presets import DEFAULT_SIZE, presets
from pdrop_eval.utils.terminal import console

VANILLA = RowKey("llava-1.5", 1, "vanilla", None, "vanilla", None)
LAMBDA_04 = RowKey("llava-1.5", 1, "pdrop", 0.4, "pdrop", 0.4)
FACTS = {
    "architecture": "llava-1.5",
    "patches": 1,
    "size": "mini576",
    "train": "vanilla",
    "train_ratio": None,
}


@pytest.fixture
def models(monkeypatch):
    """Models to choose from, in the place of `conf/model`."""

    def put(**found):
        groups = {"model": found, "strategy": presets("strategy", CONF)}
        monkeypatch.setattr(commands, "presets", groups.get)

    return put


def test_a_model_is_found_by_what_it_is(models):
    models(
        mini576={**FACTS, "pretrained": "embedded"},
        mini576_again={**FACTS, "pretrained": "embedded"},
        big={**FACTS, "size": "7b", "pretrained": "org/big"},
        p5={**FACTS, "architecture": "llava-next", "patches": 5, "pretrained": "embedded:p5"},
    )
    assert find_model("mini576", VANILLA) == "mini576"
    assert find_model("7b", VANILLA) == "big"
    assert find_model("mini576", LAMBDA_04) is None
    assert fill("mini576", "mini", VANILLA).command == "make eval STRATEGY=vanilla MODEL=mini576 SUITE=mini"


def test_without_a_model_the_file_to_write_is_described(models):
    models()
    found = fill("mini576", "mini", LAMBDA_04)
    assert found.command == ""
    assert found.needs == (
        "a conf/model/<name>.yaml (size=mini576, architecture=llava-1.5, patches=1, train=pdrop) with a "
        "checkpoint trained with PDrop λ=0.4"
    )


def test_a_checkpoint_that_is_not_there_is_asked_for(models):
    models(m04={**FACTS, "train": "pdrop", "train_ratio": 0.4, "pretrained": "checkpoints/nothing-here"})
    found = fill("mini576", "mini", LAMBDA_04)
    assert found.needs == "a checkpoint trained with PDrop λ=0.4"
    assert found.command == (
        "make eval STRATEGY=pdrop MODEL=m04 SUITE=mini ARGS='strategy.ratio=0.4 model.pretrained=<folder>'"
    )


def test_the_folder_of_another_run_of_the_model_is_taken(models):
    models(m04={**FACTS, "train": "pdrop", "train_ratio": 0.4, "pretrained": "checkpoints/nothing-here"})
    found = fill("mini576", "mini", LAMBDA_04, folders={"m04": "/data/m04"})
    assert found.needs == ""
    assert found.command.endswith("ARGS='strategy.ratio=0.4 model.pretrained=/data/m04'")


def test_what_counts_as_there(tmp_path):
    assert is_there("embedded")
    assert not is_there("embedded:never-trained")
    assert is_there("org/on-the-hub")
    assert is_there(str(tmp_path))
    assert not is_there(str(tmp_path / "no"))


def test_outside_of_a_checkout_the_console_script_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(console, "PACKAGE", tmp_path / "pdrop_eval")
    found = command("pdrop", "mini576", "mini", ["limit=32", "model.pretrained=<folder>", "seed=2"])
    assert (
        found
        == "pdrop-eval strategy=pdrop model=mini576 suite=mini limit=32 'model.pretrained=<folder>' seed=2"
    )


def test_in_a_checkout_a_console_script_is_where_make_put_it(monkeypatch, tmp_path):
    recorded = "pdrop-eval-bench model=mini576"
    assert command("pdrop", "mini576", "mini", ["model.pretrained=/a b"]).startswith(
        ".venv/bin/pdrop-eval str"
    )
    assert console.as_run_here(recorded) == f".venv/bin/{recorded}"
    assert console.as_run_here(f".venv/bin/{recorded}") == f".venv/bin/{recorded}"
    assert console.as_run_here("python -m pdrop_eval") == "python -m pdrop_eval"
    monkeypatch.setattr(console, "PACKAGE", tmp_path / "pdrop_eval")
    assert console.as_run_here(f".venv/bin/{recorded}") == recorded


def test_an_experiment_is_a_target_in_a_checkout_and_a_setting_elsewhere(monkeypatch, tmp_path):
    settings = ["limit=8", "dtype=float16"]
    assert experiment("table5", "mini576") == "make experiment EXPERIMENT=table5"
    assert experiment("table2", "7b", settings) == (
        "make experiment EXPERIMENT=table2 SIZE=7b LIMIT=8 ARGS='dtype=float16'"
    )
    monkeypatch.setattr(console, "PACKAGE", tmp_path / "pdrop_eval")
    assert experiment("table5", "mini576") == "pdrop-eval experiment=table5"
    found = experiment("table2", "7b", settings)
    assert found == "pdrop-eval experiment=table2 size=7b limit=8 dtype=float16"
    check_command_line(found.split()[1:])  # raises UserError for what does not exist


@pytest.mark.parametrize(("size", "suite"), [("mini576", "mini"), ("7b", "paper")])
@pytest.mark.parametrize("number", TABLES)
def test_every_row_of_the_paper_has_a_shipped_model_and_a_command_that_is_valid(
    monkeypatch, tmp_path, number, size, suite
):
    monkeypatch.setattr(commands, "is_there", lambda pretrained: True)
    monkeypatch.setattr(console, "PACKAGE", tmp_path / "p")  # the words to check are the console script's
    for keys in {**TABLES[number].groups(), **TABLES[number].groups_beyond()}.values():
        for key in keys:
            found = fill(size, suite, key)
            if size == DEFAULT_SIZE and key.train_ratio in (0.4, 0.6):  # no miniature has the other lambdas
                assert found.needs.startswith(f"a conf/model/<name>.yaml (size={size}"), key
                continue
            assert found.model is not None, key
            program, *arguments = found.command.split()
            assert program == "pdrop-eval"
            check_command_line(arguments)  # raises UserError for what does not exist


ODD = (
    "/plain/path-1.0", "/a b", "/a(1)", "/a=b", "/a#b", "/~a", "~/a", "/\u4e2d\u6587", "/it's", '/a "b" c',
    "/a,b", "/{a}", "/a;rm -rf x", "/$HOME", "/a\\\\b", "/[a]", "/a|b", "/a&b", "/a*b?", "/\u00e9",
)  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_a_path_in_a_command_reaches_hydra_as_it_is(monkeypatch, path):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    text = console.command("pdrop-eval-tables", [f"root={path}", "table=5"], "tables")
    shell = subprocess.run(
        f"printf '%s\\n' {text}", shell=True, capture_output=True, text=True, check=True, cwd="/"
    )
    name, root, table = shell.stdout.splitlines()
    assert (name, table) == (console.script("pdrop-eval-tables"), "table=5")
    (read,) = parsed([root])
    assert read.value() == path


def test_make_is_named_where_make_was_called_and_its_words_are_plain(monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1")
    assert console.command("pdrop-eval-tables", [], "tables") == "make tables"
    named = console.command("pdrop-eval-tables", ["table=shelf", "root=results/shelf"], "tables")
    assert named == "make tables ARGS='table=shelf root=results/shelf'"
    odd = console.command("pdrop-eval-tables", ["root=/a b"], "tables")
    assert odd == f"{console.script('pdrop-eval-tables')} 'root=\"/a b\"'"
    assert console.command("pdrop-eval", ["limit=2"]) == f"{console.script('pdrop-eval')} limit=2"


@pytest.mark.parametrize(
    "setting", ["tasks=[gqa,pope]", "model.pretrained=<folder>", "strategy=vanilla,fastv", "a={b:1}", "n="]
)
def test_what_is_no_text_stays_hydras(setting):
    assert console.for_hydra(setting) == setting


@pytest.mark.parametrize(
    ("message", "in_checkout"),
    [
        ("Make it again: pdrop-eval-calibrate strategy=vtw.",
         "Make it again: .venv/bin/pdrop-eval-calibrate strategy=vtw."),
        ("pdrop-eval --help lists everything.", ".venv/bin/pdrop-eval --help lists everything."),
        ("Start torchrun --nproc_per_node=2 --no-python pdrop-eval ..., or unset it.",
         "Start .venv/bin/torchrun --nproc_per_node=2 --no-python .venv/bin/pdrop-eval ..., or unset it."),
        ("'pdrop-eval combine=[visionzip,pdrop]'", "'pdrop-eval combine=[visionzip,pdrop]'"),
        (".venv/bin/pdrop-eval strategy=pdrop", ".venv/bin/pdrop-eval strategy=pdrop"),
        ("Update pdrop-eval, or move it away.", "Update pdrop-eval, or move it away."),
        ("pip install 'pdrop-eval[train]'", "pip install 'pdrop-eval[train]'"),
    ],
)  # fmt: skip
def test_a_command_within_a_message_can_be_typed_as_it_stands(monkeypatch, message, in_checkout):
    monkeypatch.setattr(console, "in_checkout", lambda: True)
    assert console.as_typed_here(message) == in_checkout
    assert console.made_here("suite", "python -m x") == "make suite"
    monkeypatch.setattr(console, "in_checkout", lambda: False)
    assert console.as_typed_here(message) == message
    assert console.made_here("suite", "python -m x") == "python -m x"
