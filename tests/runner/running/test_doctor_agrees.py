"""The doctor and the run refuse the same in the same words, each thing once: one list of cases for both."""

import json
import shutil
from pathlib import Path

import pytest

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.doctor.cli import examine
from pdrop_eval.run.evaluate.cli import evaluate
from pdrop_eval.utils.errors import UserError


def config(part="", drop=(), **changes):
    """Changes of a checkpoint's config.json."""

    def change(folder):
        path = folder / "config.json"
        whole = json.loads(path.read_text())
        inner = whole[part] if part else whole
        inner.update(changes)
        for name in drop:
            del inner[name]
        path.write_text(json.dumps(whole))

    return change


def original(folder):
    whole = {"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    (folder / "config.json").write_text(json.dumps(whole))


def two_sets(folder):
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def far_pad(folder):
    words = json.loads((folder / "tokenizer.json").read_text())
    words["added_tokens"].append({**words["added_tokens"][0], "id": 999, "content": "<far>"})
    (folder / "tokenizer.json").write_text(json.dumps(words))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<far>"}))


def code(folder):
    path = folder / "processor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoProcessor": "proc.P"}}))


def without(name):
    return lambda folder: (folder / name).unlink()


# What is changed in a checkpoint, what the command gives, and a part of what both say.
CASES = {
    "config": (config(drop=["vision_config"]), [], "says nothing of a vision tower"),
    "original": (original, [], "is in the original format"),
    "two sets": (two_sets, [], "model.safetensors"),
    "quantised": (config(quantization_config={"quant_method": "awq"}), [], "is quantised"),
    "window": (config("text_config", layer_types=["sliding_attention"] * 4), [], "sliding-window"),
    "shapes": (config("text_config", intermediate_size=96), [], "have other sizes"),
    "pad": (far_pad, [], "gives pad_token the id"),
    "code": (code, [], "asks for Python code of its own"),
    "depth of a text": (
        config("text_config", num_hidden_layers="4"),
        [],
        "num_hidden_layers='4', no whole number in [1, 10000]",
    ),
    "no depth": (config("text_config", num_hidden_layers=0), [], "num_hidden_layers=0, no whole number"),
    "width": (config("vision_config", hidden_size=1.5), [], "vision_config.hidden_size=1.5, no whole"),
    "heads": (config("text_config", num_attention_heads=True), [], "num_attention_heads=True, no whole"),
    "null": (
        config("text_config", intermediate_size=None),
        [],
        "text_config.intermediate_size=None, no whole",
    ),
    "huge": (config("text_config", num_hidden_layers=10**30), [], "no whole number in [1, 10000]"),
    "null layer": (config(vision_feature_layer=None), [], "vision_feature_layer=None, no layer"),
    "uneven heads": (config("text_config", num_attention_heads=3), [], "can't be loaded: "),
    "feature layer": (config(vision_feature_layer="a"), [], "vision_feature_layer='a', no layer"),
    "feature layers": (config(vision_feature_layer=[-2, None]), [], "no layer of the tower, nor a list"),
    "features": (config(vision_feature_select_strategy="cls"), [], "can't be loaded: "),
    "text_config": (config(text_config="llama"), [], "is no object"),
    "pixtral": (config("vision_config", model_type="pixtral"), [], "vision tower of type 'pixtral'"),
    "siglip": (config("vision_config", model_type="siglip_vision_model"), [], "which has no class token"),
    "gemma": (config(model_type="gemma3"), [], "see each other in both directions"),
    "qwen": (config(model_type="qwen2_5_vl"), [], "prompt of Qwen2.5-VL isn't known here"),
    "internvl": (config(model_type="internvl"), [], "prompt of InternVL3 isn't known here"),
    "smolvlm": (config(model_type="smolvlm"), [], "A checkpoint of SmolVLM"),
    "no tokenizer": (without("tokenizer.json"), [], "can't be loaded: "),
    "no weights": (without("model.safetensors"), [], "holds no *.safetensors"),
    "tiles": (None, ["model.anyres=p5"], "model.anyres=p5 is for LLaVA-NeXT"),
    "bounds": (None, ["model.min_pixels=100"], "model.min_pixels=100 is no setting of"),
    "budget": (None, ["budget.tokens=17"], "budget.tokens=17 can't be reached by PyramidDrop"),
    "decided": (None, ["strategy=uniform", "budget.share=9"], "budget.share=9 can't be reached by Uniform"),
    "layer": (None, ["strategy=fastv", "strategy.k=5"], "strategy.k=5 is not allowed"),
    "count": (None, ["strategy=uniform", "strategy.tokens=17"], "strategy.tokens=17 is not allowed"),
    "asked": (None, ["strategy=fastv", "strategy.attention_rank=17"], "let it retain 16 or fewer"),
    "recipe": (None, ["strategy=vtw", "strategy.recipe=/dev/zero"], "and no plain file"),
    "adapter": (None, ["model.adapter=/nowhere"], "The adapter folder '/nowhere' doesn't exist"),
    "generation": (None, ["model.generation=all"], "model.generation"),
    "seed": (None, ["seed=-1"], "seed=-1 is not allowed"),
    "judge": (None, ["judge.model=m", "judge.base_url=ftp://x"], "judge.base_url=ftp://x is no web address"),
}


@pytest.mark.thin(12)
@pytest.mark.parametrize("case", CASES)
def test_the_doctor_says_what_the_run_says(llava, data, tmp_path, case):
    change, given, words = CASES[case]
    folder = llava
    if change:
        folder = Path(shutil.copytree(llava, tmp_path / "checkpoint"))
        change(folder)
    usual = [f"model.pretrained={folder}", f"data.root={data}", "tasks=[gqa]", "limit=1"]
    spec = compose_spec([*usual, *given])
    found = [finding.text for finding in examine(spec) if finding.status == "FAIL"]
    with pytest.raises(UserError) as error:
        evaluate(spec)
    assert found == [str(error.value)]
    assert words in found[0]


@pytest.mark.slow
def test_what_can_be_run_is_well_for_both(llava, data):
    spec = compose_spec([f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]", "limit=1"])
    assert [finding for finding in examine(spec) if finding.status == "FAIL"] == []
    assert evaluate(spec, advise=False)["status"] == "completed"
