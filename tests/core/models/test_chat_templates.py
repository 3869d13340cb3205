"""A checkpoint's chat template: found, tried, and with the ids of the processor's own."""

import pytest
from checkpoint_copies import MINI_TOKENS, Copy, image

from pdrop_eval.models.loading.processors import process_image
from pdrop_eval.models.prompts import build_prompt, expand_images, token_ids
from pdrop_eval.run.train.assemble import CHAT_TEMPLATE as ASSEMBLED
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINTS

# As they ship with the families, by what they write.
_PARTS = (
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + AFTER }}{% endfor %}"
)
_VICUNA = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}" + _PARTS.replace("AFTER", "' '")
    + "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)  # fmt: skip
_MISTRAL = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    + _PARTS.replace("AFTER", "''")
    + "{{ ' [/INST]' }}{% else %}{{ ' ' + message['content'][0]['text'] + eos_token }}{% endif %}{% endfor %}"
)
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    + _PARTS.replace("AFTER", "''")
    + "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA_3 = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}" + _PARTS.replace("AFTER", "''")
    + "{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)  # fmt: skip
_BOS_FIRST = "{{ bos_token }}" + _VICUNA
SHIPPED = {
    "vicuna": _VICUNA, "mistral": _MISTRAL, "chatml": _CHATML, "llama 3": _LLAMA_3, "bos": _BOS_FIRST,
    "assembled": ASSEMBLED,
    "mini": (MINI_CHECKPOINTS / "mini/chat_template.jinja").read_text(),
}  # fmt: skip
# For one string a message, as text models' tokenizers bring them.
TEXT_ONLY = {
    "llama 2": "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}",
    "gemma": "{{ bos_token }}{% for message in messages %}{{ message['role'] + '\n' }}"
    "{{ message['content'] | trim }}{% endfor %}",
    "as it is": "{% for message in messages %}USER: {{ message['content'] }}{% endfor %} ASSISTANT:",
}


@pytest.fixture
def mini(tmp_path):
    return Copy(tmp_path, "mini")


def same_ids(copy, template, sizes=((60, 40),)):
    """Our ids of a question on pictures, and those of the processor's own apply_chat_template."""
    copy.template(template)
    processor = copy.load()
    pictures, question = [image(*size) for size in sizes], "What color is it?"
    tokens = [process_image(copy.family, processor, picture)[1] for picture in pictures]
    prompt = build_prompt("checkpoint", processor, question, len(pictures))
    ours = token_ids(processor.tokenizer, expand_images(copy.family, processor, prompt, tokens))
    parts = [{"type": "image", "image": picture} for picture in pictures]
    theirs = processor.apply_chat_template(
        [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    return ours, list(theirs["input_ids"][0])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_ids_of_a_prompt_are_those_of_the_processors_own_template(mini, name):
    ours, theirs = same_ids(mini, SHIPPED[name])
    assert ours == theirs
    assert ours.count(1) == 1  # one BOS, whether the template writes it or the tokenizer adds it
    assert ours.count(4) == MINI_TOKENS


@pytest.mark.parametrize("name", ["chatml", "bos"])
def test_the_ids_of_several_pictures_of_tiles_are_those_of_the_processors_own(tmp_path, name):
    ours, theirs = same_ids(Copy(tmp_path, "mini_next_p5"), SHIPPED[name], ((120, 60), (60, 120)))
    assert ours == theirs
    # Each has an overview of 144; the wide one 12 rows of 24 and a newline, the tall one 24 of 12 and one.
    assert ours.count(4) == 144 + 12 * 25 + 144 + 24 * 13


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_a_template_for_one_string_gets_the_image_as_its_first_line(mini, name):
    ours, theirs = same_ids(mini, TEXT_ONLY[name])
    assert ours == theirs
    assert (ours.count(1), ours.count(4)) == (1, MINI_TOKENS)
    assert "<image>\nWhat is it?" in build_prompt("checkpoint", mini.load(), "What is it?", 1)


def test_a_template_that_only_the_tokenizer_brings_is_found(mini):
    (mini.folder / "chat_template.jinja").unlink()
    mini.edit("tokenizer_config.json", chat_template=_VICUNA)
    assert build_prompt("checkpoint", mini.load(), "Why?", 1) == "USER: <image>\nWhy? ASSISTANT:"


@pytest.mark.parametrize(("template", "said"), [
    ("{{ raise_exception('no such role') }}", "no such role"),
    ("{{ messages[0]['content'][0]['text'] }}", "0 times"),
    ("{% if %}", "TemplateSyntaxError"),
    ("Hello", "writes <image> 0 times for one image"),
    ("{% for m in messages %}<image><image>{{ m['content'][-1]['text'] }}{% endfor %}", "2 times"),
])  # fmt: skip
def test_a_template_that_fails_is_refused_with_the_way_out(mini, template, said):
    mini.template(template)
    with pytest.raises(UserError, match=said) as refused:
        mini.load()
    assert "chat_template=vicuna" in str(refused.value)
    assert mini.load("vicuna").chat_template == template  # which never asks for it


def test_a_checkpoint_without_a_template_says_what_to_do(mini):
    (mini.folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"brings no chat template.*chat_template=vicuna"):
        mini.load()
    mini.load("vicuna")


def test_a_template_that_is_no_text_is_refused(mini):
    (mini.folder / "chat_template.jinja").unlink()
    mini.edit("processor_config.json", chat_template=5)
    with pytest.raises(UserError, match="can't be used for a question on a picture"):
        mini.load()


def test_several_templates_by_name_need_a_default(mini):
    (mini.folder / "chat_template.jinja").unlink()
    both = [{"name": "default", "template": TEXT_ONLY["as it is"]}, {"name": "tools", "template": "x"}]
    mini.edit("tokenizer_config.json", chat_template=both)
    assert build_prompt("checkpoint", mini.load(), "Why?", 1) == "USER: <image>\nWhy? ASSISTANT:"
    mini.edit("tokenizer_config.json", chat_template=both[1:])
    with pytest.raises(UserError, match="none of them are named"):
        mini.load()
