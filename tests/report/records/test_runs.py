"""From records to runs: the row a run belongs to, what is not the default, and which of several counts."""

import re

import pytest
from report_records import FIELDS, LLAVA_15, NEXT_P5, edit

from pdrop_eval.records.rows.frame import to_frame
from pdrop_eval.records.rows.overrides import changes_from_default
from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.records.rows.run import pick, to_runs, unlike
from pdrop_eval.records.run_identity import code_sha256
from pdrop_eval.records.store import load_records
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, PACKAGE
from pdrop_eval.utils.presets import presets


def test_changes_are_written_as_overrides():
    config = {
        "strategy": {
            "_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop",
            "ratio": None,
            "stages": 4,
            "layers": [8, 16],
        },
        "seed": 3,
        "device": "cuda",
    }
    assert changes_from_default(config) == ["strategy.ratio=null", "strategy.layers=[8,16]", "seed=3"]


def test_a_preset_of_a_strategy_differs_from_the_file_of_the_strategys_name(tmp_path):
    """`aggressive` sorts before `pdrop`, and must not be what plain pdrop is compared with."""
    target = "_target_: pdrop_eval.strategies.pyramiddrop.PyramidDrop\n"
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "aggressive.yaml").write_text(f"{target}ratio: 0.3\nstages: 4\n")
    (tmp_path / "strategy" / "pdrop.yaml").write_text(f"{target}ratio: 0.5\nstages: 4\n")
    files = presets("strategy", tmp_path)
    assert changes_from_default({"strategy": files["pdrop"]}, tmp_path) == []
    assert changes_from_default({"strategy": files["aggressive"]}, tmp_path) == ["strategy.ratio=0.3"]


def test_the_shipped_strategies_have_the_papers_settings():
    strategies = presets("strategy", CONF)
    assert (strategies["fastv"]["k"], strategies["fastv"]["r"]) == (2, 0.5)
    assert (strategies["pdrop"]["ratio"], strategies["pdrop"]["stages"]) == (0.5, 4)


def test_a_suites_place_is_no_change_but_its_prompt_is(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "s.yaml").write_text("name: s\nroot: null\ntextvqa_ocr: true\ntasks: [a, b]\n")
    config = {"suite": {"name": "s", "root": "/data", "textvqa_ocr": False, "tasks": ["a"]}}
    assert changes_from_default(config, tmp_path) == ["suite.textvqa_ocr=false"]


def test_a_users_folder_for_a_checkpoint_of_his_own_is_no_change(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "trained.yaml").write_text("name: trained\npretrained: checkpoints/trained\n")
    (tmp_path / "model" / "hub.yaml").write_text("name: hub\npretrained: org/hub\n")
    mine = {"pretrained": "/data/mine"}
    assert changes_from_default({"model": {"name": "trained", **mine}}, tmp_path) == []
    assert changes_from_default({"model": {"name": "hub", **mine}}, tmp_path) == [
        "model.pretrained=/data/mine"
    ]


def test_a_config_file_takes_over_what_its_defaults_say(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "base.yaml").write_text("name: base\nthreads: 1\n")
    (tmp_path / "model" / "other.yaml").write_text("defaults: [base, _self_]\nname: other\n")
    assert presets("model", tmp_path)["other"] == {"name": "other", "threads": 1}


def test_a_run_belongs_to_the_row_of_its_model_training_and_strategy(add_run, runs):
    kind = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.4}
    add_run("pdrop", {"gqa": 60.0}, kind=kind, fields={"ratio": 0.4})
    add_run("fastv", {"gqa": 60.0})
    keys = {run.key for run in runs()}
    assert keys == {
        RowKey("llava-1.5", 1, "pdrop", 0.4, "pdrop", 0.4),
        RowKey("llava-1.5", 1, "vanilla", None, "fastv", None),
    }


@pytest.mark.parametrize(
    ("strategy", "fields", "settings", "label"),
    [
        ("fastv", {"k": 3}, "strategy.k=3", "FastV K=3"),
        ("fastv", {"r": 0.75}, "strategy.r=0.75", "FastV R=0.75"),
        ("pdrop", {"stages": 3}, "strategy.stages=3", "PDrop S=3"),
    ],
)
def test_other_settings_than_the_papers_make_a_row_of_their_own(
    add_run, runs, strategy, fields, settings, label
):
    add_run(strategy, {"gqa": 60.0}, fields=fields)
    ((key),) = [run.key for run in runs()]
    assert (key.settings, key.inferred) == ((settings,), label)


def test_a_record_says_what_its_strategy_is_called_and_what_was_not_the_default(add_run, runs):
    said = {
        "strategy": {"name": "theirs", "display_name": "Theirs", "fields": {"keep": 64, "p": None},
                     "label_fields": ["N={keep}", "p={p}"], "series_style": {"color": "red"}},
        "changes": ["strategy.keep=64", "dtype=float16"],
    }  # fmt: skip
    edit(add_run("theirs", {"gqa": 60.0}), lambda record: record.update(said))
    (run,) = runs()
    assert (run.key.inferred, run.deviations) == ("Theirs N=64", ["dtype=float16"])
    assert run.info.series_style is None  # it lacks what a figure needs


def test_a_model_with_other_patches_than_it_was_trained_with_belongs_to_no_row(add_run, runs):
    add_run("vanilla", {"gqa": 60.0}, kind={**NEXT_P5, "patches": 9, "train_patches": 5})
    add_run("vanilla", {"gqa": 60.0}, kind={**NEXT_P5, "train_patches": 5})
    assert {run.key for run in runs()} == {None, RowKey("llava-next", 5, "vanilla", None, "vanilla", None)}


@pytest.mark.parametrize("lacking", ["architecture", "patches", "train"])
def test_a_model_of_which_too_little_is_known_belongs_to_no_row(add_run, runs, lacking):
    add_run("fastv", {"gqa": 60.0}, kind={**LLAVA_15, lacking: None})
    assert [run.key for run in runs()] == [None]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"seed": 7}, {"limit": 64}),
        ({"limit": 64}, {"limit": 32}),
        ({"seed": 7}, {"seed": 7, "dtype": "float16"}),
        ({}, {"seed": 7}),
    ],
)
def test_of_changed_runs_the_one_nearest_to_the_default_counts(add_run, runs, better, worse):
    add_run("pdrop", {"gqa": 11.0, "pope": 11.0}, **worse)
    expected = add_run("pdrop", {"gqa": 22.0}, **better)
    add_run("pdrop", {"gqa": 33.0}, **worse, batch_size=4)
    chosen, others = pick(runs(), ["gqa", "pope"])
    assert chosen.id == expected.folder.name
    assert len(others) == 2


def test_of_equal_runs_the_more_complete_then_the_newer_counts(add_run, runs):
    for commit, created, scores in (
        ("a", "2026-01-01", {"gqa": 1.0, "pope": 1.0}),
        ("b", "2026-01-02", {"gqa": 2.0, "pope": 2.0}),
        ("d", "2026-01-03", {"gqa": 3.0, "mme": 3.0}),
    ):
        run = add_run("fastv", scores, commit=commit * 40)
        edit(run, lambda record, day=created: record.update(created=f"{day}T00:00:00+00:00"))
    chosen, others = pick(runs(), ["gqa", "pope"])
    assert chosen.results["gqa"]["score"] == 2.0
    assert [run.results["gqa"]["score"] for run in others] == [1.0, 3.0]


def test_a_run_without_any_of_the_benchmarks_does_not_count(add_run, runs):
    add_run("fastv", {"mme": 1000.0})
    assert pick(runs(), ["gqa"]) == (None, [])


def copy_of(run, change):
    """The run's record once more, in another folder."""
    copy = run.folder.with_name("copied")
    copy.mkdir()
    (copy / "record.json").write_bytes((run.folder / "record.json").read_bytes())
    run.folder = copy
    edit(run, change)


def test_two_records_of_one_run_that_contradict_each_other_are_refused_with_both_names(add_run, runs):
    run = add_run("fastv", {"gqa": 60.0})
    first = run.folder
    copy_of(run, lambda record: record["tasks"]["gqa"].update(score=61.0))
    with pytest.raises(
        UserError, match=r"in gqa: .*copied says 61\.0, .* says 60\.0\. Move the one"
    ) as caught:
        runs()
    assert str(first) in str(caught.value)
    assert str(run.folder) in str(caught.value)


def test_a_plain_copy_of_a_record_changes_nothing(add_run, runs):
    run = add_run("fastv", {"gqa": 60.0})
    copy_of(run, lambda record: None)
    assert [found.results["gqa"]["score"] for found in runs()] == [60.0, 60.0]


def test_figures_per_question_are_weighed_by_the_questions(add_run, runs):
    run = add_run("pdrop", {"gqa": 60.0, "pope": 80.0, "mme": 1000.0})
    edit(run, lambda record: record["tasks"]["gqa"].update(n=100, tflops_mean=2.0, image_tokens_max=9))
    edit(run, lambda record: record["tasks"]["pope"].update(n=300, tflops_mean=4.0, image_tokens_max=7))
    (found,) = runs()
    assert found.mean("tflops_mean", ["gqa", "pope"]) == 3.5  # (100 * 2 + 300 * 4) / 400
    assert found.most("image_tokens_max", ["gqa", "pope"]) == 9
    assert found.mean("tflops_mean", ["docvqa"]) is None


def test_the_frame_has_a_row_for_each_finished_benchmark(add_run, tmp_path):
    add_run("fastv", {"gqa": 60.0, "pope": 80.0}, seed=7)
    add_run("vanilla", {})
    frame = to_frame(load_records(tmp_path / "runs"))
    assert frame["benchmark"].tolist() == ["gqa", "pope"]
    assert frame["task"].tolist() == ["gqa", "pope"]
    assert frame["score"].tolist() == [60.0, 80.0]
    assert frame.loc[0, ["strategy", "model", "size", "changes", "n"]].tolist() == [
        "fastv",
        "mini576",
        "mini576",
        "seed=7",
        200,
    ]


def test_the_frame_of_no_records_is_empty_but_has_its_columns():
    assert to_frame([]).empty
    assert "tflops_mean" in to_frame([]).columns
    assert to_runs([]) == []


def made_by(run, code, day):
    """A record of that code (its hashes) and day."""

    def change(record):
        record["identity"]["code"] = code
        record["created"] = f"2026-01-{day:02}T00:00:00+00:00"

    edit(run, change)


@pytest.mark.parametrize("days", [(1, 2), (2, 1)])
def test_of_equal_runs_the_one_of_the_installed_code_counts_before_the_newest(add_run, runs, days):
    now, then = add_run("pdrop", {"gqa": 60.0}), add_run("pdrop", {"gqa": 50.0}, commit="d" * 40)
    made_by(now, code_sha256(FIELDS["pdrop"]["_target_"]), days[0])
    made_by(then, {"sha256": "0" * 64}, days[1])
    chosen, (other,) = pick(runs(), ["gqa"])
    assert chosen.id == now.folder.name
    assert unlike(other, chosen) == "other code"


def test_the_installed_code_does_not_outweigh_more_questions_or_the_default_settings(add_run, runs):
    default = add_run("pdrop", {"gqa": 60.0})
    made_by(default, {"sha256": "0" * 64}, 1)
    made_by(add_run("pdrop", {"gqa": 50.0}, limit=8), code_sha256(FIELDS["pdrop"]["_target_"]), 2)
    made_by(add_run("pdrop", {"gqa": 40.0}, seed=7), code_sha256(FIELDS["pdrop"]["_target_"]), 2)
    chosen, others = pick(runs(), ["gqa"])
    assert chosen.id == default.folder.name
    assert [unlike(other, chosen) for other in others] == [
        "seed=7, the code that is installed now",
        "limit=8, the code that is installed now",
    ]


def test_what_is_unlike_is_told_in_words(add_run, runs):
    add_run("pdrop", {"gqa": 60.0, "pope": 60.0}, seed=7)
    second = add_run("pdrop", {"gqa": 61.0}, limit=16, commit="d" * 40, model="mini576_too")
    edit(second, lambda record: record["identity"].update(packages={"torch": "1"}))
    third = add_run("pdrop", {"gqa": 61.0, "pope": 60.0}, seed=7, commit="e" * 40)
    edit(third, lambda record: record.update(created="2020-01-02T00:00:00+00:00"))
    edit(third, lambda record: record["identity"].update(packages={"torch": "2"}))
    found = {run.limit or run.record["created"][:4]: run for run in runs()}
    (first,) = [run for key, run in found.items() if key not in (16, "2020")]
    limited, old = found[16], found["2020"]
    assert unlike(limited, first) == "model=mini576_too, limit=16, without seed=7, less complete"
    assert unlike(first, limited) == "model=mini576, all questions, seed=7"
    assert (
        unlike(limited, old) == "model=mini576_too, limit=16, without seed=7, other packages, less complete"
    )
    assert unlike(old, first) == "older: 2020-01-02"


def test_a_changed_preset_changes_no_row_of_a_record(add_run, runs, monkeypatch):
    def recorded(record):
        fields = record["config"].pop("strategy")
        fields.pop("_target_")
        record["strategy"] |= {"fields": fields}
        record["changes"] = []

    edit(add_run("pdrop", {"gqa": 60.0}), recorded)
    other = {
        "pdrop": {"_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop", "ratio": 0.4, "stages": 8}
    }
    monkeypatch.setattr("pdrop_eval.records.rows.overrides.presets", lambda *_: other)
    (run,) = runs()
    assert (run.key.ratio, run.key.settings, run.key.inferred) == (0.5, (), "PDrop")


def test_tables_figures_and_the_site_open_no_file_of_conf():
    """What was run, the record says. `bench`, `compare` and `show` run things: they read their settings."""
    folders = ("tables", "figures", "formats", "findings", "paired", "readme", "site")
    files = [path for name in folders for path in sorted((PACKAGE / "report" / name).rglob("*.py"))]
    assert len(files) > 40
    opening = re.compile(r"\bCONF\b|omegaconf")
    assert [path for path in files if opening.search(path.read_text(encoding="utf-8"))] == []
