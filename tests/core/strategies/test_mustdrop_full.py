"""MustDrop with its key set: the tower marks tokens, and the decoder keeps them."""

import pytest
import torch
from contract import IMAGE, IMAGE_SIZE, case_of, model_of

from pdrop_eval.models import families
from pdrop_eval.models.towers.encoded import LAST, Needs
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.strategies.mustdrop import MustDrop
from pdrop_eval.strategies.mustdrop_full import MustDropFull
from pdrop_eval.utils.errors import UserError

THRESHOLDS = {"global_thr": 0.03, "individual_thr": 0.2}


@pytest.mark.parametrize(("family", "tiles"), [("llava_gqa", 1), ("llava_next", 3)])
def test_the_key_set_is_what_the_class_token_attends_to_in_the_last_layer(family, tiles):
    """ceil(.08 * 25) = 2 patches of each tile; everything enters the decoder."""
    case = case_of(family, rows=[[4, IMAGE, 9]])
    strategy = MustDropFull(global_thr=1, individual_thr=1)  # all goes that isn't marked
    with case.under(strategy) as report:
        case.forward()
    assert report.sources[0].tolist() == list(range(case.image_tokens[0]))
    model = case.model
    (encoded,) = families.of_model(model).encode_images(
        model, {k: v for k, v in case.inputs.items() if k in ("pixel_values", "image_sizes")},
        Needs(attention=(LAST,)),
    )  # fmt: skip
    best = encoded.attention[LAST].mean(1).topk(2).indices
    assert best.shape == (tiles, 2)
    key = {
        number
        for number, (tile, patch) in enumerate(encoded.places.sources.tolist())
        if patch >= 0 and patch in best[tile].tolist()
    }
    assert key  # some may be on padding, which the model takes out
    assert [stage[0].tolist() for stage in report.retained] == [sorted(key)] * 4


def test_without_a_key_set_it_is_the_half_in_the_decoder():
    case = case_of("llava_gqa")
    with case.under(MustDrop(**THRESHOLDS)) as report:
        half, ids = case.forward().logits, report.retained
    with case.under(MustDropFull(key_rate=0, **THRESHOLDS)) as report:
        assert torch.equal(case.forward().logits, half)
    assert [[row.tolist() for row in stage] for stage in report.retained] == [
        [row.tolist() for row in stage] for stage in ids
    ]


def test_presets_and_refusals_are_those_of_its_halves():
    strategy = make_strategy("mustdrop_full", {"preset": "64"})
    assert (strategy.global_thr, strategy.individual_thr) == (0.011, 0.01)
    assert not strategy.trains
    for fields, words in [
        ({"key_rate": 2}, "key_rate=2 is not allowed"),
        ({"global_thr": -1}, "global_thr=-1 is not allowed"),
        ({"preset": "65"}, "preset='65' is not allowed"),
    ]:
        with pytest.raises(UserError, match=words):
            make_strategy("mustdrop_full", fields)
    with pytest.raises(UserError, match=r"preset=64 of MustDrop .*576"):
        strategy(model_of("llava_gqa"))
    with pytest.raises(UserError, match="decides by each image"):
        MustDropFull().schedule(8, IMAGE_SIZE**2)
