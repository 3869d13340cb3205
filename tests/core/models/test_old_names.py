"""Checkpoints of newer transformers in older ones, whose CLIP has one more level in its names."""

import re
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from pdrop_eval.models.loading import load as loading


def names(tmp_path, monkeypatch, stored, built):
    """What `from_pretrained` is told of names, of a file and a model with these weights."""
    save_file({stored: torch.zeros(1)}, tmp_path / "model.safetensors")
    model = SimpleNamespace(state_dict=lambda: {built: None})
    monkeypatch.setattr(loading, "outline", lambda family, config: model)
    return loading._old_names([tmp_path / "model.safetensors"], None, None)


def test_a_level_that_only_the_model_has_is_put_in_before_any_weight_is_read(tmp_path, monkeypatch):
    stored, built = "model.vision_tower.encoder.x", "model.vision_tower.vision_model.encoder.x"
    ((pattern, name),) = names(tmp_path, monkeypatch, stored, built).items()
    assert re.sub(pattern, name, stored) == built
    assert re.sub(pattern, name, stored.removeprefix("model.")) == built
    assert re.sub(pattern, name, built) == built


def test_names_that_agree_stay(tmp_path, monkeypatch):
    for name in ("model.vision_tower.encoder.x", "model.vision_tower.vision_model.encoder.x"):
        assert names(tmp_path, monkeypatch, name, name) is None
    # transformers itself takes the level away where it has none
    older, newer = "vision_tower.vision_model.encoder.x", "model.vision_tower.encoder.x"
    assert names(tmp_path, monkeypatch, older, newer) is None
