"""Strategies that don't fit the model are refused from its config.json, before torch and weights."""

import json
from functools import partial
from pathlib import Path

import pytest

from pdrop_eval.engine.before_decoder.fits import check_fits
from pdrop_eval.models import families
from pdrop_eval.models.loading.checkpoint import Checkpoint, check_checkpoint
from pdrop_eval.models.loading.weights import check_config
from pdrop_eval.run.config.fits import check_asked, check_model, check_strategy, view_of, within_budget
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.errors import UserError

# As llava-hf/llava-1.5-7b-hf has it.
SEVEN_B = {
    "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096},
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "patch_size": 14,
        "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
    },
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}  # fmt: skip
NEXT = "embedded:mini_next_p5"


def check(*overrides, pretrained="embedded", anyres=None, budget=None, changed=None):
    """Check a strategy with a miniature; changed: of its config.json, by the part."""
    checkpoint = check_checkpoint(pretrained, None)
    for part, values in (changed or {}).items():
        (checkpoint.config[part] if part else checkpoint.config).update(values)
    check_model(compose_spec(list(overrides)).strategy, checkpoint, anyres, budget)


@pytest.mark.thin(7)
@pytest.mark.parametrize(
    ("overrides", "pretrained", "words"),
    [
        (["strategy=uniform", "strategy.tokens=145"], "embedded", "strategy.tokens=145 .* from 1 to 144"),
        (["strategy=random", "strategy.tokens=721"], NEXT, "strategy.tokens=721 .* from 1 to 720"),
        (
            ["strategy=visionzip", "strategy.dominant=140", "strategy.contextual=6"], "embedded",
            "strategy.dominant=140 and strategy.contextual=6 are too many: .* 145 together",
        ),
        (["strategy=visionzip", "strategy.preset=64"], "embedded", "an image here has 1 of 144: give the"),
        (["strategy=pool", "strategy.preset=next_160"], NEXT, "an image here has 5 of 144: give the"),
        (["strategy=pool", "strategy.grid=[13,2]"], "embedded", "a tile has 12 x 12 tokens"),
        (["strategy=fastervlm", "strategy.visual_token_num=145"], NEXT, "strategy.visual_token_num=145"),
        (["strategy=hired", "strategy.token_budget_rate=0.001"], "embedded", "leaves none of an image's 144"),
        (["strategy=divprune", "strategy.subset_ratio=0.001"], "embedded", "leaves none of an image's 144"),
        (["strategy=cdpruner"], "embedded", "strategy.text_tower=openai/clip-vit-large-patch14-336 for"),
        (["strategy=cdpruner", "strategy.text_tower=nowhere"], "embedded", "is no folder, and no name"),
        (["strategy=fastv", "strategy.k=9"], "embedded", "strategy.k=9 is not allowed"),
        (["strategy=cdpruner", f"strategy.text_tower={'x' * 5000}"], "embedded", "is no folder, and no name"),
        (["combine=[cdpruner,pdrop]"], "embedded", "strategy.cdpruner.text_tower=openai/clip-vit-large"),
        (["strategy=random", "strategy.k=2", "strategy.tokens=145"], "embedded", "asks for 145 image tokens"),
        (["strategy=fastv", "strategy.attention_rank=721"], NEXT, "and an image has 720: let it retain 720"),
        (["strategy=sparsevlm", "strategy.counts=[145,30,17]"], "embedded", "asks for 145 image tokens"),
        (
            ["combine=[{uniform:{tokens:5}},{sparsevlm:{counts:[50,30,10]}}]"], "embedded",
            "uniform leaves 5 of an image's 144 tokens, and sparsevlm asks for 50",
        ),
        (
            ["combine=[uniform,{random:{tokens:999999999,k:2}}]"], "embedded",
            "uniform leaves 64 of an image's 144 tokens, and random asks for 999999999",
        ),
    ],
)  # fmt: skip
def test_what_the_model_cannot_have_is_refused_under_the_name_of_the_command_line(
    overrides, pretrained, words
):
    with pytest.raises(UserError, match=words):
        check(*overrides, pretrained=pretrained)


@pytest.mark.parametrize("strategy", ["visionzip", "fastervlm", "vispruner", "hired", "prumerge"])
def test_a_tower_without_a_class_token_is_refused_by_those_that_choose_by_it(strategy):
    siglip = {"vision_config": {"model_type": "siglip_vision_model"}}
    with pytest.raises(UserError, match=f"{strategy} chooses by the class token .* such as uniform"):
        check(f"strategy={strategy}", changed=siglip)
    check("strategy=uniform", changed=siglip)


def test_sizes_that_published_checkpoints_leave_to_transformers_are_known():
    """LLaVA-1.5-7B's config.json, which says of its Vicuna only what isn't Llama's: 32 layers, 4,096 wide."""
    checkpoint = Checkpoint("llava", {"model_type": "llava", **SEVEN_B}, Path("nowhere"), {})
    spec = compose_spec(["strategy=fastv", "strategy.k=33"]).strategy
    with pytest.raises(UserError, match=r"strategy.k=33 is not allowed.* use values from 1 to 32"):
        check_model(spec, checkpoint, None)
    # FastV keeps 576 tokens in its first layer at least, and one in 31: 607 of 32 layers, 18.97 in the mean.
    fastv = compose_spec(["strategy=fastv"]).strategy
    check_model(fastv, checkpoint, None, {"tokens": 18.97})
    with pytest.raises(UserError, match=r"^budget.tokens=18.9 can't be reached by FastV: with 32 layers"):
        check_model(fastv, checkpoint, None, {"tokens": 18.9})
    # Eq. 4 of one layer: 4 * 576 * 4096^2 + 2 * 576^2 * 4096 + 3 * 576 * 4096 * 11008, of all 32: 3.817e12.
    with pytest.raises(UserError, match=r"^budget.tflops=3.9 .* to 3.817 \(nothing dropped\) TFLOPs"):
        check_model(fastv, checkpoint, None, {"tflops": 3.9})
    check_model(fastv, checkpoint, None, {"tflops": 3.8})


def test_a_budget_decides_what_a_command_can_not_give_beside_it():
    with pytest.raises(UserError, match=r"strategy.ratio=0.7 can't be given with a budget"):
        check("strategy.ratio=0.7", budget={"tokens": 32})


@pytest.mark.parametrize("strategy", ["prumerge", "prumerge_plus"])
def test_a_budget_for_what_decides_by_the_image_is_refused(strategy):
    with pytest.raises(UserError, match="decides by each image how many tokens it retains"):
        check(f"strategy={strategy}", budget={"tokens": 32})


def test_the_grids_that_are_asked_for_count():
    """Tiles of 144 tokens: 9 of them, the overview among them, are 1,296, and 5 are 720."""
    nine = ["strategy=uniform", "strategy.tokens=1296"]
    check(*nine, pretrained=NEXT, anyres="p9")
    with pytest.raises(UserError, match="from 1 to 720"):
        check(*nine, pretrained=NEXT, anyres="p5")


def test_what_config_json_leaves_to_transformers_is_checked_when_it_is_loaded():
    checkpoint = check_checkpoint("embedded", None)
    del checkpoint.config["vision_config"]["patch_size"]
    check_model(compose_spec(["strategy=uniform", "strategy.tokens=145"]).strategy, checkpoint, None)


@pytest.mark.thin(3)
@pytest.mark.parametrize("pretrained", ["embedded", NEXT])
@pytest.mark.parametrize("strategy", ["vanilla", "pdrop", "visionzip", "prumerge"])
def test_what_fits_is_not_refused(strategy, pretrained):
    check(f"strategy={strategy}", pretrained=pretrained)


FIRST = {family.name: name for name, (family, _) in reversed(families.published().items())}


def told(look):
    """What is said of a strategy: that it fits, what a budget comes to, or why it is refused."""
    try:
        found = look()
    except UserError as error:
        return str(error)
    return None if found is None else found.reached.words


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST.values(), ids=FIRST)
def test_a_config_json_says_what_transformers_says_of_a_published_model_of_each_family(name):
    """Also where it leaves sizes to transformers' defaults: nothing is refused early that could be run."""
    config = families.published_config(name)
    family = families.multimodal_of(config)
    checkpoint = Checkpoint(family.name, json.loads(config.to_json_string()), Path(), {})
    check_config(name, checkpoint.config, trust_remote_code=False)
    depth, tokens = config.get_text_config().num_hidden_layers, family.nominal_shape(config).tokens

    def later(strategy):
        strategy.drops(depth)
        check_fits(family, config, strategy, ready=False)
        check_asked(strategy, depth, tokens)

    def within(spec, view, budget):
        return within_budget(spec, spec.build(), view, budget)

    for chosen in [*(f"strategy={one}" for one in installed()), "combine=[visionzip,pdrop]"]:
        spec = compose_spec([chosen]).strategy
        strategy = spec.build()
        early = told(partial(check_strategy, strategy, checkpoint, None))
        assert early == told(partial(later, strategy)), chosen
        for budget in ({"share": 0.3}, {"tokens": 1e6}):
            views = (view_of(checkpoint), config)
            early, late = (told(partial(within, spec, view, budget)) for view in views)
            assert early == late, (chosen, budget)
