"""Samples that can't be answered, and what is said of those whose data are damaged."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL.Image import DecompressionBombError

from pdrop_eval.utils.errors import SampleError, UserError

# what Pillow says of a damaged picture
PICTURE_ERRORS = (OSError, ValueError, SyntaxError, DecompressionBombError)
# what a task's functions say of a value that is missing or of another kind
VALUE_ERRORS = (AttributeError, TypeError, LookupError, ValueError)
_SYSTEM = ("No space left", "quota exceeded", "Permission denied", "Connection", "timed out")
_ADDRESS = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


class UnreadableSampleError(SampleError, UserError):
    """A sample's picture or text is damaged: the data have to be fixed, not the code."""


class TooLongError(ValueError):
    """A prompt that the model's context can't hold; the message says by how much."""


class TooLongSampleError(SampleError, UserError):
    """A sample's prompt is longer than the model's context."""


def too_long(where: str, error: TooLongError) -> TooLongSampleError:
    """The error to raise for a prompt that is too long."""
    return TooLongSampleError(
        f"{where} can't be answered: {error}. Use fewer image tokens (model.anyres=p5, downsample=2 for "
        "LLaVA-NeXT), raise model.context if the checkpoint was trained on more, or leave the task out with "
        "tasks=[...]. Finished tasks stay."
    )


def unreadable(where: str, what: str, error: BaseException) -> UnreadableSampleError:
    """The error to raise for damaged data, `what` being the step that failed."""
    reason = _ADDRESS.sub("", str(error)).strip()
    if not isinstance(error, PICTURE_ERRORS):  # "'image'" alone would say little
        reason = f"a value is missing or of the wrong kind ({type(error).__name__}: {reason})"
    return UnreadableSampleError(
        f"{where} can't be {what}: {reason}. Fix or replace the task's data and run the same command again, "
        "or leave the task out with tasks=[...]. Finished tasks stay."
    )


def guard(task: Any, name: str) -> None:
    """Lets the functions with which an lmms-eval task reads its documents say which one they failed at."""
    for function, what in (
        ("doc_to_text", "prepared"), ("doc_to_target", "scored"), ("process_results", "scored"),
    ):  # fmt: skip
        found = getattr(type(task), function)
        # lmms-eval tries some of them again and again; what is damaged stays so
        plain = getattr(found, "__wrapped__", found).__get__(task)
        setattr(task, function, _guarded(task, name, plain, what))


def check_scorable(task: Any) -> None:
    """Refuses data whose first answer is of a kind that can't be scored, before all questions are asked."""
    docs = task.eval_docs_no_media
    if len(docs):
        task.process_results(docs[0], ["A"])


def guarded(where: str, what: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a task that says, where it fails, at which step and task; see `guard`."""

    def call(items: Any) -> Any:
        try:
            return function(items)
        except VALUE_ERRORS as error:
            raise unreadable(where, what, error) from error

    return call


@contextmanager
def aggregating(where: str) -> Iterator[None]:
    """As `guard`, for the functions with which lmms-eval makes a number of all samples."""
    try:
        yield
    except VALUE_ERRORS as error:
        if "calculate_aggregate_metric" not in called(error):
            raise
        raise unreadable(where, "scored", error) from error


def called(error: BaseException) -> list[str]:
    """The names of the functions in which an error was raised, the innermost last."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def damaged(error: BaseException) -> bool:
    """Whether it is the content of data that is wrong, and not the network, a disk or a cache."""
    if isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) is not None:
        return False
    if any(words in str(error) for words in _SYSTEM):  # as Arrow passes on what the system says
        return False
    module = type(error).__module__.partition(".")[0]
    return module in ("builtins", "PIL", "pdrop_eval") and isinstance(error, (*PICTURE_ERRORS, *VALUE_ERRORS))


def _guarded(task: Any, name: str, function: Callable[..., Any], what: str) -> Callable[..., Any]:
    def call(doc: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(doc, *args, **kwargs)
        except VALUE_ERRORS as error:
            raise unreadable(f"task {name}, sample {_position(task, doc)}", what, error) from error

    return call


def _position(task: Any, doc: Any) -> Any:
    """The number of a document: the first that has the same texts and numbers."""

    def texts(row: Any) -> dict[str, Any]:
        return {key: value for key, value in row.items() if isinstance(value, (str, int, float))}

    wanted = texts(doc)
    return next((i for i, row in enumerate(task.eval_docs_no_media) if texts(row) == wanted), "?")
