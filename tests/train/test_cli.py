"""The command line: wrong settings end with one message, before torch is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import composing
import pytest

from pdrop_eval.utils.paths import MINI_CHECKPOINT

FIRST = "phases=[instruct]"
# Calls the command with one list of arguments after the other. An import of torch would be an error: every
# wrong setting must be found without it.
PROGRAM = """
import contextlib, io, json, sys
sys.modules["torch"] = None
sys.path.append(sys.argv[2])
import composing  # the calls share what their configurations have in common
composing.keep(setattr)
from pdrop_eval.run.train.cli import main
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["pdrop-eval-train", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main()
        except SystemExit as leaving:
            status = leaving.code
    found.append((status or 0, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""
WRONG = [
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
    ([FIRST, "model.adapter=A", "distributed=zero3"], "distributed=zero3", "distributed=none"),
    ([FIRST, "model.adapter=A", "model.merge_adapter=false"], "merge_adapter=false", "lora.rank=128"),
    ([FIRST, "model.adapter=nowhere"], "'nowhere' doesn't exist", "adapter_config.json"),
    ([FIRST, "dry_run=true", "model.adapter=A", "distributed=fsdp"], "distributed=fsdp", "none"),
    ([FIRST, "device=cuda:1"], "'cuda:1'", "CUDA_VISIBLE_DEVICES"),
    ([FIRST, "gradient_checkpointing=flase"], "gradient_checkpointing=flase", "true or false"),
    ([FIRST, "seed=99999999999"], "seed=99999999999", "at most 4294967295"),
    ([FIRST, "threads=-1"], "threads=-1", "at least 1"),
    ([FIRST, "keep=1"], "keep=1", "at least 2"),
    ([FIRST, "hydra/launcher=slurm"], "needs -m", "Add -m"),
    ([FIRST, "model.pretrained=nowhere/at-all"], "nowhere/at-all", "folder"),
    ([FIRST, "recipe.instruct.files=[missing.json]"], "missing.json", "Name a JSON file"),
    ([FIRST, "strategy=cdpruner"], "cdpruner can't be trained with", "another strategy, or vanilla"),
    ([FIRST, "strategy=cdpruner", "dry_run=true"], "cdpruner can't be trained with", "or vanilla"),
]


def commands(calls, cwd):
    """Exit status, standard output and standard error of each call, in a process without torch."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(calls), str(Path(composing.__file__).parent)],
        capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What the command says of each wrong setting, by its place in `WRONG`; and its help, last."""
    folder = tmp_path_factory.mktemp("commands")
    return commands(
        [[*arguments, f"output={folder}/out"] for arguments, _, _ in WRONG] + [["--help"]], folder
    )


def test_help_needs_no_torch(refusals):
    status, out, err = refusals[-1]
    assert status == 0, err
    assert "pdrop-eval-train" in out
    assert "recipe: " in out


@pytest.mark.parametrize("place", range(len(WRONG)), ids=[case[0][-1] for case in WRONG])
def test_wrong_input_is_named_with_its_fix(refusals, place):
    status, _, err = refusals[place]
    assert status == 2, err
    assert err.startswith("pdrop-eval-train: ")
    assert "Traceback" not in err
    for words in WRONG[place][1:]:
        assert words in err


def test_wrong_data_stop_before_torch_is_loaded(tmp_path):
    turns = [{"from": "user", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    (tmp_path / "data.json").write_text(json.dumps([{"id": "x", "conversations": turns}]))
    settings = ["recipe.instruct.files=[data.json]", "recipe.instruct.images=null", "output=out"]
    call = [FIRST, f"model.pretrained={MINI_CHECKPOINT}", *settings]
    [(status, _, err)] = commands([call], tmp_path)
    assert status == 2, err
    assert "data.json, line 1 (id x)" in err
    assert "'user'" in err
    assert "human" in err
