"""A few rendered conversations, and trainings of a few steps on them."""

import pytest
import torch
from short_training import training_config

from pdrop_eval.run.train.plan import make_plan
from tools.mini.conversations import render_conversations

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """50 pictures with one or two questions and one conversation without a picture; 24 captions."""
    folder = tmp_path_factory.mktemp("data") / "mini"
    render_conversations(folder, 50, captions=24, turns=(1, 2), seed=7)
    return folder


@pytest.fixture
def config(data, tmp_path):
    """A function: overrides to the settings of a short training on this data."""
    return lambda *overrides: training_config(data, tmp_path / "out", *overrides)


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """A finished training with PyramidDrop: its folder, not to be changed, and its record."""
    from pdrop_eval.run.train.session import train

    out = tmp_path_factory.mktemp("finished") / "out"
    return out, train(make_plan(training_config(data, out)))
