"""The family: who its members are, how they are trained, and what is shipped of them."""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pdrop_eval.records.rows.training_info import Training, differences
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, MINI_CHECKPOINTS
from pdrop_eval.utils.presets import DEFAULT_SIZE, model_configs
from tools.mini import family
from tools.mini.family import FAMILY
from tools.mini.training.model import build_model, build_processor


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained miniature in bfloat16."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    build_model().to(torch.bfloat16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def trained(weights, tmp_path):
    """Writes a finished training of a member to `tmp_path / "work"`."""

    def write(name, **changes):
        member, folder = FAMILY[name], tmp_path / "work" / name
        shutil.copytree(weights, folder)
        (folder / "instruct").mkdir()
        strategy = {"name": "vanilla"} if member.ratio is None else {"name": "pdrop", "ratio": member.ratio}
        phase = {"name": "instruct", "steps": 2, "samples": 32, "losses": [[1, 0.5], [2, 0.25]]}
        phase |= {"identity": {"seed": 0}, "seed": 0, "data": [], **changes}
        record = {
            "name": name,
            "strategy": strategy,
            "base": {"pretrained": f"somewhere/{member.start}", "sha256": f"hash of {member.start}"},
            "phases": [phase],
        }
        (folder / "training_record.json").write_text(json.dumps(record))
        return folder

    return write


@pytest.fixture
def dirs(tmp_path):
    """Where trainings are, and where members are shipped to."""
    return tmp_path / "work", tmp_path / "shipped"


def test_the_members_are_the_models_of_the_tables():
    """Each is read by a model, and each model of the miniatures' size reads one."""
    models = {name: model for name, model in model_configs().items() if model["size"] == DEFAULT_SIZE}
    assert {model["pretrained"] for model in models.values()} == {f"embedded:{name}" for name in FAMILY}
    for name in models:
        model = compose_config([f"model={name}"]).model
        member = FAMILY[model.pretrained.removeprefix("embedded:")]
        assert (model.train, model.train_ratio) == ("pdrop" if member.ratio else "vanilla", member.ratio)
        assert model.architecture == ("llava-next" if member.grids else "llava-1.5")
    for member in FAMILY.values():
        assert (CONF / "recipe" / f"{member.recipe}.yaml").is_file()
        assert (CONF / "model" / f"{member.model}.yaml").is_file()
        assert family._DATA_OF[member.recipe] in family.RENDERED


def test_members_of_an_architecture_differ_in_their_strategy_alone():
    for member in FAMILY.values():
        vanilla = FAMILY[member.name.partition("_pdrop")[0]]
        assert (member.recipe, member.grids) == (vanilla.recipe, vanilla.grids)
        start = family.FAMILY.get(member.start)
        assert start is None or start.ratio == member.ratio


def test_a_member_is_shipped_where_its_model_is_read():
    assert family.shipped("mini576") == MINI_CHECKPOINTS / "mini576"
    assert family.shipped("mini576_next_pdrop_05") == MINI_CHECKPOINTS / "mini576_next_pdrop_05"


def test_the_command_line_says_all(tmp_path):
    line = family.command(FAMILY["mini576_pdrop_05"], "there", tmp_path, ["seed=3"])
    assert line[1:] == [
        "-m", "pdrop_eval.run.train.cli", "model=mini576", "model.pretrained=there", "recipe=mini576",
        "phases=[instruct]", "strategy=pdrop", "strategy.ratio=0.5",
        f"output={tmp_path / 'mini576_pdrop_05'}", "seed=3",
    ]  # fmt: skip
    line = family.command(FAMILY["mini576_next"], "there", tmp_path)
    assert line[3:6] == ["model=mini576_next_p9", "model.pretrained=there", "recipe=mini576_next"]
    assert "strategy=vanilla" in line


def test_what_is_missing_is_planned_with_what_it_starts_from(trained, dirs):
    names = [member.name for member in family.plan(["mini576_next_pdrop_05"], *dirs)]
    assert names == ["mini576_pdrop_05", "mini576_next_pdrop_05"]
    trained("mini576_pdrop_05")
    names = [member.name for member in family.plan(["mini576_next_pdrop_05"], *dirs)]
    assert names == ["mini576_next_pdrop_05"]
    assert [member.name for member in family.plan([], *dirs)] == [
        "mini576", "mini576_next", "mini576_next_pdrop_05",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"member of the family: 'mini576_05'.*mini576_pdrop_05"):
        family.plan(["mini576_05"], *dirs)


def test_what_is_shipped_is_trained_again_when_asked_to(trained, dirs):
    work, root = dirs
    made = trained("mini576")
    family.export(FAMILY["mini576"], work, root)
    shutil.rmtree(made)
    assert family.plan(["mini576"], work, root) == []
    assert family.plan(["mini576"], work, root, again=True) == [FAMILY["mini576"]]
    assert family.plan(["mini576_next"], work, root, again=True) == [FAMILY["mini576_next"]]


def test_a_llava_next_begins_with_the_llava_of_its_own_strategy(trained, dirs):
    trained("mini576_pdrop_05")
    start = family.start_of(FAMILY["mini576_next_pdrop_05"], *dirs)
    assert start == str(dirs[0] / "mini576_next_pdrop_05_start")
    config = json.loads((Path(start) / "config.json").read_text())
    assert config["model_type"] == "llava_next"
    assert len(config["image_grid_pinpoints"]) == 19  # up to eight tiles
    assert family.start_of(FAMILY["mini576"], *dirs) == str(family.STARTS / "mini576_base")
    with pytest.raises(UserError, match="begins with mini576, which isn't trained"):
        family.start_of(FAMILY["mini576_next"], *dirs)


def test_an_export_has_weights_record_and_log_and_nothing_of_another_training(trained, dirs):
    work, root = dirs
    made = trained("mini576_pdrop_05")
    folder = family.shipped("mini576_pdrop_05", root)
    folder.mkdir(parents=True)
    (folder / "curve.svg").write_text("of another one")
    assert family.export(FAMILY["mini576_pdrop_05"], work, root) == folder
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in made.iterdir() if path.is_file()} | {"training_log.jsonl"}
    found = load_file(folder / "model.safetensors")
    assert all(torch.equal(v, found[k]) for k, v in load_file(made / "model.safetensors").items())
    lines = (folder / "training_log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"phase": "instruct", "step": 1, "loss": 0.5},
        {"phase": "instruct", "step": 2, "loss": 0.25},
    ]
    record = json.loads((folder / "training_record.json").read_text())
    assert record["base"] == {"name": "mini576_base", "sha256": "hash of mini576_base"}
    assert not {"losses", "identity"} & record["phases"][0].keys()


def test_the_chain_of_trainings_is_in_the_record_and_makes_a_fair_pair(trained, dirs):
    work, root = dirs
    records = []
    for end in ("", "_pdrop_05"):
        for name in ("mini576", "mini576_next"):
            trained(name + end)
            family.export(FAMILY[name + end], work, root)
        path = family.shipped(f"mini576_next{end}", root) / "training_record.json"
        records.append(Training.of(json.loads(path.read_text())))
    assert records[1].start.startswith("mini576_pdrop_05 as LLaVA-NeXT p9")
    assert records[1].before.start.startswith("mini576_base")
    assert differences(records) == []


def test_settings_that_a_training_left_are_put_right(trained, dirs):
    made = trained("mini576")
    for name, change in (
        ("tokenizer_config.json", {"padding_side": "right", "is_local": True}),
        ("config.json", {"dtype": "float32"}),
    ):
        (made / name).write_text(json.dumps({**json.loads((made / name).read_text()), **change}))
    folder = family.export(FAMILY["mini576"], *dirs)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["padding_side"] == "left"
    assert "is_local" not in settings
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "bfloat16"


def test_only_bfloat16_is_shipped(trained, dirs):
    folder = trained("mini576")
    build_model().save_pretrained(folder)
    with pytest.raises(UserError, match=r"are F32; .* save_dtype=bfloat16"):
        family.export(FAMILY["mini576"], *dirs)


def options(dirs, **changes):
    work, root = dirs
    return argparse.Namespace(work=work, out=root, processes=1, no_cards=True, again=False, **changes)


def test_the_command_trains_what_is_missing_and_exports_what_is_new(trained, dirs, monkeypatch, capsys):
    lines = []

    def run(line, check):
        lines.append(line)
        trained("mini576_pdrop_05")
        return subprocess.CompletedProcess(line, 0)

    monkeypatch.setattr(family, "render_data", lambda *_: None)
    monkeypatch.setattr(subprocess, "run", run)
    family.run(["mini576_pdrop_05"], ["seed=3"], options(dirs))
    assert [line[-1] for line in lines] == ["seed=3"]
    assert family.is_trained(family.shipped("mini576_pdrop_05", dirs[1]))
    family.run(["mini576_pdrop_05"], [], options(dirs))
    assert len(lines) == 1
    assert "Nothing to do" in capsys.readouterr().out


def test_a_training_that_fails_ends_the_command(dirs, monkeypatch):
    monkeypatch.setattr(family, "render_data", lambda *_: None)
    monkeypatch.setattr(subprocess, "run", lambda line, check: subprocess.CompletedProcess(line, 2))
    with pytest.raises(UserError, match="mini576_pdrop_05 ended with status 2"):
        family.run(["mini576_pdrop_05"], [], options(dirs))
