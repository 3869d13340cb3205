"""What the command line of a comparison means, and what of it is refused."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pdrop_eval.report.compare.place import default_name, find
from pdrop_eval.report.compare.settings import read_settings, split_overrides
from pdrop_eval.run.config.compose import help_text
from pdrop_eval.utils.errors import UserError


def test_without_arguments_pdrop_is_compared_with_vanilla_and_the_mean_may_lose_a_point():
    settings = read_settings([])
    assert (settings.baseline, settings.candidate) == ("vanilla", "pdrop")
    assert (settings.max_drop, settings.max_drop_overall, settings.gate) == (None, 1.0, "shown")
    assert settings.out == Path("results/compare")


def test_settings_of_pdrop_eval_hold_for_both_runs_and_its_own_for_one():
    settings = read_settings(
        [
            "limit=64",
            "tasks=[gqa,pope]",
            "model=mini576",
            "candidate_overrides=[model=mini576_pdrop_05,strategy.k=3]",
        ]
    )
    assert settings.overrides("baseline") == ("limit=64", "tasks=[gqa,pope]", "model=mini576")
    own = ("model=mini576_pdrop_05", "strategy.k=3")
    assert settings.overrides("candidate") == ("limit=64", "tasks=[gqa,pope]", *own)  # the model once


def test_a_setting_within_a_group_takes_nothing_else_of_it_away():
    settings = read_settings(["model.threads=2", "candidate_overrides=[model=mini576_pdrop_05]"])
    assert settings.overrides("candidate") == ("model.threads=2", "model=mini576_pdrop_05")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[]", []),
        ("[a=1]", ["a=1"]),
        ("a=1", ["a=1"]),
        ("[a=1, b.c=x]", ["a=1", "b.c=x"]),
        ("['strategy.layers=[2,4]',a=1]", ["strategy.layers=[2,4]", "a=1"]),
        ("[strategy.layers=[2,4],a=1]", ["strategy.layers=[2,4]", "a=1"]),
        ('["a=b,c"]', ["a=b,c"]),
    ],
)
def test_a_list_of_overrides_is_parted_at_its_own_commas(text, parts):
    assert split_overrides("candidate_overrides", text) == parts


@pytest.mark.parametrize("text", ["[a=[1]", "['a=1]", "[a=1)]"])
def test_a_list_that_does_not_close_is_refused(text):
    with pytest.raises(UserError, match="an unbalanced quote or bracket"):
        split_overrides("candidate_overrides", text)


def test_limits_of_benchmarks_are_given_as_a_list_or_one_by_one_by_key_or_task():
    listed = read_settings(["max_drop_of={gqa:2,scienceqa_img:1.5}"])
    single = read_settings(["max_drop_of.gqa=2", "max_drop_of.scienceqa_img=1.5"])
    assert listed.max_drop_of == single.max_drop_of == {"gqa": 2.0, "scienceqa_image": 1.5}


def test_the_folder_of_a_run_may_be_called_anything():
    settings = read_settings(["baseline=some where/[odd] (1)/x=y"])
    assert settings.baseline == "some where/[odd] (1)/x=y"


@pytest.mark.thin(12)
@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("max_dorp=1", ["'max_dorp'", "Did you mean max_drop?"]),
        ("limt=3", ["'limt'", "Did you mean limit?"]),
        ("gate=interval", ["'interval'", "shown, estimate, possible"]),
        ("unpaired=ignore", ["'ignore'", "refuse, leave_out"]),
        ("max_drop=-1", ["max_drop=-1", "a number from 0"]),
        ("max_drop=101", ["max_drop=101", "from 0 to 100"]),
        ("max_drop_overall=1e9", ["from 0 to 100"]),
        ("max_drop_of={scienceqa_img:1,scienceqa_image:2}", ["scienceqa_image twice, also as"]),
        ("max_changed=100", ["max_changed=100", "less than 100"]),
        ("max_changed=-1", ["max_changed=-1", "0 (not one)"]),
        ("min_paired=2", ["min_paired=2", "a share from 0 to 1"]),
        ("allow_same=maybe", ["allow_same=maybe", "true or false"]),
        ("++tasks=[gqa]", ["++tasks=[gqa] can't be given", "Write tasks=[gqa]."]),
        ("+limit=3", ["Write limit=3."]),
        ("~tasks=x", ["no +, ++ or ~"]),
        ("candidate_overrides=[++strategy=fastv]", ["no +, ++ or ~"]),
        ("candidate_overrides=[tasks=[gqa]]", ["the same for both runs", "Write tasks=[gqa] on its own."]),
        ("baseline_overrides=[suite.tasks=[gqa]]", ["the same for both runs"]),
        ("baseline_overrides=[results=x]", ["the same for both runs"]),
        ("max_drop=nan", ["max_drop=nan", "a number from 0"]),
        ("max_drop_overall=all", ["max_drop_overall=all", "null"]),
        ("max_drop_of={gqaa:1}", ["'gqaa'", "Did you mean gqa?"]),
        ("max_drop_of={gqa:x}", ["max_drop_of.gqa=x"]),
        ("max_drop_of=3", ["max_drop_of=3", "{gqa:2,pope:1}"]),
        ("downsample=1", ["downsample=1", "at least 2"]),
        ("examples=-1", ["examples=-1"]),
        ("name=../x", ["name=../x", "letters, digits"]),
        ("out=", ["out="]),
        ("strategy=fastv", ["strategy=fastv", "candidate="]),
        ("strategy.ratio=0.4", ["strategy.ratio=0.4", "candidate_overrides=[strategy.ratio=0.6]"]),
        ("experiment=table1", ["experiment=table1"]),
        ("candidate_overrides=[ratio]", ["'ratio'", "candidate_overrides=[strategy.ratio=0.4]"]),
        ("candidate_overrides=[strategy=fastv]", ["strategy=fastv", "candidate=."]),
        ("-m", ["'-m'", "name=value"]),
        ("max_drop_overall=null", ["No check is set"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(argument, words):
    with pytest.raises(UserError) as error:
        read_settings([argument])
    for word in words:
        assert word in str(error.value)


def test_every_command_in_the_documentation_is_one():
    text = (Path(__file__).resolve().parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).splitlines()
    calls = [
        shlex.split(line, comments=True)[1:] for line in blocks if line.startswith("pdrop-eval-compare ")
    ]
    assert len(calls) >= 4
    for call in calls:
        read_settings(call)  # raises UserError for what does not exist
    named = re.findall(r"`([a-z_]+)=[^`]*`", text)
    assert {"gate", "max_drop", "max_drop_of", "unpaired", "examples"} <= {*named}
    for name in named:
        assert f"{name}:" in help_text("compare") or name in ("tasks", "limit", "dtype", "subset")


def test_files_are_named_after_what_is_compared():
    def name(*arguments):
        return default_name(arguments)

    assert name() == "vanilla_vs_pdrop"
    assert name("limit=64", "model=mini576") == "vanilla_vs_pdrop_mini576_64"
    assert name("out=x", "name=y") == "vanilla_vs_pdrop"
    long = name(f"candidate_overrides=[data.root={'x' * 200}]")
    other = name(f"candidate_overrides=[data.root={'x' * 201}]")
    assert len(long) == 100
    assert long != other


def test_no_two_comparisons_have_one_name():
    calls = [
        [],
        ["tasks=[gqa]"],
        ["tasks=[pope]"],
        ["suite=other"],
        ["dtype=bfloat16"],
        ["gate=estimate"],
        ["baseline=a/vanilla"],
        ["baseline=b/vanilla"],
        ["candidate_overrides=[strategy.ratio=0.5]"],
        ["candidate_overrides=[strategy.ratio=0,5]"],
        ["candidate=a_b"],
        ["candidate=a/b"],
    ]
    assert len({default_name(call) for call in calls}) == len(calls)
    assert default_name(["gate=estimate", "limit=4"]) == default_name(["limit=4", "gate=estimate"])


def test_a_record_is_called_by_its_folder_whether_or_not_its_file_was_given():
    for given in ("a/vanilla-12", "a/vanilla-12/", "a/vanilla-12/record.json"):
        assert default_name([f"baseline={given}", "candidate=fastv"]).startswith("vanilla-12_vs_fastv_")


@pytest.mark.parametrize("wrong", [[], ["gate=estimat"], ["-x"], ["limt=3"], ["=", ""]])
def test_the_files_are_found_however_wrong_the_rest_is(wrong):
    place = find(["name=x", "out='a b'", *wrong])
    assert (place.folder, place.name) == (Path("a b"), "x")


def test_a_name_that_is_none_names_no_file_elsewhere():
    assert find(["name=../x"]).name == "vanilla_vs_pdrop"
    assert find(["name=null"]).name == "vanilla_vs_pdrop"
    assert find(["subset=ci64"]).name == "vanilla_vs_pdrop_ci64"
    assert find(["name=", "out="]).folder == Path("results/compare")


def test_help_shows_every_setting_and_loads_nothing_heavy():
    text = help_text("compare")
    for name in (
        "baseline: vanilla",
        "max_drop_overall: 1.0",
        "gate: shown",
        "Exit status: 0 passed",
    ):
        assert name in text
    assert max(map(len, text.splitlines())) <= 110
    script = "import sys; sys.argv[1:] = ['--help']\nfrom pdrop_eval.report.compare import cli\n" + (
        "try: cli.main()\nexcept SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'transformers', 'numpy', 'lmms_eval'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pdrop-eval-compare limit=64" in done.stdout
