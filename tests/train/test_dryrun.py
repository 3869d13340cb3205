"""The dry run: estimates of the 7B recipes without their files, and of data that are there."""

import json

import pytest
import torch
from PIL import Image
from transformers import LlavaConfig

from pdrop_eval import PyramidDrop, UserError
from pdrop_eval.run.evaluate.header import nominal_image_tokens
from pdrop_eval.run.train.config.spec import compose_training
from pdrop_eval.run.train.estimate.cost import training_flops
from pdrop_eval.run.train.estimate.dry_run import count_parameters, dry_run
from pdrop_eval.run.train.estimate.phase import render

FILES = ("pretrain.files", "instruct.files")


@pytest.fixture(autouse=True)
def nothing_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}", refuse)


def test_what_the_models_config_rules_out_is_refused():
    with pytest.raises(UserError, match="from 1 to 576, the image tokens that there are"):
        estimate("recipe=llava_1_5_7b", "model=llava_1_5_7b", "strategy.tokens=577", strategy="uniform")


def refuse(*_, **__):
    raise AssertionError("a dry run downloads nothing")


def estimate(*overrides, strategy="pdrop"):
    return dry_run(compose_training([f"strategy={strategy}", *overrides]))


@pytest.fixture
def data(tmp_path):
    """Eight conversations about an image, three of text alone, and as many captions."""
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (96, 96)).save(folder / "a.png")
    asked = [{"from": "human", "value": "<image>\nWhich option is red?"}, {"from": "gpt", "value": "A"}]
    text = [{"from": "human", "value": "Which option is red?"}, {"from": "gpt", "value": "B"}]
    entries = [{"id": str(i), "image": "a.png", "conversations": asked} for i in range(8)]
    entries += [{"id": str(i), "conversations": text} for i in range(8, 11)]
    (folder / "a.json").write_text(json.dumps(entries))
    return folder


def overrides(folder, phase="instruct"):
    return [
        f"phases=[{phase}]",
        f"recipe.{phase}.files=[{folder}/a.json]",
        f"recipe.{phase}.images={folder}",
        f"recipe.{phase}.batch_size=2",
        f"recipe.{phase}.per_device_batch=2",
        f"recipe.{phase}.max_length=256",
        f"recipe.{phase}.epochs=3",
        f"recipe.{phase}.steps=null",
    ]


def test_llava_without_a_checkpoint_and_without_data():
    """Vicuna-7B is 6,738,415,616 weights with 32,000 words, 64 more are 2*64*4096; CLIP-L at 336 pixels has
    303,507,456, the projector 1024*4096 + 4096*4096 and two biases of 4096.
    """
    found = estimate("recipe=llava_1_5_7b", "model=llava_1_5_7b", "distributed=zero2")
    projector = 1024 * 4096 + 4096 * 4096 + 2 * 4096
    assert found.parts == {
        "vision": 303_507_456,
        "projector": projector,
        "decoder": 6_738_415_616 + 2 * 64 * 4096,
    }
    assert found.sharing.devices == 8
    pretrain, instruct = found.phases
    assert pretrain.learning == projector
    assert instruct.learning == projector + found.parts["decoder"]
    # 558,128 captions in batches of 256, 665,298 conversations in batches of 128: the published steps
    assert (pretrain.steps, instruct.steps) == (2180, 5197)
    assert pretrain.data.missing == (
        "data/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json",
        "data/LLaVA-Pretrain/images",
    )
    # frozen, linear layers count twice and attention thrice, and all once more with checkpointing; 1.78 T is
    # the paper's forward
    assert 3 * 1.78e12 < pretrain.cost.image_tokens < 1.02 * 3 * 1.78e12
    assert instruct.cost.image_tokens / 1e12 == pytest.approx(4 * 1.78, abs=0.02)


def test_llava_next_trains_all_parts_of_five_tiles():
    found = estimate("recipe=llava_next_7b", "model=llava_next_7b")
    assert found.schedule[0] == 2880
    # the embedding of a new line of tiles is the projector's
    assert found.parts["projector"] == 1024 * 4096 + 4096 * 4096 + 3 * 4096
    assert found.phases[1].learning == sum(found.parts.values())


def test_more_sharing_is_less_memory():
    each = [
        estimate("recipe=llava_1_5_7b", "model=llava_1_5_7b", f"distributed={way}").phases[1].memory.total
        for way in ("none", "zero2", "zero3")
    ]
    assert each == sorted(each, reverse=True)
    assert each[0] > 80e9 > each[1]


def test_adapters_learn_in_the_decoders_place():
    """Rank 8 on all seven linear layers of 32: 8 * (4 * (4096+4096) + 3 * (4096+11008))."""
    found = estimate("recipe=llava_1_5_7b", "model=llava_1_5_7b", "lora.rank=8")
    adapters = 32 * 8 * (4 * 8192 + 3 * 15104)
    assert found.phases[0].learning == found.parts["projector"]
    assert found.phases[1].learning == found.parts["projector"] + adapters
    assert "LoRA of rank 8" in render(found)


@pytest.mark.parametrize(
    "start", [[], ["model=llava_1_5_7b", "recipe=llava_1_5_7b"]], ids=["tokenizer", "none"]
)
def test_fewer_conversations_than_a_batch_are_refused_as_in_training(data, start):
    with pytest.raises(UserError, match=r"batch of 12\b.* set a smaller recipe\.instruct\.batch_size"):
        estimate(*start, *overrides(data), "recipe.instruct.batch_size=12")


def test_what_is_cut_at_the_context_is_counted(data):
    """Those about an image have 154 tokens, of which the last two are the answer and its end mark."""
    short = [*overrides(data), "recipe.instruct.max_length=153", "recipe.instruct.batch_size=4"]
    with pytest.raises(
        UserError, match=r"0 samples with images and 3 without.* Left out were .*'too long': 8"
    ):
        estimate(*short, "on_long=skip")
    found = estimate(*short, "on_long=truncate")
    assert found.phases[0].data.truncated == 8
    assert "8 cut at max_length" in render(found)


def test_data_that_are_there_are_read_and_counted(data):
    """Batches of 2 hold samples with an image or without one: 4 and 1 of them, in three epochs 15."""
    found = estimate(*overrides(data))
    (phase,) = found.phases
    assert phase.data.conversations == 11
    assert phase.steps == 15
    assert found.missing == ()
    assert {image for image, _ in phase.data.shapes} == {144, 0}
    assert phase.data.tokens[0] == 144 * 8 / 11
    costs = [
        training_flops(LlavaConfig.from_pretrained(found.source.split()[-1]), PyramidDrop(), *shape,
                       train=["projector", "decoder"], checkpointing=False) * count
        for shape, count in phase.data.shapes.items()
    ]  # fmt: skip
    assert phase.cost.all_tokens == round(sum(c.all_tokens for c in costs) / 11)
    assert "assumed" not in render(found)


def test_wrong_data_end_a_dry_run_as_they_end_training(data):
    broken = json.loads((data / "a.json").read_text())
    broken[3]["image"] = "gone.png"
    (data / "a.json").write_text(json.dumps(broken))
    with pytest.raises(UserError, match=r"gone\.png"):
        estimate(*overrides(data))
    skipping = estimate(*overrides(data), "on_error=skip")
    assert skipping.phases[0].data.conversations == 10
    assert sum(skipping.phases[0].data.skipped.values()) == 1
    assert "skipped" in render(skipping)


def test_a_conversation_beyond_the_context_ends_it(data):
    with pytest.raises(UserError, match="max_length=150"):
        estimate(*overrides(data), "recipe.instruct.max_length=150")


def test_the_page_names_what_is_missing_and_what_is_assumed():
    text = render(estimate("recipe=llava_1_5_7b", "model=llava_1_5_7b", "distributed=fsdp"))
    for words in (
        "nothing is trained or downloaded",
        "published sizes of llava-1.5",
        "8, FSDP2; sharded: weights, gradients, optimizer",
        "(assumed)",
        "Missing, to be put there before training: data/LLaVA-Pretrain",
        "FLOPs are multiply-adds",
        "Memory is estimated",
    ):
        assert words in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 100


def test_a_model_of_unknown_sizes():
    with pytest.raises(UserError, match=r"model\.pretrained=<folder>"):
        estimate("model.pretrained=somebody/some-model")
    with pytest.raises(UserError, match="isn't there"):
        estimate("model.pretrained=checkpoints/not-yet")


def test_a_strategy_that_does_not_fit():
    with pytest.raises(UserError, match="stages=9"):
        estimate("strategy.stages=9")


def test_parameters_are_counted_without_memory():
    parts, adapters = count_parameters(LlavaConfig())
    assert sum(parts.values()) > 7e9
    assert adapters == 0
    assert torch.empty(0).device.type == "cpu"
    assert nominal_image_tokens(LlavaConfig()) == 576
