"""A question as a chat completion's request, and its answer. Images are PNG: no pixel changes on the way."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from PIL import Image

from pdrop_eval.models.prompts import PlaceholderError
from pdrop_eval.run.lmms.answer_log import Answer
from pdrop_eval.run.lmms.inputs.requests import arguments_of, cut
from pdrop_eval.run.lmms.measurement import Measurement
from pdrop_eval.utils.server.chat_server import ChatServer, QuestionError

_PLACEHOLDER = "<image>"
_MOST_STOPS = 4  # texts that end an answer: OpenAI's limit, which servers share
# Ends of an answer that is none: withheld, or broken off by the server.
_NO_ANSWER = ("content_filter", "abort", "aborted", "cancelled", "error", "tool_calls", "function_call")


@dataclass(frozen=True)
class Question:
    """A question that is ready to be asked.

    Attributes:
        images: As they are sent.
        sizes: (width, height) of each picture as it was given; the hashes are those of `Measurement`.
    """

    request: Instance
    images: tuple[Image.Image, ...]
    content_sha256: str
    images_sha256: str
    sizes: tuple[tuple[int, int], ...]

    @property
    def prompt_ids(self) -> list[int]:
        """Token ids: the server makes them."""
        return []

    def body(self, max_new_tokens: int) -> tuple[dict[str, Any], list[str]]:
        """The request's fields beside the model, and the texts that end an answer.

        Decoding is greedy, whatever the task samples.
        """
        arguments, until = arguments_of(self.request.args[1], max_new_tokens)
        stops = [stop for stop in until if stop]
        fields = {
            "messages": [{"role": "user", "content": content_of(self.request.args[0], self.images)}],
            "max_tokens": arguments["max_new_tokens"],
            "temperature": 0,
            **({"stop": stops} if 0 < len(stops) <= _MOST_STOPS else {}),
        }
        return fields, until


def content_of(text: str, images: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """The parts of a message: each image at its placeholder; those that have none stand first.

    Raises:
        PlaceholderError: More placeholders than images.
    """
    texts = text.split(_PLACEHOLDER)
    missing = len(images) - (len(texts) - 1)
    if missing < 0:
        raise PlaceholderError(
            f"the question has {len(texts) - 1} times {_PLACEHOLDER!r}, but {len(images)} images"
        )
    parts = [_picture(image) for image in images[:missing]]
    for place, part in enumerate(texts):
        parts += [_picture(images[missing + place - 1])] if place else []
        parts += [{"type": "text", "text": part}] if part else []
    return parts


def _picture(image: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}


def read_answer(server: ChatServer, said: dict[str, Any], question: Question, until: Sequence[str]) -> Answer:
    """The answer in a chat completion.

    An empty text is an answer, and so is one that the limit of tokens has cut. A null is none: a model that
    reasons has used up its tokens, or the server has failed.

    Raises:
        TemporaryError: It is no chat completion, or was broken off.
        QuestionError: The server withholds the answer, or had no tokens left for it.
    """
    try:
        choice = said["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text = _text(message["content"])
        thought = message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise server.unfit(said) from error
    if reason == "content_filter":
        raise QuestionError(f"{server.shown} withholds the answer (finish_reason content_filter).")
    if reason == "length" and not text and (text is None or thought):
        raise QuestionError(
            f"{server.shown} used up the answer's tokens before it gave one "
            "(finish_reason length, and no content). If the model reasons, switch that off with "
            "model.extra_body={chat_template_kwargs:{enable_thinking:false}}."
        )
    if text is None or reason in _NO_ANSWER:
        raise server.unfit(said, f" that is whole (finish_reason {reason})")
    usage = said.get("usage")
    prompt, new = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    measured = Measurement(
        content_sha256=question.content_sha256,
        images_sha256=question.images_sha256,
        prompt_tokens=prompt,
        image_tokens=None,
        image_tokens_per_layer=(),
        new_tokens=new,
        image_sizes=[list(size) for size in question.sizes],
    )
    counts = TokenCounts(input_tokens=prompt, output_tokens=new)
    return Answer(GenerationResult(cut(text, until), counts), measured)


def _text(content: Any) -> str | None:
    """A message's text; some servers give it in parts."""
    if content is None or isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in content if part["type"] in ("text", "output_text"))


def _count(usage: Any, name: str) -> int | None:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if type(found) is int and 0 <= found < 2**53 else None
