"""A model behind a server, as one that lmms-eval can run: it answers and fails as `PdropLlava` does.

lmms-eval has clients for such servers (its model `openai`). They aren't used here: when a request has failed
for good, they make the text "[LMMS_EVAL_REQUEST_FAILED ...]" the answer, which is scored as a wrong one;
every error is tried again after the same pause, whatever the server asks for; nothing is on disk before the
last answer of a task is there; and a task's `until` isn't sent. So the client is our own, a thin one: the
judge's (`utils.server.chat_server`), with the journal of all runs.

Images are sent as PNG, without loss, in data URLs; decoding is greedy (temperature 0); the length of an
answer and what ends it are the benchmark's. What the server drops, and what that costs, isn't known.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from PIL import Image

from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS, VALUE_ERRORS, SampleError, unreadable
from pdrop_eval.models.pictures.images import pictures_of
from pdrop_eval.models.prompts import PlaceholderError, shrunk
from pdrop_eval.run.config.endpoint import EndpointSpec
from pdrop_eval.run.endpoint.asking import Asking
from pdrop_eval.run.endpoint.question import Question, read_answer
from pdrop_eval.run.lmms.answer_log import Answer, AnswerLog, BatchSizes
from pdrop_eval.run.lmms.inputs.prefetch import prepared
from pdrop_eval.run.lmms.inputs.requests import where
from pdrop_eval.utils.code.hashing import content_hashes
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server.chat_server import ChatServer, QuestionError, ServerError
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.bars import questions_bar

_READERS = 4  # threads that read and hash pictures
_ALONE = BatchSizes(1, 1)  # what else the server answers at the same time isn't known
_TELL_SECONDS = 30  # between two events of progress


class UnansweredError(SampleError, UserError):
    """The server leaves questions without an answer. What it answered is kept; nothing counts as wrong."""


class EndpointModel(lmms):
    """A server's model.

    Args:
        spec: Its settings.
        server: The server.
        downsample: Shrinks each image by this factor on both sides; hashes stay those of the image as it was.
    """

    is_simple = True
    batch_size: int | None = None  # the server's affair

    def __init__(self, spec: EndpointSpec, server: ChatServer, downsample: int | None = None) -> None:
        super().__init__()
        self._spec, self._server, self._downsample = spec, server, downsample
        self._answers = AnswerLog()

    def __repr__(self) -> str:
        # lmms-eval's response cache takes this as the model's identity
        spec = self._spec
        parts = (spec.name, spec.served, spec.revision, spec.extra_body, self._downsample)
        return f"EndpointModel({','.join(map(repr, parts))})"

    @contextmanager
    def writing_to(self, answers: AnswerLog) -> Iterator[None]:
        """What is answered inside is written to this log, and recalled from it."""
        before, self._answers = self._answers, answers
        try:
            yield
        finally:
            self._answers = before

    def clean(self) -> None:
        """Nothing is to be cleaned."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered: an endpoint answers in words."""
        raise NotImplementedError("an endpoint answers generate_until tasks only")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered: each question is answered in one round."""
        raise NotImplementedError("an endpoint answers generate_until tasks only")

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers all requests, in their order.

        Raises:
            UnansweredError: The server leaves one of them without an answer; all others were asked before,
                unless several in a row had failed.
        """
        answers: dict[int, GenerationResult] = {}
        task = str(requests[0].args[4]) if requests else ""
        asking = Asking(self._server, self._ask, self._spec.concurrency, self._spec.give_up)
        ready = prepared(list(enumerate(requests)), self._prepare, _READERS, ahead=2 * self._spec.concurrency)
        bar = questions_bar(len(requests), task)
        usage, told = self._answers.usage[task], time.monotonic()
        try:
            with usage.of_the_model(), bar, closing(ready):
                for (place, question), answer in asking.answers(self._unknown(ready, answers, bar)):
                    (answers[place],) = self._answers.add([question], [answer], _ALONE)
                    usage.images += len(question.images)
                    usage.encoded += len(question.images)
                    bar.update()
                    if time.monotonic() - told > _TELL_SECONDS:
                        told = time.monotonic()
                        log.event("progress", task=task, done=len(answers), total=len(requests))
        except ServerError as error:
            last = asking.failed[-1][0][1].request if isinstance(error, QuestionError) else None
            named = f"task {task}" if last is None else where([last])
            raise _unanswered(named, error, len(answers), len(requests)) from error
        if asking.failed:
            (_, question), why = asking.failed[0]
            raise _unanswered(where([question.request]), why, len(answers), len(requests)) from why
        return [answers[place] for place in range(len(requests))]

    def _unknown(
        self, ready: Iterator[tuple[int, Question]], answers: dict[int, GenerationResult], bar: Any
    ) -> Iterator[tuple[int, Question]]:
        """The questions that no earlier, interrupted process has answered; of the others, what it kept."""
        for place, question in ready:
            known, unknown, _ = self._answers.recall([(place, question)], exact=True)
            answers.update(known)
            bar.update(len(known))
            if unknown:
                yield place, question

    def _prepare(self, item: tuple[int, Instance]) -> tuple[int, Question]:
        place, request = item
        text, _, doc_to_visual, doc_id, task, split = request.args
        try:
            pictures = pictures_of(self.task_dict[task][split][doc_id], doc_to_visual)
            content, whole = content_hashes(text, pictures)
            sizes = tuple(picture.size for picture in pictures)
            return place, Question(request, tuple(map(self._shrunk, pictures)), content, whole, sizes)
        except (*PICTURE_ERRORS, *VALUE_ERRORS) as error:
            raise unreadable(where([request]), "prepared", error) from error

    def _shrunk(self, picture: Image.Image) -> Image.Image:
        return picture if self._downsample is None else shrunk(picture, self._downsample)

    def _ask(self, item: tuple[int, Question]) -> Answer:
        _, question = item
        try:
            fields, until = question.body(self._spec.max_new_tokens)
        except PlaceholderError as error:
            raise unreadable(where([question.request]), "prepared", error) from error
        asked = {"model": self._spec.served, **(self._spec.extra_body or {}), **fields}
        return self._server.retrying(
            lambda: read_answer(self._server, self._server.complete(asked), question, until)
        )


def _unanswered(named: str, error: ServerError, done: int, total: int) -> UnansweredError:
    return UnansweredError(
        f"{named}: {error} {done:,} of {total:,} answers are there and kept; the same command asks for the "
        "rest. Finished tasks stay."
    )
