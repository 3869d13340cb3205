"""Recipes and ways to share a model: every YAML composes, and the 7B recipes have the published values."""

import json

import pytest
from hydra import compose, initialize_config_dir
from transformers import TrainingArguments

from pdrop_eval import UserError
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.train.config.spec import compose_training, make_spec
from pdrop_eval.run.train.estimate.dry_run import check_settings
from pdrop_eval.run.train.machine.distributed import arguments, deepspeed_config, sharding
from pdrop_eval.utils.distributed import join_slurm_job
from pdrop_eval.utils.paths import CONF, options


@pytest.mark.parametrize("name", options("recipe"))
def test_a_recipe_composes_and_has_the_keys_of_the_others(name):
    config = compose_config([f"recipe={name}"], "train")
    check_settings(make_spec(config, "pdrop"))
    mini = compose_config([], "train").recipe
    assert config.recipe.name == name
    assert {*config.recipe} - {"devices"} == {*mini} - {"devices"}
    for phase in ("pretrain", "instruct"):
        assert list(config.recipe[phase]) == list(mini[phase])


PUBLISHED = {
    # LLaVA, scripts/v1_5/pretrain.sh and finetune.sh
    ("llava_1_5_7b", "pretrain"): ["plain", ["projector"], 256, 1e-3, None, 2048],
    ("llava_1_5_7b", "instruct"): ["vicuna", ["projector", "decoder"], 128, 2e-5, None, 2048],
    # Open-LLaVA-NeXT, README.md
    ("llava_next_7b", "pretrain"): ["plain", ["projector"], 256, 1e-3, None, 4096],
    ("llava_next_7b", "instruct"): ["vicuna", ["vision", "projector", "decoder"], 128, 2e-5, 2e-6, 4096],
}


@pytest.mark.parametrize(("recipe", "phase"), PUBLISHED)
def test_the_published_values(recipe, phase):
    config = compose_training([f"recipe={recipe}", f"model={recipe}"])
    settings = config.phase(phase)
    keys = ("template", "train", "batch_size", "learning_rate", "vision_learning_rate", "max_length")
    assert [settings.to_dict()[key] for key in keys] == PUBLISHED[recipe, phase]
    assert (settings.epochs, settings.steps) == (1, None)
    assert (settings.schedule, settings.warmup_ratio, settings.weight_decay) == ("cosine", 0.03, 0)
    assert settings.projector_learning_rate is None  # the others' rate
    assert (config.gradient_checkpointing, config.dtype) == (True, "bfloat16")
    assert settings.batch_size % (settings.per_device_batch * config.recipe.devices) == 0


def distributed(name, *overrides):
    return compose_training([f"distributed={name}", *overrides]).distributed


SHARDING = {
    "none": (False, False, False),
    "zero2": (False, True, True),
    "zero3": (True, True, True),
    "fsdp": (True, True, True),
}


@pytest.mark.parametrize("name", options("distributed"))
def test_a_way_to_share_a_model_composes(name):
    config = distributed(name)
    assert config.name == name
    assert sharding(config) == SHARDING[name]


def test_the_trainer_takes_the_settings_of_fsdp(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    given = arguments(distributed("fsdp"))
    # on the CPU accelerate does without it, but all is read and checked
    settings = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **given)
    plugin = settings.fsdp_plugin_args
    assert plugin["fsdp_version"] == 2
    assert plugin["reshard_after_forward"] is True
    assert plugin["transformer_cls_names_to_wrap"] == "LlamaDecoderLayer,CLIPEncoderLayer"


@pytest.mark.parametrize(("name", "stage"), [("zero2.json", 2), ("zero3.json", 3)])
def test_deepspeeds_files_leave_to_the_trainer_what_it_knows(name, stage):
    config = deepspeed_config(name)
    assert config["zero_optimization"]["stage"] == stage
    for key in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert config[key] == config["gradient_clipping"] == config["bf16"]["enabled"] == "auto"
    assert "optimizer" not in config  # with a learning rate for each part
    assert "scheduler" not in config


def test_a_deepspeed_file_of_ones_own(monkeypatch, tmp_path):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"zero_optimization": {"stage": 1}}))
    config = distributed("zero2", f"distributed.deepspeed={own}")
    assert sharding(config) == (False, False, True)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("pdrop_eval.run.train.machine.distributed.find_spec", lambda name: object())
    assert arguments(config)["deepspeed"] == {"zero_optimization": {"stage": 1}}


def test_what_can_not_be_there(monkeypatch, tmp_path):
    monkeypatch.delenv("RANK", raising=False)
    assert arguments(distributed("none"), on_gpu=False) == {
        "deepspeed": None, "fsdp": False, "fsdp_config": None,
    }  # fmt: skip
    with pytest.raises(UserError, match="torchrun"):
        arguments(distributed("fsdp"))
    with pytest.raises(UserError, match="needs GPUs"):
        arguments(distributed("fsdp"), on_gpu=False)
    with pytest.raises(UserError, match="two ways"):
        arguments(distributed("zero2", "distributed.fsdp=true"))
    monkeypatch.setattr("pdrop_eval.run.train.machine.distributed.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'pdrop-eval\[deepspeed\]'"):
        arguments(distributed("zero2"))
    with pytest.raises(UserError, match=r"zero2\.json, zero3\.json"):
        deepspeed_config("zero4.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="no valid JSON"):
        deepspeed_config(str(tmp_path / "broken.json"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match="no JSON object"):
        deepspeed_config(str(tmp_path / "list.json"))


@pytest.mark.parametrize("entry", ["train", "evaluate"])
def test_runs_can_be_sent_to_slurm(entry):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(entry, overrides=["hydra/launcher=slurm"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.gpus_per_node == launcher.tasks_per_node == 8
    assert launcher.max_num_timeout > 0
    assert launcher.submitit_folder == "results/slurm/%j"


def test_a_process_of_slurm_knows_which_one_it_is(monkeypatch):
    pytest.importorskip("submitit")
    variables = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in ("SUBMITIT_EXECUTOR", *variables):
        monkeypatch.delenv(name, raising=False)
    environment = {}
    monkeypatch.setattr("os.environ", environment)
    join_slurm_job()
    assert environment == {}
    environment |= {
        "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "12", "SLURM_NTASKS": "16", "SLURM_PROCID": "9",
        "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]",
    }  # fmt: skip
    join_slurm_job()
    found = [environment[name] for name in variables[:5]]
    assert found == ["9", "16", "1", "8", "n1"]
    assert "CUDA_VISIBLE_DEVICES" not in environment
    before = dict(environment)
    join_slurm_job()
    assert environment == before
