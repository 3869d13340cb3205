"""What the record says about the model and its inputs."""

import json
import shutil

import pytest
import runner_tiny as tiny
from transformers import LlavaConfig, LlavaNextConfig

from pdrop_eval.efficiency.flops import theoretical_flops
from pdrop_eval.models.pictures.tiling import pinpoints
from pdrop_eval.models.prompts import build_prompt
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.run.evaluate.header import make_header, nominal_image_tokens
from pdrop_eval.strategies.pyramiddrop import PyramidDrop
from pdrop_eval.utils.errors import UserError

VISION = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
LLAMA_7B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32,
}  # fmt: skip


def header(folder, data, *overrides):
    config = compose_spec([f"model.pretrained={folder}", f"data.root={data}", "tasks=[gqa]", *overrides])
    return make_header(cli.make_plan(config), "pdrop-eval")[1]


@pytest.mark.parametrize(("anyres", "tokens", "vanilla", "pdrop"), [
    # 24x24 tokens a tile; the paper's TFLOPs of Tables 1 and 4
    (None, 576, 3.82, 1.78), ("p5", 2880, 20.8, 9.46), ("p9", 5184, 40.6, 18.1),
])  # fmt: skip
def test_the_nominal_tokens_and_flops_are_the_papers(anyres, tokens, vanilla, pdrop):
    if anyres is None:
        config = LlavaConfig(vision_config=VISION, text_config=LLAMA_7B)
    else:
        grids = pinpoints(anyres, 336)
        config = LlavaNextConfig(vision_config=VISION, text_config=LLAMA_7B, image_grid_pinpoints=grids)
    assert nominal_image_tokens(config) == tokens
    assert theoretical_flops(config, [tokens] * 32).tflops == pytest.approx(vanilla, rel=0.005)
    schedule = PyramidDrop(ratio=0.5).schedule(32, tokens)
    assert theoretical_flops(config, schedule).tflops == pytest.approx(pdrop, rel=0.005)


@pytest.mark.parametrize(("anyres", "patches"), [("p5", 5), ("p9", 9), ("[[16,32],[32,48]]", 7)])
def test_the_grids_set_the_nominal_tokens_and_the_patches(llava_next, data, anyres, patches):
    made = header(llava_next, data, "model=llava_next_7b", f"model.anyres={anyres}")
    assert made["model"]["patches"] == patches
    assert made["model"]["train_patches"] == 5  # what the configuration says of the checkpoint
    assert made["model"]["image_tokens"] == made["efficiency"]["image_tokens"] == 16 * patches
    assert made["efficiency"]["image_tokens_per_layer"] == [16 * patches // 2**layer for layer in range(4)]
    assert max(h * w for h, w in made["model"]["anyres"]) == 16 * 16 * (patches - 1)


def test_what_was_really_processed_stands_beside_the_nominal(llava_next, tmp_path):
    rows = [{**row, "image": tiny.encoded(i, size)} for i, (row, size) in enumerate(
        zip(tiny.rows("gqa", 2), [(64, 64), (128, 64)], strict=True))]  # fmt: skip
    tiny.write("gqa", rows, tmp_path / "data")
    given = [f"model.pretrained={llava_next}", f"data.root={tmp_path / 'data'}", "model=mini576_next_p9"]
    config = compose_spec([*given, "strategy=vanilla", "tasks=[gqa]", f"results={tmp_path / 'runs'}"])
    record = cli.evaluate(config)
    assert record["efficiency"]["image_tokens"] == 16 * 9
    # the overview; 2x2 and 2x4 tiles of 4x4 tokens; one more a row of tokens
    counts = [16 + 64 + 8, 16 + 128 + 8]
    entry = record["tasks"]["gqa"]
    assert entry["image_tokens_mean"] == sum(counts) / 2
    assert entry["image_tokens_max"] == counts[1]
    # a layer: 4 n d^2 + 2 n^2 d + 3 n d m with d = 32, m = 48; 4 layers
    macs = [4 * (n * 8704 + n * n * 64) for n in counts]
    assert entry["tflops_mean"] == pytest.approx(sum(macs) / 2 / 1e12)


def test_the_record_says_what_the_checkpoint_is(llava, data):
    made = header(llava, data, "model=mini576_pdrop_05")["model"]
    assert (made["architecture"], made["patches"], made["anyres"]) == ("llava-1.5", 1, None)
    assert (made["size"], made["train"], made["train_ratio"]) == ("mini576", "pdrop", 0.5)
    assert made["training"] is None
    with pytest.raises(UserError, match=r"model.anyres=p5 .*null"):
        header(llava, data, "model=llava_next_7b")


def test_what_a_training_cost_and_a_model_card_are_not_in_the_runs_identity(llava, data, tmp_path):
    shutil.copytree(llava, trained := tmp_path / "trained")
    cost = {"device_hours": 1.5, "device_label": "CPU hours"}
    (trained / "training_record.json").write_text(json.dumps(cost))
    (trained / "card.json").write_text("{}")
    assert header(trained, data)["model"]["training"] == cost
    assert header(trained, data)["model"]["sha256"] == header(llava, data)["model"]["sha256"]
    (trained / "training_record.json").write_text("{")
    with pytest.raises(UserError, match=r"training_record.json is no valid JSON"):
        header(trained, data)


def test_the_inputs_are_named(llava, llava_next, data, tmp_path):
    shutil.copytree(llava, padding := tmp_path / "padding")
    for path in padding.glob("*processor_config.json"):
        settings = json.loads(path.read_text())
        settings.get("image_processor", settings).update(do_pad=True)
        path.write_text(json.dumps(settings))
    assert header(llava, data)["inputs"]["images"] == "centre_crop"
    assert header(llava, data, "model.image_processing=pad")["inputs"]["images"] == "pad"
    assert header(padding, data)["inputs"]["images"] == "pad"
    assert header(llava_next, data)["inputs"]["images"] == "tiles"
    assert header(llava, data)["inputs"]["textvqa_ocr"] is False
    assert header(llava, data, "suite.textvqa_ocr=true")["inputs"]["textvqa_ocr"] is True


def test_the_system_prompt_is_the_one_that_is_used(llava, data):
    assert header(llava, data)["model"]["system_prompt"] is None
    named = header(llava, data, "model.chat_template=vicuna")["inputs"]["system_prompt"]
    processor = type("Processor", (), {"image_token": "<image>"})
    assert build_prompt("vicuna", processor, "What?", 0) == f"{named} USER: What? ASSISTANT:"


def test_the_batch_that_was_used_is_in_the_record(llava, data, tmp_path):
    given = [
        f"model.pretrained={llava}",
        f"data.root={data}",
        "tasks=[gqa]",
        f"results={tmp_path}",
        "limit=2",
    ]
    record = cli.evaluate(compose_spec([*given, "batch_size=auto"]))
    assert (record["batch_size"], record["tasks"]["gqa"]["batch_size"]) == ("auto", 32)
