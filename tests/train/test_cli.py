"""The command line: wrong settings end with one message, before torch is loaded."""

import json
import os
import subprocess
import sys

import pytest

from pdrop_eval.utils.paths import MINI_CHECKPOINTS

FIRST = "phases=[instruct]"


def command(*arguments, cwd=None):
    # An import of torch would be an error here: every wrong setting must be found without it.
    code = (
        "import sys; sys.modules['torch'] = None; from pdrop_eval.run.train.cli import main; "
        "sys.argv = ['pdrop-eval-train', *sys.argv[1:]]; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def test_help_needs_no_torch():
    done = command("--help")
    assert done.returncode == 0, done.stderr
    assert "pdrop-eval-train" in done.stdout
    assert "recipe: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["recipe=llava_1_5_7B"], "Unknown recipe: 'llava_1_5_7B'", "Did you mean llava_1_5_7b?"),
        (["stratgy=pdrop"], "Unknown setting: 'stratgy'", "Did you mean strategy?"),
        (["recipe.instruct.lr=1e-3"], "Unknown setting of recipe=mini: 'lr'", "learning_rate"),
        (["phases=[instruct,pretrain]"], "phases=['instruct', 'pretrain'] is not allowed", "in this order"),
        ([FIRST, "dtype=float8"], "Unknown dtype: 'float8'", "bfloat16"),
        ([FIRST, "recipe.instruct.train=[decoder,eyes]"], "'eyes'", "vision, projector, decoder"),
        ([FIRST, "recipe.instruct.template=chat"], "'chat'", "plain, checkpoint, vicuna"),
        ([FIRST, "recipe.instruct.batch_size=20"], "batch_size=20", "Use a multiple of 16"),
        ([FIRST, "recipe.instruct.learning_rate=2"], "learning_rate=2", "below 1"),
        ([FIRST, "recipe.instruct.epochs=0"], "epochs=0", "above 0"),
        ([FIRST, "recipe.instruct.learning_rate=null"], "learning_rate=None", "a number above 0"),
        ([FIRST, "recipe.instruct.betas=[0.9]"], "betas=[0.9]", "Give two"),
        ([FIRST, "recipe.instruct.warmup_ratio=3"], "warmup_ratio=3", "below 1"),
        ([FIRST, "recipe.instruct.weight_decay=-1"], "weight_decay=-1", "at least 0"),
        ([FIRST, "recipe.instruct.files=null"], "files=null", "files=[...]"),
        ([FIRST, "recipe.instruct.train=projektor"], "'projektor'", "Did you mean projector?"),
        ([FIRST, "lora.rank=4", "lora.target=[qproj]"], "'qproj'", "Did you mean q_proj?"),
        ([FIRST, "lora.rank=4", "lora.dropout=2"], "lora.dropout=2", "below 1"),
        ([FIRST, "lora.rank=4", "distributed=fsdp"], "distributed=fsdp", "distributed=none"),
        ([FIRST, "device=cuda:1"], "'cuda:1'", "CUDA_VISIBLE_DEVICES"),
        ([FIRST, "gradient_checkpointing=flase"], "gradient_checkpointing=flase", "true or false"),
        ([FIRST, "seed=99999999999"], "seed=99999999999", "at most 4294967295"),
        ([FIRST, "threads=-1"], "threads=-1", "at least 1"),
        ([FIRST, "keep=1"], "keep=1", "at least 2"),
        ([FIRST, "hydra/launcher=slurm"], "needs -m", "Add -m"),
        ([FIRST, "model.pretrained=nowhere/at-all"], "nowhere/at-all", "folder"),
        ([FIRST, "recipe.instruct.files=[missing.json]"], "missing.json", "Name a JSON file"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else "",
)
def test_wrong_input_is_named_with_its_fix(tmp_path, arguments, what, fix):
    done = command(*arguments, f"output={tmp_path}/out", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("pdrop-eval-train: ")
    assert "Traceback" not in done.stderr
    assert what in done.stderr
    assert fix in done.stderr


def test_wrong_data_stop_before_torch_is_loaded(tmp_path):
    turns = [{"from": "user", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    (tmp_path / "data.json").write_text(json.dumps([{"id": "x", "conversations": turns}]))
    done = command(
        FIRST, f"model.pretrained={MINI_CHECKPOINTS / 'mini_base'}", "recipe.instruct.files=[data.json]",
        "recipe.instruct.images=null", "output=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "data.json, line 1 (id x)" in done.stderr
    assert "'user'" in done.stderr
    assert "human" in done.stderr
