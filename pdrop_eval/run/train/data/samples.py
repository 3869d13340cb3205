"""Conversations as token ids with labels on the answers alone. Needs a tokenizer, but no torch.

Images stay one token each here; `loader` expands them, so that a million conversations fit into memory.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from pdrop_eval.models.prompts import begins_with_bos, system_prompt
from pdrop_eval.run.train.data.conversations import Conversation
from pdrop_eval.utils.errors import UserError

TEMPLATES = ("plain", "checkpoint", "vicuna")
MARK = "<image>"  # as LLaVA's JSON has it
_CHUNK = 1000


class UnreadableImageError(UserError):
    """An image that can't be opened; the message names the sample."""


@dataclass(frozen=True)
class Sample:
    """One conversation, tokenized.

    Attributes:
        ids: int32 [n], an image being one token.
        answers: Spans of ids [start, end) that carry the loss.
        image_tokens: How many tokens each image becomes.
        cut: How many tokens at the end were left out, because they are beyond the context.
    """

    conversation: Conversation
    ids: np.ndarray
    answers: tuple[tuple[int, int], ...]
    image_tokens: tuple[int, ...]
    cut: int = 0

    @property
    def length(self) -> int:
        """Tokens of the sequence with its images expanded."""
        return len(self.ids) + sum(self.image_tokens) - len(self.image_tokens)

    @property
    def answer_tokens(self) -> int:
        """Tokens that carry the loss."""
        return sum(end - start for start, end in self.answers)


def make_samples(
    conversations: Sequence[Conversation],
    processor: Any,
    template: str,
    count_tokens: Callable[[Conversation], tuple[int, ...]],
    max_length: int,
    on_error: str = "stop",
    needs_image: bool = False,
    progress: Callable[[Sequence[Conversation]], Iterator[Conversation]] = iter,
    on_long: str | None = None,
) -> tuple[list[Sample], dict[str, int]]:
    """Tokenize conversations; returns the samples, and how many were skipped by problem.

    Args:
        count_tokens: Returns the tokens of a conversation's images.
        max_length: The most tokens of a whole sequence.
        on_error: `skip` leaves out and counts what doesn't fit.
        needs_image: Text alone can teach nothing, because the decoder does not learn.
        on_long: What becomes of a sequence that is longer than `max_length`: `stop`, `skip` or `truncate`;
            None: as `on_error` says.

    Raises:
        UserError: an answer beyond `max_length`, a conversation without a label, a template without an end.
    """
    eos = processor.tokenizer.eos_token
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    waiting = progress(conversations)
    while chunk := list(islice(waiting, _CHUNK)):
        texts, spans = zip(*(render(c, processor, template, eos) for c in chunk), strict=True)
        encoded = _encode(processor.tokenizer, texts)
        for i, conversation in enumerate(chunk):
            ids, offsets = encoded[i]
            try:
                sample = Sample(
                    conversation,
                    np.array(ids, np.int32),
                    _token_spans(offsets, spans[i]),
                    count_tokens(conversation),
                )
                _check(sample, processor.image_token_id, needs_image)
                samples.append(_fitted(sample, max_length, on_long == "truncate"))
            except (_UnfitError, UnreadableImageError) as error:
                if (on_long or on_error if isinstance(error, _TooLongError) else on_error) == "stop":
                    raise UserError(f"{error} {_WAYS_OUT[isinstance(error, _TooLongError)]}") from error
                skipped[error.name if isinstance(error, _UnfitError) else "unreadable image"] += 1
    return samples, dict(skipped)


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """The ids of each text and the characters [start, end) of each of them, as evaluation has them.

    A text that begins with a BOS token of its template's gets none from the tokenizer.
    """
    found: dict[int, tuple[list[int], list[tuple[int, int]]]] = {}
    for own in (False, True):
        places = [i for i, text in enumerate(texts) if begins_with_bos(tokenizer, text) is own]
        if places:
            encoded = tokenizer(
                [texts[i] for i in places], add_special_tokens=not own, return_offsets_mapping=True
            )
            found.update(
                zip(places, zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), strict=True)
            )
    return [found[i] for i in range(len(texts))]


def render(
    conversation: Conversation, processor: Any, template: str, eos: str
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and the character spans of its answers with their end marks."""
    turns = [(_images_first(turn.question), turn.answer.strip()) for turn in conversation.turns]
    if template == "plain":  # LLaVA's caption pretraining: the picture, then what it shows
        marks = "".join(MARK * question.count(MARK) for question, _ in turns)
        caption = "".join(answer for _, answer in turns) + "\n"
        return _own_marks(marks, processor) + caption, [(len(marks), len(marks) + len(caption))]
    pieces = _vicuna(turns, eos) if template == "vicuna" else _from_checkpoint(turns, processor, eos)
    text, spans = "", []
    for prompt, answer in pieces:
        text += _own_marks(prompt, processor)
        spans.append((len(text), len(text) + len(answer)))
        text += answer
    return text, spans


def _images_first(question: str) -> str:
    """The images of a turn at its start, each on a line of its own, wherever the data have them."""
    count = question.count(MARK)
    return (MARK + "\n") * count + question.replace(MARK, "").strip()


def _own_marks(text: str, processor: Any) -> str:
    return text.replace(MARK, processor.image_token)


def _vicuna(turns: Sequence[tuple[str, str]], eos: str) -> Iterator[tuple[str, str]]:
    """LLaVA-1.5's own conversation template, vicuna_v1: pairs of prompt and answer."""
    for number, (question, answer) in enumerate(turns):
        start = f"{system_prompt('vicuna')} " if number == 0 else ""
        yield f"{start}USER: {question} ASSISTANT:", f" {answer}{eos}"


def _from_checkpoint(turns: Sequence[tuple[str, str]], processor: Any, eos: str) -> Iterator[tuple[str, str]]:
    """The checkpoint's own chat template, turn by turn: what it adds is the prompt, then the answer."""
    messages: list[dict[str, Any]] = []
    before = ""
    for question, answer in turns:
        count = question.count(MARK)
        content: list[dict[str, str]] = [{"type": "image"}] * count
        content.append({"type": "text", "text": question.replace(MARK + "\n", "")})
        messages.append({"role": "user", "content": content})
        reply = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        try:
            asked = processor.apply_chat_template(messages, add_generation_prompt=True)
            answered = processor.apply_chat_template([*messages, reply])
        except Exception as error:  # a template is a program, and may end in any way
            raise UserError(
                f"The checkpoint's chat template fails at turn {len(messages) // 2 + 1} of a conversation "
                f"({type(error).__name__}: {error}). Mend it, or use template=vicuna in the recipe."
            ) from error
        messages.append(reply)
        if not (asked.startswith(before) and answered.startswith(asked) and answered.rstrip().endswith(eos)):
            raise UserError(
                "The checkpoint's chat template can't be used for training: an answer must follow its prompt "
                f"unchanged and end with {eos}. Use template=vicuna in the recipe."
            )
        yield asked[len(before) :], answered[len(asked) :]
        before = answered


def _token_spans(
    offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """From character spans to token spans. offsets: the characters [start, end) of each token."""
    ends = np.array([end for _, end in offsets])
    found = []
    for start, stop in spans:
        # Special tokens that the tokenizer adds have the empty span 0, 0.
        inside = np.flatnonzero((ends > start) & (ends <= stop))
        if len(inside):
            found.append((int(inside[0]), int(inside[-1]) + 1))
    return tuple(found)


class _UnfitError(Exception):
    """A sample that can't be learned from: a short name to count it by, and the message."""

    def __init__(self, sample: Sample, name: str, text: str):
        super().__init__(f"{sample.conversation.where}: {text}")
        self.name = name


class _TooLongError(_UnfitError):
    """A sample beyond the context."""


_WAYS_OUT = {
    False: "Or on_error=skip leaves such samples out.",
    True: "Or on_long=truncate cuts such samples there, as LLaVA's own code does, and on_error=skip or "
    "on_long=skip leaves them out.",
}


def _fitted(sample: Sample, most: int, truncate: bool) -> Sample:
    """The sample, or as much of its beginning as `most` tokens hold, as LLaVA's own code cuts it.

    LLaVA cuts the whole sequence, images expanded: its images come first. A sequence that ends before its
    first answer carries no loss there; here it is left out and counted.

    Raises:
        _TooLongError: It is longer, and isn't to be cut, or has no answer in it then.
    """
    if sample.length <= most:
        return sample
    if not truncate:
        what = "its last answer ends beyond the context" if len(sample.answers) > 1 else "it does not fit"
        raise _TooLongError(
            sample,
            "too long",
            f"{what}: {sample.length} tokens, of which {sum(sample.image_tokens)} are image tokens; "
            f"max_length={most}. Shorten or split the conversation, or set a larger max_length.",
        )
    kept = len(sample.ids) - (sample.length - most)
    answers = tuple((start, min(end, kept)) for start, end in sample.answers if start < kept)
    if not answers:  # and so, with all images first, none of them was cut
        raise _TooLongError(sample, "no answer within max_length", "its first answer begins beyond it.")
    return replace(sample, ids=sample.ids[:kept], answers=answers, cut=sample.length - most)


def _check(sample: Sample, image_token: int, needs_image: bool) -> None:
    """Raises _UnfitError with what is wrong with a sample and the fix."""
    if not sample.answer_tokens:
        raise _UnfitError(
            sample,
            "no labels",
            "no token of it carries a label, so nothing can be learned from it. Give it an answer of words "
            "that the tokenizer knows.",
        )
    marks = int((sample.ids == image_token).sum())
    if marks != len(sample.image_tokens):
        raise _UnfitError(
            sample,
            "image marks",
            f"its text has {marks} image tokens for {len(sample.image_tokens)} images. Leave {MARK} out of "
            "questions and answers but where an image belongs.",
        )
    if needs_image and not marks:
        raise _UnfitError(
            sample,
            "text alone",
            "it has no image, and the decoder does not learn in this phase, so nothing can be learned from "
            "it. Take it out, or add decoder to the phase's train=[...].",
        )
