"""A checkpoint's chat template: found, tried once, and made to take pictures where it is written for text."""

import json
from typing import Any

from pdrop_eval.models.prompts import build_prompt
from pdrop_eval.utils.errors import UserError

_VICUNA = "Use chat_template=vicuna (model.chat_template; in training, recipe.<phase>.template)"
_QUESTION = "What is in the picture?"
# Before a template that takes a message's content as one string: its parts become one, images first.
_AS_TEXT = """\
{%- set flat = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- set said = namespace(marks='', words='') -%}
{%- if message['content'] is string -%}
{%- set said.words = message['content'] -%}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{%- set said.marks = said.marks + IMAGE_MARK -%}{%- endif -%}
{%- if part['type'] == 'text' -%}{%- set said.words = said.words + part['text'] -%}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set flat.messages = flat.messages + [dict(message, content=said.marks + said.words)] -%}
{%- endfor -%}
{%- set messages = flat.messages %}{{ '' }}"""


def settle_template(processor: Any, pretrained: str) -> None:
    """Give a processor the chat template that its checkpoint brings, and try it with a question on a picture.

    The tokenizer's is taken where the processor has none. A template that is written for content of one
    string gets it so, each image as a placeholder on a line of its own before the text.

    Raises:
        UserError: there is none, or it can't be used.
    """
    template = processor.chat_template or getattr(processor.tokenizer, "chat_template", None)
    if not template:
        raise UserError(
            f"The checkpoint {pretrained} brings no chat template, but chat_template=checkpoint asks for it. "
            f"{_VICUNA}, or put the model's own into chat_template.jinja."
        )
    processor.chat_template = template
    problem = _problem(processor)
    if problem is None:
        return
    processor.chat_template = _for_text(template, processor.image_token)
    if _problem(processor) is not None:
        raise UserError(
            f"The chat template of {pretrained} can't be used for a question on a picture: {problem}. Mend "
            f"it (chat_template.jinja, or chat_template in tokenizer_config.json). {_VICUNA}."
        )


def _problem(processor: Any) -> str | None:
    """What is wrong with the prompt that a processor's template makes; None: nothing."""
    try:
        prompt = build_prompt("checkpoint", processor, _QUESTION, 1)
    except Exception as error:  # a template is a program, and may end in any way
        return f"{type(error).__name__}: {error}"
    marks = prompt.count(processor.image_token)
    if marks != 1:
        return f"it writes {processor.image_token} {marks} times for one image"
    if prompt.count(_QUESTION) != 1:
        return "it leaves the question out"
    return None


def _for_text(template: Any, image_token: str) -> Any:
    before = _AS_TEXT.replace("IMAGE_MARK", json.dumps(image_token + "\n"))
    if isinstance(template, dict):  # of several with names, "default" is used
        return {name: _for_text(one, image_token) for name, one in template.items()}
    return before + template if isinstance(template, str) else template
