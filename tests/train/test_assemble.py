"""A start for projector pretraining, put together from a tiny language model and a tiny CLIP."""

import json
import shutil
import sys

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoProcessor,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from pdrop_eval import PyramidDrop, UserError
from pdrop_eval.models.prompts import build_prompt
from pdrop_eval.run.evaluate.header import nominal_image_tokens
from pdrop_eval.run.train import assemble as module
from pdrop_eval.run.train.assemble import assemble

WORDS = ["<unk>", "<s>", "</s>", "what", "cat", "a", ":", "."]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of a Llama of 8 words with its tokenizer, and of a whole CLIP."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(text).to(torch.bfloat16).save_pretrained(folder / "words")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder / "words")
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=20,
        patch_size=4, projection_dim=16,
    )  # fmt: skip
    small = CLIPTextConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    clip = CLIPConfig(text_config=small.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    CLIPModel(clip).save_pretrained(folder / "clip")
    processor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5], "crop_size": 20}
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="module")
def start(parts, tmp_path_factory):
    return assemble(str(parts / "words"), str(parts / "clip"), tmp_path_factory.mktemp("llava") / "start")


def test_every_weight_is_taken_over_but_the_projectors(parts, start):
    model = LlavaForConditionalGeneration.from_pretrained(start)
    words = LlamaForCausalLM.from_pretrained(parts / "words")
    tower = CLIPModel.from_pretrained(parts / "clip").vision_model
    for name, weight in words.model.layers.named_parameters():
        assert torch.equal(model.model.language_model.layers.get_parameter(name), weight)
    embeddings = model.get_input_embeddings().weight
    assert torch.equal(embeddings[: len(WORDS)], words.get_input_embeddings().weight)
    found = {n.removeprefix("vision_model."): w for n, w in model.model.vision_tower.named_parameters()}
    assert found.keys() == dict(tower.named_parameters()).keys()
    for name, weight in tower.named_parameters():
        assert torch.equal(found[name], weight.to(torch.bfloat16))
    # of 8 inputs torch's linear layer draws from -1/sqrt(16) to 1/sqrt(16)
    first = model.model.multi_modal_projector.linear_1.weight
    assert 0.2 < first.abs().max() <= 0.25
    assert model.dtype == torch.bfloat16


def test_the_new_words_are_known_and_the_vocabulary_is_filled_up(start):
    model = LlavaForConditionalGeneration.from_pretrained(start)
    processor = AutoProcessor.from_pretrained(start)
    assert processor.image_token_id == model.config.image_token_id == len(WORDS)
    assert processor.tokenizer.pad_token_id == model.config.text_config.pad_token_id == len(WORDS) + 1
    weight = model.get_input_embeddings().weight
    assert len(weight) == model.config.text_config.vocab_size == 64
    assert torch.allclose(weight[len(WORDS)], weight[: len(WORDS)].float().mean(0).to(weight.dtype))


def test_an_image_is_padded_and_runs_through_the_model_with_a_strategy(start):
    model = LlavaForConditionalGeneration.from_pretrained(start)
    processor = AutoProcessor.from_pretrained(start)
    assert nominal_image_tokens(model.config) == 25
    # a wide red image: where it was padded are rows of the mean colour, which are 0 after normalising
    inputs = processor(
        images=Image.new("RGB", (40, 20), "red"), text="<image>\nwhat : a cat .", return_tensors="pt"
    )
    assert inputs["pixel_values"].shape == (1, 3, 20, 20)
    assert inputs["pixel_values"][0, :, 0].abs().max() < 0.02
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 25
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -2:] = 4
    with PyramidDrop()(model) as drop:
        loss = model(**inputs, labels=labels).loss
    assert loss.isfinite()
    assert [rows[0] for rows in drop.image_tokens_per_layer] == [25, 12, 6, 3]


def test_the_chat_template_is_vicunas(start):
    processor = AutoProcessor.from_pretrained(start)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what"}]}
    asked = processor.apply_chat_template([user], add_generation_prompt=True)
    assert asked == build_prompt("vicuna", processor, "what", images=1)
    answer = {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]}
    assert processor.apply_chat_template([user, answer]) == asked + " a cat</s>"


def test_a_llava_next_has_grids_and_a_newline(parts, tmp_path):
    out = assemble(str(parts / "words"), str(parts / "clip"), tmp_path / "next", anyres="p5")
    model = LlavaNextForConditionalGeneration.from_pretrained(out)
    assert model.config.image_grid_pinpoints == [[20, 40], [40, 20], [40, 40], [60, 20], [20, 60]]
    assert 0.5 < model.model.image_newline.float().norm() < 2
    processor = AutoProcessor.from_pretrained(out)
    inputs = processor(images=Image.new("RGB", (40, 20)), text="<image>\nwhat", return_tensors="pt")
    # an overview, and 5 rows of 10 tokens with a newline each
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 25 + 5 * 11
    assert model(**inputs).logits.isfinite().all()


def test_the_projector_follows_from_the_seed(parts, start, tmp_path):
    def projector(folder):
        return LlavaForConditionalGeneration.from_pretrained(
            folder
        ).model.multi_modal_projector.linear_2.weight

    def again(seed):
        return assemble(str(parts / "words"), str(parts / "clip"), tmp_path / str(seed), seed=seed)

    assert torch.equal(projector(start), projector(again(0)))
    assert not torch.equal(projector(start), projector(again(1)))
    made = json.loads((tmp_path / "1" / "assembled.json").read_text())
    assert (made["seed"], made["anyres"]) == (1, None)


def test_another_kind_of_model(parts, tmp_path):
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(UserError, match="'bert'"):
        assemble(str(tmp_path / "bert"), str(parts / "clip"), tmp_path / "out")
    with pytest.raises(UserError, match="a CLIP"):
        assemble(str(parts / "words"), str(tmp_path / "bert"), tmp_path / "out")


def test_a_folder_that_is_not_empty_is_left_alone(parts, start, monkeypatch, capsys):
    arguments = ["--decoder", str(parts / "words"), "--vision", str(parts / "clip"), "--out", str(start)]
    monkeypatch.setattr(sys, "argv", ["assemble", *arguments])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert "isn't empty" in capsys.readouterr().err


def test_a_folder_that_is_not_there(parts, tmp_path):
    with pytest.raises(UserError, match="can't be loaded"):
        assemble(str(tmp_path / "nothing"), str(parts / "clip"), tmp_path / "out")


def test_a_space_stands_before_what_follows_an_image_as_in_llavas_training(parts, tmp_path):
    """Vicuna's own settings say legacy=false, by which the new line would follow <image> at once."""
    words = tmp_path / "words"
    shutil.copytree(parts / "words", words)
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "▁", "<0x0A>", "a", "▁a", "U"])}
    llama = LlamaTokenizer(vocab=vocabulary, merges=[("▁", "a")], legacy=False)
    llama.save_pretrained(words)
    folder = assemble(str(words), str(parts / "clip"), tmp_path / "start")
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    found = tokenizer("U a<image>\nU a", add_special_tokens=False).input_ids
    space, line, image = 3, 4, tokenizer.convert_tokens_to_ids("<image>")
    assert found == [space, 7, 6, image, space, line, 7, 6]
