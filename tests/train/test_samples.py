"""Which tokens carry the loss, and what can't be learned from."""

from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoProcessor

from pdrop_eval.run.train.data.conversations import Conversation, Turn
from pdrop_eval.run.train.data.samples import make_samples, render
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINT

START = MINI_CHECKPOINT
IMAGE = (Path("picture.png"),)


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(START)


def conversation(*turns, images=IMAGE):
    return Conversation("a", Path("data.json"), 7, images, tuple(Turn(q, a) for q, a in turns))


def sample(processor, conversation, template="checkpoint", tokens=3, max_length=100):
    count = lambda c: (tokens,) * len(c.images)  # noqa: E731
    (made,), skipped = make_samples([conversation], processor, template, count, max_length)
    assert skipped == {}
    return made


def words(processor, ids):
    return processor.tokenizer.convert_ids_to_tokens([int(i) for i in ids])


QUESTION = "What color is the star?"
PICTURE = Image.new("RGB", (60, 40), "red")
TWO = conversation((f"<image>\n{QUESTION}", "red"), ("How many?", "3"))


def test_answers_and_their_end_marks_carry_the_loss(processor):
    made = sample(processor, TWO)
    assert [words(processor, made.ids[a:b]) for a, b in made.answers] == [["red", "</s>"], ["3", "</s>"]]
    assert [words(processor, made.ids[a - 1 : a]) for a, _ in made.answers] == [["ASSISTANT:"]] * 2
    assert words(processor, made.ids[:3]) == ["<s>", "USER:", "<image>"]
    assert made.length == len(made.ids) + 2
    assert made.answer_tokens == 4


def test_the_prompt_is_the_one_of_evaluation(processor):
    from pdrop_eval.models.prompts import build_prompt

    text, spans = render(TWO, processor, "checkpoint", "</s>")
    assert text[: spans[0][0]] == build_prompt("checkpoint", processor, "What color is the star?", 1)
    text, spans = render(TWO, processor, "vicuna", "</s>")
    assert text[: spans[0][0]] == build_prompt("vicuna", processor, "What color is the star?", 1)
    assert text[spans[0][0] :] == " red</s>USER: How many? ASSISTANT: 3</s>"


# Of which the first writes a BOS of its own, and the second takes content of one string alone.
WRITTEN = {
    "bos": "{{ bos_token }}{% for m in messages %}{{ 'USER: ' if m['role'] == 'user' else 'ASSISTANT: ' }}"
    "{% for part in m['content'] %}{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{{ ' ' if m['role'] == 'user' else eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}",
    "text": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ 'USER: ' + m['content'] + ' ASSISTANT:' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}"
    "{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("name", [*WRITTEN, "own"])
def test_the_ids_are_those_of_the_processors_own_chat_template(name):
    from pdrop_eval.models.loading.chat_templates import settle_template

    processor = AutoProcessor.from_pretrained(START)
    processor.chat_template = WRITTEN.get(name, processor.chat_template)
    settle_template(processor, "mini")
    made = sample(processor, TWO)
    said = [("user", [{"type": "image", "image": PICTURE}, {"type": "text", "text": QUESTION}])]
    said += [("assistant", "red"), ("user", "How many?"), ("assistant", "3")]
    messages = [
        {"role": role, "content": [{"type": "text", "text": what}] if isinstance(what, str) else what}
        for role, what in said
    ]
    found = processor.apply_chat_template(messages, tokenize=True, return_dict=True)
    theirs, image = list(found["input_ids"][0]), processor.image_token_id
    assert theirs.count(image) == 144
    at = theirs.index(image)
    assert made.ids.tolist() == [*theirs[: at + 1], *theirs[at + 144 :]]  # an image is one token in a sample
    assert made.ids.tolist().count(processor.tokenizer.bos_token_id) == 1
    assert [words(processor, made.ids[a:b]) for a, b in made.answers] == [["red", "</s>"], ["3", "</s>"]]


def test_a_template_that_fails_at_a_later_turn_is_an_error_with_the_turn():
    processor = AutoProcessor.from_pretrained(START)
    processor.chat_template = (
        "{% if messages | length > 2 %}{{ raise_exception('one turn only') }}{% endif %}"
        "{% for m in messages %}{{ m['content'][-1]['text'] }}"
        "{{ eos_token if m['role'] == 'assistant' else '' }}{% endfor %}"
    )
    with pytest.raises(UserError, match=r"fails at turn 2 .*one turn only.*template=vicuna"):
        sample(processor, conversation(("What?", "red"), ("How many?", "3"), images=()))


def test_a_caption_follows_its_picture_at_once(processor):
    made = sample(processor, conversation(("<image>\nDescribe it.", "a red star")), "plain")
    assert words(processor, made.ids)[:2] == ["<s>", "<image>"]
    ((start, end),) = made.answers
    assert start == 2
    assert words(processor, made.ids[start:end])[-2:] == ["red", "star"]


def test_a_picture_at_the_end_of_a_question_comes_first(processor):
    late = sample(processor, conversation(("What color is the star?\n<image>", "red")))
    early = sample(processor, conversation(("<image>\nWhat color is the star?", "red")))
    assert late.ids.tolist() == early.ids.tolist()


def test_text_alone_has_no_image_tokens(processor):
    made = sample(processor, conversation(("What color?", "red"), images=()))
    assert made.image_tokens == ()
    assert made.length == len(made.ids)


def problems():
    long = conversation(("<image>\nWhat color is the star?", "red " * 120))
    empty = conversation(("<image>\nWhat?", "\u200b"))
    marks = conversation(("<image>\n<image>\nWhat?", "red"))
    return [
        ("too long", long, "max_length=100", "Shorten or split"),
        ("image marks", marks, "2 image tokens for 1 images", "Leave <image> out"),
        ("no labels", empty, "no token of it carries a label", "Give it an answer"),
    ]


@pytest.mark.parametrize(("name", "wrong", "what", "fix"), problems(), ids=lambda value: str(value)[:12])
def test_what_can_not_be_learned_from_stops_or_is_counted(processor, monkeypatch, name, wrong, what, fix):
    if name == "no labels":  # this tokenizer knows a token for everything; others drop some characters
        monkeypatch.setattr("pdrop_eval.run.train.data.samples._token_spans", lambda *_: ())
    with pytest.raises(UserError) as error:
        sample(processor, wrong)
    assert "data.json, line 7 (id a)" in str(error.value)
    assert what in str(error.value)
    assert fix in str(error.value)
    assert "on_error=skip" in str(error.value)
    count = lambda c: (3,) * len(c.images)  # noqa: E731
    kept, skipped = make_samples([wrong], processor, "checkpoint", count, 100, "skip")
    assert kept == []
    assert skipped == {name: 1}


def lengths(processor, *turns):
    """Tokens up to the end of each answer, images of 3 tokens."""
    return [sample(processor, conversation(*turns[: n + 1])).length for n in range(len(turns))]


def cut(processor, given, max_length, on_error="stop"):
    count = lambda c: (3,) * len(c.images)  # noqa: E731
    return make_samples(
        [given], processor, "checkpoint", count, max_length, on_error, on_long="truncate"
    )  # fmt: skip


TURNS = (("<image>\nWhat color is the star?", "red"), ("How many?", "3"))


def test_truncating_keeps_the_first_tokens_and_their_labels_as_llava_does(processor):
    """An answer here is a word and its end mark."""
    given = conversation(*TURNS)
    whole, (first, both) = sample(processor, given), lengths(processor, *TURNS)
    for most, answers, lost in ((both, 4, 0), (both - 1, 3, 1), (first, 2, both - first), (first - 1, 1, 0)):
        (made,), skipped = cut(processor, given, most)
        assert skipped == {}
        assert made.length == most
        assert made.cut == both - most == (lost or both - most)
        assert made.ids.tolist() == whole.ids[: len(whole.ids) - made.cut].tolist()
        assert made.answer_tokens == answers
        assert made.image_tokens == (3,)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_what_has_no_answer_left_after_the_cut_is_counted(processor, on_error):
    first = lengths(processor, *TURNS)[0]
    for most in (first - 2, 2):  # before the answer; amid the image
        made, skipped = cut(processor, conversation(*TURNS), most, on_error)
        assert made == []
        assert skipped == {"no answer within max_length": 1}


def test_what_is_too_long_has_a_setting_of_its_own(processor):
    count = lambda c: (3,) * len(c.images)  # noqa: E731
    given = [conversation(*TURNS)], processor, "checkpoint", count, 5
    assert make_samples(*given, "stop", on_long="skip") == ([], {"too long": 1})
    with pytest.raises(UserError, match=r"on_long=truncate cuts .* on_error=skip or on_long=skip leaves"):
        make_samples(*given, "skip", on_long="stop")


def test_a_template_without_end_mark_is_refused(processor, monkeypatch):
    monkeypatch.setattr(
        processor, "chat_template",
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'][-1]['text'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
    )  # fmt: skip
    with pytest.raises(UserError, match="Use template=vicuna"):
        sample(processor, TWO)
