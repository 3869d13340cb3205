"""The whole model's FLOPs: by hand, and against what the parts are said to be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaNextConfig

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.efficiency.architecture import architecture_of, decoder_of, nominal_image_tokens
from pdrop_eval.efficiency.flops import theoretical_flops
from pdrop_eval.efficiency.model_flops import PARTS, model_flops, speedup_bound

TEXT = LlamaConfig(
    vocab_size=50,
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
)
VISION = CLIPVisionConfig(
    hidden_size=6,
    intermediate_size=10,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=4,
    patch_size=2,
)
LLAVA = LlavaConfig(vision_config=VISION, text_config=TEXT)
NEXT = LlavaNextConfig(vision_config=VISION, text_config=TEXT, image_grid_pinpoints=[[4, 8], [8, 8]])


def layer(n, keys=None):
    """n tokens of width 8 with k and v of half of it: q, o, k, v, feed-forward; then attention."""
    return n * (2 * 64 + 2 * 32 + 3 * 96) + 2 * n * (keys or n) * 8


def test_each_part_by_hand():
    """4 image and 5 text tokens, half of the 4 dropped before layer 2 of 4 (FastV), 2 decode steps.

    Vision: 3 layers of 5 tokens (4 patches and a class token), 6 wide; 4 patches of 12 values.
    Ranking: keys of 9 tokens, their products with one query, and that query. Head: 8 x 50.
    """
    found = model_flops(LLAVA, FastV(), 4, 5, new_tokens=2)
    assert found.vision == 3 * (4 * 5 * 36 + 2 * 25 * 6 + 2 * 5 * 60) + 4 * 12 * 6
    assert found.projector == 4 * (6 * 8 + 8 * 8)
    assert found.decoder == 2 * layer(9) + 2 * layer(7)
    assert found.ranking == 9 * 32 + 9 * 8 + 64
    assert found.head == 400
    first = 2 * layer(1, keys=10) + 2 * layer(1, keys=8) + 400
    second = 2 * layer(1, keys=11) + 2 * layer(1, keys=9) + 400
    assert found.decode == first + second
    assert found.prefill == found.decoder + found.ranking + 400
    assert found.ttft == found.prefill + found.vision + found.projector
    assert found.total == found.ttft + found.decode


def test_each_drop_ranks_what_it_finds():
    """PyramidDrop of 8 image tokens: 8, 4, 2, 1; each drop sees those of the stage before, and 5 of text."""
    found = model_flops(LLAVA, PyramidDrop(), 8, 5)
    assert found.ranking == sum(n * (32 + 8) + 64 for n in (13, 9, 7))
    assert found.decoder == sum(layer(n) for n in (13, 9, 7, 6))


def test_vanilla_ranks_nothing_and_decodes_nothing():
    found = model_flops(LLAVA, Vanilla(), 4, 5)
    assert (found.ranking, found.decode) == (0, 0)
    assert found.decoder == theoretical_flops(LLAVA, (4,) * 4, text_tokens=5).total


def test_a_drop_after_the_last_layer_saves_no_prefill():
    """Nor decode steps: every layer has cached what it saw."""
    late, vanilla = (
        model_flops(LLAVA, s, 4, 5, new_tokens=3)
        for s in (PyramidDrop(layers=(4,), ratios=(0.5,)), Vanilla())
    )
    assert (late.decoder, late.decode) == (vanilla.decoder, vanilla.decode)


@pytest.mark.parametrize(
    ("config", "image", "tiles"), [(LLAVA, 4, 1), (NEXT, 20, 5), (NEXT, 23, 6), (LLAVA, 0, 0)]
)
def test_tiles_follow_from_the_image_tokens(config, image, tiles):
    found = model_flops(config, Vanilla(), image, 5)
    assert found == model_flops(config, Vanilla(), image, 5, tiles=tiles)
    assert found.vision == tiles * model_flops(config, Vanilla(), 4, 5, tiles=1).vision


def test_a_text_model_has_no_vision_tower():
    found = model_flops(TEXT, PyramidDrop(), 8, 5)
    assert (found.vision, found.projector) == (0, 0)
    assert found.prefill == model_flops(LLAVA, PyramidDrop(), 8, 5).prefill == found.ttft


def test_a_config_may_be_a_dict_or_an_architecture():
    sizes = architecture_of(LLAVA)
    assert model_flops(sizes, FastV(), 4, 5) == model_flops(LLAVA.to_dict(), FastV(), 4, 5)
    assert decoder_of(sizes) is sizes


def test_nominal_image_tokens():
    """2x2 patches a tile; the largest grid of 2x2 tiles, and the overview."""
    assert nominal_image_tokens(LLAVA) == 4
    assert nominal_image_tokens(NEXT) == 20
    full = LlavaConfig(vision_config=VISION, text_config=TEXT, vision_feature_select_strategy="full")
    assert nominal_image_tokens(full) == 5
    with pytest.raises(UserError, match="give image_tokens"):
        nominal_image_tokens(TEXT)


def test_the_bound_is_vanillas_share():
    vanilla, own = (model_flops(LLAVA, s, 40, 5, new_tokens=3) for s in (Vanilla(), PyramidDrop()))
    for part in PARTS:
        if part not in ("ranking",):
            bound = speedup_bound(LLAVA, PyramidDrop(), 40, 5, part, new_tokens=3)
            assert bound == getattr(vanilla, part) / getattr(own, part)
    assert speedup_bound(LLAVA, PyramidDrop(), 40, 5) > speedup_bound(LLAVA, PyramidDrop(), 40, 5, "ttft") > 1
    assert speedup_bound(LLAVA, Vanilla(), 40, 5) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: speedup_bound(LLAVA, FastV(), 4, 5, "all"), ["'all'", "'prefill'", "'ttft'"]),
        (lambda: speedup_bound(LLAVA, FastV(), 4, 5, "decode"), ["'decode'", "costs nothing"]),
        (lambda: model_flops(LLAVA, FastV(), -1, 5), ["image_tokens=-1", "from 0"]),
        (lambda: model_flops(LLAVA, FastV(), 4, 5, new_tokens=1.5), ["new_tokens=1.5"]),
        (lambda: model_flops(LLAVA, FastV(k=5), 4, 5), ["k=5", "1 to 4"]),
        (lambda: model_flops({"model_type": "bert"}, FastV(), 4, 5), ["'bert'", "llava_next"]),
    ],
)
def test_wrong_input(call, words):
    with pytest.raises(UserError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_what_counts_without_torch():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pdrop_eval.efficiency import architecture, budget, flops, model_flops as whole\n"
        "sizes = architecture.Architecture(layers=2, d=8, m=12, q=8, kv=8, vocabulary=50)\n"
        "print(whole.model_flops(sizes, whole.KeepAll(), 4, 5).prefill)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == 2 * (9 * (4 * 64 + 3 * 96) + 2 * 81 * 8) + 400


def test_the_example_of_the_docs_gives_what_it_says():
    text = (Path(__file__).resolve().parents[3] / "docs" / "efficiency.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.S)[1]
    scope: dict = {}
    exec(example, scope)
    said = re.findall(r"^([^#\n]+?) *# ([\d.]+)", example, re.M)
    assert len(said) == 3
    for expression, value in said:
        assert f"{eval(expression, scope):.2f}" == value
