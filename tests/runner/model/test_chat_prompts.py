"""Prompts and pixels."""

from types import SimpleNamespace

import pytest
from PIL import Image
from runner_tiny import tokenizer
from transformers import AutoProcessor

from pdrop_eval.models.prompts import build_prompt, to_square

PROCESSOR = SimpleNamespace(image_token="<image>", chat_template=None)


def test_vicuna_is_the_prompt_of_llavas_own_evaluation():
    assert build_prompt("vicuna", PROCESSOR, "What is it?\nOne word.", 1) == (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
        "USER: <image>\nWhat is it?\nOne word. ASSISTANT:"
    )


def test_vicuna_without_an_image_has_no_placeholder():
    assert "USER: Hello ASSISTANT:" in build_prompt("vicuna", PROCESSOR, "Hello", 0)


def test_several_images_stand_before_the_question():
    assert "USER: <image>\n<image>\nWhich? ASSISTANT:" in build_prompt("vicuna", PROCESSOR, "Which?", 2)


def test_placeholders_in_the_question_stay_where_they_are():
    prompt = build_prompt("vicuna", PROCESSOR, "Is <image> like <image>?", 2)
    assert "USER: Is <image> like <image>? ASSISTANT:" in prompt


def test_more_placeholders_than_images_are_an_error():
    with pytest.raises(ValueError, match=r"2 times '<image>', but 1 image\b"):
        build_prompt("vicuna", PROCESSOR, "Is <image> like <image>?", 1)


def test_the_checkpoints_own_template_is_used(llava):
    processor = AutoProcessor.from_pretrained(llava)
    assert build_prompt("checkpoint", processor, "Why {x}?", 1) == "USER: <image>\nWhy {x}? ASSISTANT:"


@pytest.mark.parametrize(("size", "corner"), [((4, 2), (0, 1)), ((2, 4), (1, 0)), ((3, 3), (0, 0))])
def test_padding_centres_the_image_on_the_mean_colour(size, corner):
    square = to_square(Image.new("RGB", size, "white"), (0.5, 0.25, 0.0))
    assert square.size == (max(size), max(size))
    assert square.crop((*corner, corner[0] + size[0], corner[1] + size[1])).getcolors() == [
        (size[0] * size[1], (255, 255, 255))
    ]
    if size[0] != size[1]:
        assert square.getpixel((0, 0)) == (127, 63, 0)


def test_the_tiny_tokenizer_reads_what_it_writes():
    words = tokenizer()
    assert words.decode(words("Is it red?\nYes")["input_ids"], skip_special_tokens=True) == "Is it red?\nYes"
