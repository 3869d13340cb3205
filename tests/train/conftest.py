"""A few rendered conversations, and trainings of a few steps on them."""

import pytest
import torch

from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.utils.paths import MINI_CHECKPOINTS
from tools.mini.conversations import render_conversations

torch.set_num_threads(1)
START = MINI_CHECKPOINTS / "mini_base"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """50 pictures with one or two questions and one conversation without a picture; 24 captions."""
    folder = tmp_path_factory.mktemp("data") / "mini"
    render_conversations(folder, 50, captions=24, turns=(1, 2), seed=7)
    return folder


@pytest.fixture
def config(data, tmp_path):
    """A function: overrides to the config of a short training on this data."""

    def make(*overrides: str):
        return compose_config(
            [
                f"model.pretrained={START}",
                f"recipe.pretrain.files=[{data}/captions.json]",
                f"recipe.pretrain.images={data}/images",
                f"recipe.instruct.files=[{data}/instruct.json]",
                f"recipe.instruct.images={data}/images",
                *(f"recipe.{phase}.{key}" for phase in ("pretrain", "instruct")
                  for key in ("batch_size=4", "per_device_batch=4", "steps=4")),
                f"output={tmp_path}/out",
                "phases=[instruct]",
                "dtype=float32",
                "log_every=1",
                "device=cpu",
                "threads=1",
                *overrides,
            ],
            "train",
        )  # fmt: skip

    return make
