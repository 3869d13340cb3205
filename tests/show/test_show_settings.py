"""Wrong input of `pdrop-eval-show` is refused with one message, before a model is loaded."""

import pytest
from omegaconf import OmegaConf

from pdrop_eval.report.show.samples import Ids, check_ids, read_samples
from pdrop_eval.report.show.settings import read_settings
from pdrop_eval.run.config.compose import compose_config, help_text
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("docvqa:17", [Ids("docvqa_val", 17, 17)]),
        ("docvqa_val:17", [Ids("docvqa_val", 17, 17)]),
        ("docvqa:17,gqa:3", [Ids("docvqa_val", 17, 17), Ids("gqa", 3, 3)]),
        ("[docvqa:0-9, gqa:3]", [Ids("docvqa_val", 0, 9), Ids("gqa", 3, 3)]),
    ],
)
def test_a_sample_is_a_benchmark_or_a_task_with_a_number_or_a_range(text, ids):
    assert read_samples(text) == ids


@pytest.mark.parametrize(
    "text", ["docvqa", "docvqa:", "docvqa:x", "docvqa:-1", "docvqa:1-", "17", ":3", "gqa:1:2"]
)
def test_a_sample_of_another_form_is_refused_with_the_forms(text):
    with pytest.raises(
        UserError, match=r"Can't read the sample .*sample=docvqa:17, several as .*sample=docvqa:0-9"
    ):
        read_samples(text)


def test_no_sample_at_all_says_the_forms():
    with pytest.raises(UserError, match=r"No sample is named. Write sample=docvqa:17"):
        read_settings([])


def test_an_unknown_benchmark_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match=r"Unknown benchmark: 'docvqaa'.*Did you mean docvqa\?"):
        read_samples("docvqaa:3")


def test_own_questions_without_their_folder_are_told_what_lacks():
    with pytest.raises(UserError, match=r"Of your own questions, give data\.folder= and data\.metric="):
        read_settings(["sample=my_folder_anls:3"])


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(UserError, match=r"The range 'gqa:9-3' is empty.*gqa:3-9"):
        read_samples("gqa:9-3")


@pytest.mark.parametrize(("first", "last", "missing"), [(240, 240, 240), (999, 999, 999), (230, 250, 240)])
def test_an_id_that_there_is_not_is_refused_with_the_range_and_the_nearest(first, last, missing):
    with pytest.raises(
        UserError, match=rf"no sample {missing}\. Its 240 samples are 0 to 239, .* 237, 238, 239"
    ):
        check_ids(Ids("gqa", first, last), 240)


def test_a_range_holds_both_of_its_ends():
    assert list(check_ids(Ids("gqa", 237, 239), 240)) == [237, 238, 239]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["view=atention"], r"Unknown view: 'atention'.*Did you mean attention\?"),
        (["query=first"], r"Unknown query: 'first'. Allowed: last, text"),
        (["query=text"], r"query=text is of view=attention"),
        (["layers=[1]"], r"layers=\[1\] is of view=attention"),
        (["view=attention", "layers=[-1]"], r"layers=\[-1\] is not allowed: write layers=\[1,2,4\]"),
        (["view=attention", "layers=some"], r"layers=some is not allowed"),
        (["view=attention", "strategy=pdrop"], r"view=attention shows the model without dropping"),
        (["strategy=pdrop,fastvv"], r"Unknown strategy: 'fastvv'.*Did you mean fastv\?"),
        (["fastv_overrides=[strategy.k=3]"], r"Unknown strategy of this command: 'fastv'"),
        (["pdrop_overrides=[model=mini]"], r"'model=mini' is no setting of a strategy"),
        (["pdropp_overrides=[strategy.ratio=1]"], r"Unknown strategy: 'pdropp'"),
        (["tasks=[gqa]"], r"tasks=\[gqa\] can't be given here. What is shown is sample="),
        (["limit=3"], r"limit=3 can't be given here"),
        (["subset=ci64"], r"subset=ci64 can't be given here"),
        (["results=x"], r"results=x can't be given here. No record is written"),
        (["modell=mini"], r"Unknown setting: 'modell'.*Did you mean model\?"),
        (["+model=mini"], r"'\+model=mini' is no setting: write name=value"),
        (["name=a/b"], r"name=a/b can't name files"),
        (["name=a", "sample=gqa:0-1"], r"name=a names the files of one sample"),
        (["out="], r"out= names no folder"),
    ],
)
def test_a_wrong_setting_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        read_settings(["sample=gqa:0", *arguments])


def test_settings_of_the_evaluation_go_to_all_strategies_and_some_to_one():
    read = read_settings(
        [
            "sample=gqa:0,docvqa:2",
            "strategy=pdrop,fastv",
            "model=mini_next_p5",
            "pdrop_overrides=[strategy.ratio=0.4]",
        ]
    )
    common = ["tasks=[gqa,docvqa_val]", "model=mini_next_p5"]
    assert read.overrides("pdrop") == ["strategy=pdrop", *common, "strategy.ratio=0.4"]
    assert read.overrides("fastv") == ["strategy=fastv", *common]
    assert compose_config(read.overrides("pdrop")).strategy.ratio == 0.4


_OF_WHOM = [("", ""), ("pdrop_overrides=[", "]"), ("fastv_overrides=[", "]")]


def test_files_are_named_by_what_changes_the_drawing():
    names = {
        read_settings(["sample=gqa:3", *arguments]).file_name("gqa", 3, "mini")
        for arguments in (
            [], ["strategy=fastv"], ["strategy=pdrop,fastv"], ["strategy.ratio=0.4"], ["downsample=2"],
            ["pdrop_overrides=[strategy.ratio=0.3]"], ["view=attention"], ["view=attention", "query=text"],
            *(["strategy=pdrop,fastv", f"{whose}budget.share=0.5{end}"] for whose, end in _OF_WHOM),
            ["view=attention", "layers=[1,2]"], ["view=attention", "layers=all"],
            ["data.root=/" + "long/" * 30 + "a"], ["suite.name=" + "long/" * 30 + "b"],
        )
    }  # fmt: skip
    assert len(names) == 14  # where the data lie changes nothing
    assert "gqa_3_mini_pdrop" in names
    assert all("/" not in name and len(name) <= 100 for name in names)


def test_help_needs_nothing_and_lists_every_setting(command):
    status, out, err = command("--help")
    assert (status, err) == (0, "")
    config = OmegaConf.load(CONF / "show.yaml")
    assert all(f"{name}:" in out for name in config if name not in ("defaults", "hydra"))
    assert out.strip() == help_text("show").strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample=gqa:6"], "gqa has no sample 6. Its 6 samples are 0 to 5, and the nearest ones 3, 4, 5."),
        (["model=minii"], "Did you mean mini"),
        (
            ["view=attention", "layers=[1,4]"],
            "layers=4 is outside of the model: the 4 layers of mini576 are 0 to 3.",
        ),
        (["strategy.ratio=7"], "ratio"),
        (["strategy=pdrop,fastv", "strategy.k=2"], "strategy=pdrop"),
        (["out=file/in"], "Drawings can't be written to file/in"),
    ],
)
def test_what_is_wrong_is_found_before_a_model_is_opened(
    command, llava, data, monkeypatch, tmp_path, arguments, message
):
    def refuse(*_, **__):
        raise AssertionError("a model was opened")

    monkeypatch.setattr("pdrop_eval.run.lmms.open.open_model", refuse)
    (tmp_path / "file").write_text("")
    given = {"sample": "gqa:0", "model.pretrained": llava, "data.root": data}
    settings = [f"{k}={v}" for k, v in given.items() if not any(a.startswith(f"{k}=") for a in arguments)]
    status, out, err = command(*settings, *arguments)
    assert status == 2, err
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.glob("results/report/show/*.png"))
