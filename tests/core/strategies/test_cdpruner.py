"""CDPruner: what it picks, on tensors whose answer is found by hand; its text tower; what is refused."""

import json

import pytest
import torch
from text_tower import saved, text_tower

from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import cdpruner
from pdrop_eval.strategies.cdpruner import CDPruner
from pdrop_eval.utils.errors import UserError

LLAVA = TokenShape(576)
ALL = torch.ones(1, 4, dtype=torch.bool)


@pytest.fixture(autouse=True)
def _own_towers(monkeypatch):
    monkeypatch.setattr(cdpruner, "TOWERS", {"tiny": text_tower(16)})


def test_relevant_patches_that_are_unlike_each_other_come_first():
    patches = torch.tensor([[[1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]]])
    relevance = torch.tensor([[0.9, 1.0, 0.3, 0.2]])
    # 1 has the largest gain; of the others, 0 is its copy (nothing is gained), and 2 gains more than 3.
    assert cdpruner.picked(patches, relevance, ALL, 2).tolist() == [[1, 2]]


def test_past_the_rank_the_most_relevant_follow_and_none_comes_twice():
    patches = torch.tensor([[[1.0, 0], [1.0, 0], [0, 1.0], [0, 1.0]]])
    relevance = torch.tensor([[0.5, 1.0, 0.5, 0.25]])
    assert cdpruner.picked(patches, relevance, ALL, 4).tolist() == [[1, 2, 0, 3]]


def test_only_patches_that_are_seen_are_picked():
    patches = torch.eye(4)[None]
    seen = torch.tensor([[True, False, True, False]])
    assert cdpruner.picked(patches, torch.tensor([[0.1, 0.9, 0.2, 0.8]]), seen, 2).tolist() == [[2, 0]]


def test_relevance_is_how_unlike_a_patch_is_to_the_text_over_all_tiles():
    # Cosines with the text are 1, 0, -1 and 0: turned round and scaled, 0, 1/2, 1 and 1/2.
    images = torch.tensor([[[2.0, 0], [0, 3.0]], [[-1.0, 0], [0, -1.0]]])
    found = cdpruner.relevance_of(images, torch.tensor([[5.0, 0]]))
    assert torch.allclose(found, torch.tensor([[0.0, 0.5], [1.0, 0.5]]), atol=1e-5)
    same = cdpruner.relevance_of(torch.ones(1, 2, 2), torch.ones(1, 2))
    assert torch.allclose(same, torch.ones(1, 2))  # nothing to scale by


@pytest.mark.parametrize("ending", cdpruner.ENDINGS)
def test_the_ending_of_a_benchmark_is_no_part_of_the_question(ending):
    assert cdpruner.asked(f"What is here?\n{ending}") == "What is here?"
    assert cdpruner.asked(ending) == ending


def test_a_long_text_is_cut_into_segments():
    tower = text_tower(16)
    assert cdpruner.embedded(tower, "what is here").shape == (1, 12)
    assert cdpruner.embedded(tower, "what " * 8).shape == (1, 12)  # ten ids with beginning and end
    assert cdpruner.embedded(tower, "what " * 9).shape == (2, 12)
    # What fills up the last segment doesn't count.
    short = cdpruner.embedded(tower, "is here")
    alone = tower.text(input_ids=torch.tensor([tower.tokenize("is here")])).last_hidden_state[0, -1]
    assert torch.allclose(short[0], tower.text_projection(alone), atol=1e-5)


def test_a_folder_with_a_clip_is_the_text_tower(tmp_path):
    strategy = CDPruner(text_tower=saved(tmp_path, 16))
    strategy.check_shape(LLAVA)
    strategy.get_ready(16)
    tower = cdpruner.TOWERS[str(tmp_path)]
    assert tower.tokenize("what is here") == [1, 2, 3, 4, 8]
    assert torch.equal(tower.visual_projection.weight, text_tower(16).visual_projection.weight)


def test_a_text_tower_that_is_not_there_is_refused_before_a_sample(tmp_path):
    with pytest.raises(UserError, match="text_tower=openai/clip-vit-large-patch14-336"):
        CDPruner().check_shape(LLAVA)
    for name in (str(tmp_path / "nothing"), "nothing", "a/b/c", "/nothing", str(tmp_path / "config.json")):
        with pytest.raises(UserError, match="is no folder, and no name on the Hub"):
            CDPruner(text_tower=name).check_shape(LLAVA)
    with pytest.raises(UserError, match="of a CLIP"):
        CDPruner(text_tower=str(tmp_path)).check_shape(LLAVA)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UserError, match="is a llama, and not a CLIP"):
        CDPruner(text_tower=str(tmp_path)).check_shape(LLAVA)
    with pytest.raises(UserError, match="visual_token_num=577"):
        CDPruner(visual_token_num=577, text_tower="tiny").check_shape(LLAVA)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    strategy = CDPruner(text_tower=str(tmp_path))
    strategy.check_shape(LLAVA)
    with pytest.raises(UserError, match="can't be loaded"):
        strategy.get_ready(16)
    with pytest.raises(UserError, match="belongs to a vision tower of width 16, and the model's has 24"):
        CDPruner(text_tower="tiny").get_ready(24)


def test_a_clip_that_ships_with_the_package_is_named_as_models_are(tmp_path, monkeypatch):
    from pdrop_eval.models.loading import checkpoint

    saved(tmp_path, 16)
    monkeypatch.setattr(checkpoint, "MINI_CHECKPOINTS", tmp_path.parent)
    cdpruner.check_named(f"embedded:{tmp_path.name}")
    assert cdpruner.load(f"embedded:{tmp_path.name}").post_layernorm.weight.shape == (16,)
    with pytest.raises(UserError, match="embedded checkpoint 'nothing'"):
        cdpruner.check_named("embedded:nothing")
