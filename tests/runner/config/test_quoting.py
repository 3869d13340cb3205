"""Values that Hydra's grammar can't read, settings that + would add, and benchmarks that there aren't."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pdrop_eval.report.compare.settings import read_settings
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.compose import check_command_line, check_overrides, check_settings
from pdrop_eval.run.config.quoting import quoted
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.train.config.spec import compose_training
from pdrop_eval.utils.errors import UserError

PATHS = (
    "/data/a~b", "~/data", "/data/a=b", "/data/a#b", "/data/a(1)", "/data/(1)/b", "a(1)", "/data/图片",
    "/data/é", "/data/a,b", "/data/a[1]", "/data/{a}", "/data/a&b", "/data/a;b", "/data/it's", '/data/"a"',
    "/data/`a`",
    "/data/a!b", "/data/a\\b(1)",
)  # fmt: skip
ECHO = "import json, sys; print(json.dumps(sys.argv[1:]))"


def through_a_shell(words):
    """What a program gets of words that are pasted into a shell."""
    done = subprocess.run(
        f"{sys.executable} -c '{ECHO}' {words}", shell=True, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_what_is_printed_passes_the_shell_and_names_the_path():
    printed = []
    for path in PATHS:
        with pytest.raises(UserError) as caught:
            check_command_line([f"data.root={path}"])
        words = str(caught.value).partition("make a text of it: ")[2]
        assert words == quoted(f"data.root={path}")
        printed.append(words)
    arguments = through_a_shell(" ".join(printed))
    assert [override.value() for override in check_overrides(arguments)] == list(PATHS)


def test_a_path_in_the_users_folder_is_found_though_no_shell_expands_it():
    spec = compose_spec(['data.root="~/data"', 'results="~/runs"'])
    assert (spec.data.root, spec.results) == (str(Path.home() / "data"), str(Path.home() / "runs"))


def test_the_texts_of_a_list_are_quoted_each():
    with pytest.raises(UserError, match="Can't read the override") as caught:
        compose_training(["recipe.instruct.files=[/data/图片/a.json, b(1).json]"])
    (argument,) = through_a_shell(str(caught.value).partition("make a text of it: ")[2])
    assert compose_training([argument]).recipe.instruct.files == ("/data/图片/a.json", "b(1).json")


@pytest.mark.parametrize("entry", ["tables", "figures", "page"])
def test_reports_print_it_too(entry):
    with pytest.raises(UserError, match="make a text of it: 'root=\"/data/a\\(1\\)\"'"):
        check_settings(["root=/data/a(1)"], entry)


def test_what_needs_no_quotes_is_left_alone():
    assert check_command_line(["data.root=/data/a b", "results=/x/%y@1"]) == [
        "data.root=/data/a b", "results=/x/%y@1"
    ]  # fmt: skip
    assert quoted("data.root=") is None


@pytest.mark.parametrize("sign", ["+", "++"])
@pytest.mark.parametrize(
    ("read", "override", "words"),
    [
        (compose_spec, "max_new_tokens=16", "Did you mean model.max_new_tokens?"),
        (compose_spec, "max_new_token=16", "Did you mean model.max_new_tokens?"),
        (compose_spec, "limt=8", "Did you mean limit?"),
        (compose_spec, "model.max_tokens=16", "Did you mean max_new_tokens?"),
        (compose_spec, "hydrated=1", "Unknown setting"),
        (compose_spec, "data.folders=x", "Unknown setting of data: 'folders'"),
        (compose_training, "batch_size=8", "Did you mean recipe.pretrain.batch_size?"),
        (compose_training, "recipe.instruct.lr=1e-3", "Unknown setting of recipe=mini: 'lr'"),
        (compose_training, "lora.r=8", "Unknown setting of lora: 'r'"),
        (compose_bench, "layers=8", "Did you mean sizes.layers?"),
        (compose_bench, "sizes.layer=8", "Did you mean layers?"),
        (compose_bench, "batch_size=[1]", "Did you mean batch_sizes?"),
        (lambda given: check_settings(given, "tables"), "rout=x", "Did you mean"),
        (read_settings, "max_dropp=2", "takes no +"),
    ],
)
def test_what_would_be_added_without_effect_is_refused(read, sign, override, words):
    with pytest.raises(UserError) as caught:
        read([sign + override])
    assert words in str(caught.value)


def test_what_has_an_effect_can_be_added():
    assert compose_spec(["++limit=8", "++model.max_new_tokens=16"]).model.max_new_tokens == 16
    given = ["distributed=fsdp", "+distributed.fsdp_config.min_num_params=5"]
    assert compose_training(given).distributed.fsdp_config["min_num_params"] == 5
    assert read_settings(["max_drop_of.gqa=2"]).max_drop_of == {"gqa": 2.0}


def test_a_field_that_a_strategy_does_not_have():
    with pytest.raises(UserError, match=r"Unknown setting of PyramidDrop: 'ration'.*Did you mean ratio\?"):
        compose_spec(["+strategy.ration=0.5"]).strategy.build()


def test_an_unknown_benchmark_is_told_how_to_add_one():
    with pytest.raises(
        UserError, match=r"Unknown task of suite=mini: 'no_task'.*\"Add a benchmark\" in CONTR"
    ):
        checks.check_tasks(["no_task"], ["gqa", "mme"], "mini", None)
    with pytest.raises(UserError, match=r"pope is in no list of this suite: suite\.tasks=\[pope\]"):
        checks.check_tasks(["pope"], ["gqa", "mme"], "mini", None)
