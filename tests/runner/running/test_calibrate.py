"""`pdrop-eval-calibrate` on a tiny model: what it writes, what reads it, what it refuses, how it goes on."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import runner_tiny as tiny
import torch

from pdrop_eval.benchmarks.rendered import calibration, suite
from pdrop_eval.records.recipe_file import RecipeFile, read_recipe_file, write_recipe
from pdrop_eval.run.calibrate import plan as plans
from pdrop_eval.run.calibrate.cli import calibrate
from pdrop_eval.run.calibrate.spec import compose_calibration
from pdrop_eval.run.calibrate.text import calibration_text
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.header import make_header
from pdrop_eval.run.evaluate.plan import make_plan
from pdrop_eval.utils.errors import UserError

LAYERS = 7


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A checkpoint that is deep enough for VTW's rule."""
    return tiny.checkpoint(tmp_path_factory.mktemp("deep") / "tiny", layers=LAYERS)


@pytest.fixture(autouse=True, scope="module")
def few_pictures():
    """GQA's pictures stand for all that are evaluated: to render all of them takes seconds."""
    shown = {calibration.pixels_sha256(picture) for picture, _, _ in suite.render("gqa")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "evaluated_pictures", lambda: frozenset(shown))
        yield


def given(checkpoint):
    """Four questions to a tiny checkpoint, which is called as the smallest miniature."""
    return ["model=mini", f"model.pretrained={checkpoint}", "tasks=[gqa]", "limit=4"]


@pytest.fixture
def spec(deep, tmp_path):
    def composed(*overrides, checkpoint=deep):
        return compose_calibration([*given(checkpoint), f"out={tmp_path / 'made'}", *overrides])

    return composed


@pytest.fixture(scope="module")
def found(deep, tmp_path_factory):
    """A recipe of VTW, and its file."""
    folder = tmp_path_factory.mktemp("found")
    document, path = calibrate(compose_calibration([*given(deep), "eta=1000", f"out={folder}"]))
    return document, Path(path)


def test_vtws_k_is_found_and_written_with_where_it_comes_from(found):
    document, path = found
    assert json.loads(path.read_text()) == document == read_recipe_file(path)
    assert (document["strategy"], document["settings"]) == ("vtw", {"k": 5})  # the first that is tried
    assert [one["settings"]["k"] for one in document["tried"]] == [5, 6]
    # 16 image tokens in 5 or 6 of 7 layers
    assert [one["tokens"] for one in document["tried"]] == pytest.approx([16 * 5 / 7, 16 * 6 / 7])
    assert all(one["loss"] > 0 and 0 <= one["agreement"] <= 1 for one in document["tried"])
    assert document["rule"]["settings"] == {"eta": 1000, "first": 5}
    assert (document["model"]["layers"], document["model"]["image_tokens"]) == (LAYERS, 16)
    assert document["questions"] | {"sha256": "", "data_sha256": {}} == {
        "suite": "mini", "source": "rendered", "split": "calibration", "seed": 1, "n": 4, "tasks": {"gqa": 4},
        "sha256": "", "data_sha256": {},
    }  # fmt: skip
    made = document["made"]
    assert {"torch", "transformers", "lmms-eval"} <= made["packages"].keys()
    assert {"version", "commit"} <= made["code"].keys()
    assert made["config"]["eta"] == 1000
    assert [path.name for path in path.parent.iterdir()] == [path.name]  # nothing is left beside it


def test_the_same_command_again_has_nothing_to_do(found, deep, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pdrop_eval.run.calibrate.session", None)
    document, path = found
    same = [*given(deep), f"out={path.parent}", "device=cpu"]
    assert calibrate(compose_calibration([*same, "eta=1000"])) == (document, str(path))
    assert "Nothing to do: the recipe is there." in capsys.readouterr().err
    for other in ("eta=999", "seed=2", "limit=6", "dtype=float16"):
        plan = plans.make_plan(compose_calibration([*same, "eta=1000", other]))
        assert plan.existing() is None
        assert plan.path != path


def test_what_is_printed_fits_80_columns_but_for_the_command(found):
    document, path = found
    lines = calibration_text(document, str(path)).splitlines()
    assert "vtw on mini (7 layers), 4 calibration questions, which no evaluation asks, suite" in lines
    assert lines[4] == "   K      loss +- error    agree  tokens"
    assert sum(line.endswith("<- K") for line in lines) == 1
    assert lines[-1].endswith(f"pdrop-eval strategy=vtw model=mini strategy.recipe={path}")
    assert max(map(len, lines[:-2])) <= 80


def test_a_run_takes_k_from_the_recipe_and_says_so(found, deep, tmp_path):
    _, path = found
    overrides = [f"model.pretrained={deep}", "tasks=[gqa]", "strategy=vtw", f"strategy.recipe={path}"]
    config = compose_spec([*overrides, f"results={tmp_path / 'runs'}"])
    strategy, header, _ = make_header(make_plan(config), "pdrop-eval")
    assert strategy.k == 5
    assert header["strategy"]["fields"]["k"] == 5
    assert header["strategy"]["recipes"] == [
        {
            "strategy": "vtw", "given": str(path), "model": "mini", "layers": LAYERS, "split": "calibration",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    ]  # fmt: skip


def test_a_runs_identity_has_the_recipes_content_and_not_its_place(found, deep, tmp_path):
    _, path = found
    copy = tmp_path / "copy.json"
    copy.write_bytes(path.read_bytes())

    def identity(recipe):
        overrides = [f"model.pretrained={deep}", "tasks=[gqa]", "strategy=vtw", f"strategy.recipe={recipe}"]
        return make_plan(compose_spec([*overrides, f"results={tmp_path / 'runs'}"])).identity

    assert identity(copy) == identity(path)
    copy.write_text(copy.read_text().replace('"k": 5', '"k": 6'))
    assert identity(copy) != identity(path)


def test_a_recipe_of_another_depth_or_model_is_refused_before_torch_is_needed(found, deep, llava, tmp_path):
    _, path = found
    other = tiny.checkpoint(tmp_path / "other", layers=LAYERS)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(
        json.dumps({**config, "text_config": {**config["text_config"], "rms_norm_eps": 1e-4}})
    )

    def plan(checkpoint):
        overrides = [
            f"model.pretrained={checkpoint}",
            "tasks=[gqa]",
            "strategy=vtw",
            f"strategy.recipe={path}",
        ]
        return make_plan(compose_spec([*overrides, f"results={tmp_path / 'runs'}"]))

    with pytest.raises(
        UserError, match=r"strategy\.recipe=.* made for mini, which has 7 layers, and this model"
    ):
        plan(llava)
    with pytest.raises(
        UserError, match=r"made for mini, whose weights are others .*Make one for this model, p"
    ):
        plan(other)


def test_a_model_for_which_no_k_qualifies_is_told_the_smallest_mean(spec):
    with pytest.raises(
        UserError, match=r"the smallest mean divergence is .*, at K=.*, and eta=1e-12 is asked"
    ):
        calibrate(spec("eta=1e-12"))


@pytest.mark.slow
def test_a_search_says_what_it_tried_and_goes_on_where_it_was_interrupted(spec, monkeypatch):
    from pdrop_eval.run.calibrate import search

    asked, really = [], search.ask

    def counted(model, strategy, questions, seed):
        asked.append(strategy)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return really(model, strategy, questions, seed)

    monkeypatch.setattr(search, "ask", counted)
    wanted = spec("strategy=pdrop", "search=true", "budget.tokens=9", "candidates=5")
    with pytest.raises(KeyboardInterrupt):
        calibrate(wanted)  # vanilla and two of five
    assert plans.make_plan(wanted).partial.is_file()
    document, path = calibrate(wanted)
    assert len(asked) == 4 + 1 + 3
    assert not plans.make_plan(wanted).partial.is_file()
    tried = document["tried"]
    assert len(tried) == 5
    assert [one["usual"] for one in tried] == [True, False, False, False, False]
    assert all(one["tokens"] <= 9 for one in tried)
    assert min(tried, key=lambda one: one["loss"])["settings"] == document["settings"]
    assert document["budget"]["asked"] == {"tokens": 9}
    text = calibration_text(document, path)
    assert "budget tokens=9: 5 of " in text
    assert "(what the budget alone gives)" in text
    assert max(map(len, text.splitlines()[:-2])) <= 80
    command = text.splitlines()[-1]
    assert "strategy=pdrop" in command
    assert "strategy.ratios=" in command or tried[0]["settings"] == document["settings"]


@pytest.mark.slow
def test_a_search_finds_the_same_as_one_that_was_not_interrupted(spec, tmp_path):
    one = spec("strategy=fastv", "search=true", "budget.share=0.6", f"out={tmp_path / 'one.json'}")
    document, path = calibrate(one)
    assert path == str(tmp_path / "one.json")
    again, _ = calibrate(replace(one, out=str(tmp_path / "two.json"), batch_size=3))
    assert [entry["settings"] for entry in again["tried"]] == [
        entry["settings"] for entry in document["tried"]
    ]
    losses = [[entry["loss"] for entry in made["tried"]] for made in (document, again)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_the_questions_are_others_than_those_of_the_evaluation(spec, deep):
    from pdrop_eval.run.calibrate import session

    seen = {}
    for split in plans.SPLITS:
        plan = plans.make_plan(spec(f"split={split}", "limit=24"))
        hashes = []

        def note(plan, model, questions, hashes=hashes):
            hashes.extend((question.content_sha256, question.images_sha256) for question in questions)
            raise UserError("enough")

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(session._FIND, "vtw", note)
            with pytest.raises(UserError, match="enough"):
                session.run_calibration(plan)
        seen[split] = hashes
    assert [len(hashes) for hashes in seen.values()] == [24, 24]
    for part in (0, 1):
        ours, theirs = ({pair[part] for pair in seen[split]} for split in plans.SPLITS)
        assert not ours & theirs


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy=pdrop"], r"strategy=pdrop has no rule that is calibrated\. .*: vtw, fitprune"),
        (["strategy=vanilla", "search=true", "budget.tokens=9"], "strategy=vanilla takes no budget, .*pdrop"),
        (["strategy=pdrop", "search=true"], r"search=true needs a budget: .*budget\.tokens=64"),
        (["budget.tokens=9"], r"budget\.tokens=9 is of a search: add search=true"),
        (["strategy=fitprune", "strategy.reduction_ratio=60"], r"reduction_ratio=60 can't be given"),
        (["strategy=fitprune", "strategy.removed=[1,2]"], "can't be given"),
        (["strategy.k=5"], r"strategy\.k=5 can't be given: it says what the calibration is to find"),
        (["strategy.recipe=x.json"], r"strategy\.recipe=x\.json can't be given"),
        (["strategy.preset=128"], r"strategy\.preset=128 can't be given"),
        (["tasks=[gqaa]"], "Unknown task of suite=mini: 'gqaa'.*Did you mean gqa"),
        (["tasks=[]"], r"tasks=\[\] is empty"),
        (["limit=0"], "limit=0 is not allowed: it must be a whole number of at least 1"),
        (["limit=null"], "limit=None is not allowed"),
        (["limit=3", "tasks=[mme]"], "Use an even limit"),
        (["split=train"], "Unknown split: 'train'. Allowed: calibration, evaluation"),
        (["eta=0"], "eta=0 is not allowed: use a number above 0"),
        (["eta=nan"], "eta=nan is not allowed"),
        (["strategy=pdrop", "search=true", "budget.tokens=9", "split=evaluation"], "Use split=calibration"),
        (["suite=paper", "tasks=[gqa]"], "suite=paper has no calibration questions.*split=evaluation"),
        (["data.root=/nowhere"], "data.root=/nowhere has no calibration questions"),
        (["candidates=0"], "candidates=0 is not allowed"),
        (["seed=-1"], "seed=-1 is not allowed"),
        (["strategy=pdrop", "search=true", "budget.tokens=0"], "budget.tokens=0 is not allowed"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_before_torch_is_needed(spec, overrides, words):
    with pytest.raises(UserError, match=words):
        plans.make_plan(spec(*overrides))


@pytest.mark.parametrize(
    "override", ["strategy=vtv", "limt=3", "strategy.kk=3", "experiment=table5", "size=mini"]
)
def test_a_setting_that_there_is_not_is_refused(spec, override):
    with pytest.raises(UserError, match="Unknown"):
        spec(override)


def test_a_model_that_is_too_shallow_is_refused(spec, llava):
    with pytest.raises(UserError, match=r"from 5 to the depth less 1, and this model has 4 layers\. Give K"):
        plans.make_plan(spec(checkpoint=llava))


def test_a_budget_that_is_out_of_reach_is_refused(spec):
    with pytest.raises(UserError, match=r"tokens=1 can't be reached by PyramidDrop"):
        calibrate(spec("strategy=pdrop", "search=true", "budget.tokens=1"))


@pytest.mark.parametrize("content", ["", "[]", '{"format": "pdrop-eval recipe"}'])
def test_what_is_no_recipe_is_not_gone_on_with(spec, tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"mine.json is no recipe that could be gone on with: .*again=true"):
        calibrate(spec("eta=1000", f"out={path}"))
    assert path.read_text() == content


def test_a_recipe_that_its_schema_refuses_is_never_written(found, tmp_path):
    document, _ = found
    with pytest.raises(ValueError, match=r"its field 'model\.layers' is 0, no whole number from 1"):
        write_recipe(tmp_path / "x.json", {**document, "model": {**document["model"], "layers": 0}})
    assert list(tmp_path.iterdir()) == []
    assert RecipeFile.model_json_schema()["required"][:3] == ["format", "version", "strategy"]


def test_lmms_evals_own_command_is_refused_another_model_too(found, deep, tmp_path):
    from pdrop_eval.run.lmms.model import PdropLlava

    _, path = found
    assert PdropLlava(str(deep), "vtw", recipe=str(path), device="cpu").strategy.k == 5
    other = tmp_path / "other"
    shutil.copytree(deep, other)
    (other / "added.json").write_text("{}")
    with pytest.raises(UserError, match="whose weights are others"):
        PdropLlava(str(other), "vtw", recipe=str(path), device="cpu")
    with pytest.raises(UserError, match=r"vtw\.recipe=.* says k=5, and vtw\.k=6 is given|says k=5, and k=6"):
        PdropLlava(str(deep), "vtw", recipe=str(path), k=6, device="cpu")


def test_a_combination_with_a_recipe_is_told_apart_by_its_content(found):
    document, path = found
    from pdrop_eval.records.run_identity import shared_settings
    from pdrop_eval.strategies.make import instantiate_strategy, settings_of

    settings = settings_of("visionzip+vtw", {"vtw.recipe": str(path)})
    assert instantiate_strategy(settings).second.k == document["settings"]["k"]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert shared_settings({"strategy": settings})["strategy"]["vtw.recipe"] == sha256


def test_fitprunes_recipe_is_found_and_read(spec, deep, tmp_path):
    out = tmp_path / "made.json"
    document, path = calibrate(spec("strategy=fitprune", "ratio=40", f"out={out}"))
    removed = document["settings"]["removed"]
    assert len(removed) == LAYERS
    assert 0 < sum(removed) <= 16
    found = document["rule"]["found"]
    assert found["cost"] == pytest.approx(0.6, abs=0.1)  # whole tokens of 16, rounded down
    assert removed == [int(mean + 1e-9) for mean in found["means"]]
    assert document["tried"][0]["settings"] == {"alpha": 0.5}
    text = calibration_text(document, path)
    assert f"image tokens removed after each layer: {' '.join(map(str, removed))}" in text.splitlines()
    assert max(map(len, text.splitlines()[:-2])) <= 80
    overrides = [f"model.pretrained={deep}", "tasks=[gqa]", "strategy=fitprune", f"strategy.recipe={path}"]
    config = compose_spec([*overrides, f"results={tmp_path / 'runs'}"])
    strategy, header, _ = make_header(make_plan(config), "pdrop-eval")
    assert list(strategy.removed) == removed
    assert header["strategy"]["recipes"][0]["strategy"] == "fitprune"


@pytest.mark.slow
def test_a_batch_does_not_change_the_masses(spec, tmp_path):
    alphas = []
    for size in (1, 4):
        made, _ = calibrate(
            spec("strategy=fitprune", "ratio=30", f"batch_size={size}", f"out={tmp_path / str(size)}")
        )
        alphas.append((made["settings"], made["rule"]["found"]["alpha"]))
    assert alphas[0] == alphas[1]


def test_fitprune_refuses_images_with_different_numbers_of_tokens(spec, monkeypatch):
    from pdrop_eval.run.calibrate import fitprune
    from pdrop_eval.run.calibrate.rules.fitprune import Masses

    uneven = [Masses(torch.ones(7, n), torch.ones(7, n)) for n in (16, 48)]
    monkeypatch.setattr(fitprune, "masses", lambda *_: uneven)
    with pytest.raises(UserError, match=r"these questions have between 16 and 48\. Use a model"):
        calibrate(spec("strategy=fitprune"))


@pytest.mark.parametrize("ratio", ["0", "100", "-3", "nan", "x"])
def test_a_ratio_that_can_not_be_is_refused(spec, ratio):
    with pytest.raises(UserError, match=f"ratio={ratio} is not allowed: it is the percentage of FLOPs"):
        plans.make_plan(spec("strategy=fitprune", f"ratio={ratio}"))


def test_the_doctor_finds_a_recipe_of_another_model(found, deep, tmp_path):
    from pdrop_eval.run.doctor.cli import _settings

    _, path = found
    other = tmp_path / "other"
    shutil.copytree(deep, other)
    (other / "added.json").write_text("{}")
    said = []
    for checkpoint in (deep, other):
        overrides = [f"model.pretrained={checkpoint}", "strategy=vtw", f"strategy.recipe={path}"]
        said.append([(one.status, one.text) for one in _settings(compose_spec(overrides))])
    assert said[0] == [("ok", "strategy, model and run are consistent")]
    assert said[1][0][0] == "FAIL"
    assert "whose weights are others" in said[1][0][1]


def test_a_batch_that_is_too_large_is_halved_or_named(spec, monkeypatch):
    from pdrop_eval.benchmarks.sample_errors import SampleError
    from pdrop_eval.run.calibrate import questions

    sizes, really = [], questions.first_token

    def full(model, strategy, batch, seed):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return really(model, strategy, batch, seed)

    monkeypatch.setattr(questions, "first_token", full)
    document, _ = calibrate(spec("eta=1000", "batch_size=auto"))
    assert document["settings"] == {"k": 5}
    assert sizes == [4, 2, 2, 2, 2, 2, 2]  # vanilla, then K = 5 and 6
    with pytest.raises(
        SampleError, match=r"task gqa, samples .* can't be answered: .*Use a smaller batch_size"
    ):
        calibrate(spec("eta=1000", "batch_size=4", "again=true"))
