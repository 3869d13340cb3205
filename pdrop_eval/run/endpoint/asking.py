"""Questions that are asked at the same time: what is answered is passed on at once, what fails is counted."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from pdrop_eval.utils.server.chat_server import ChatServer, QuestionError

Asked = TypeVar("Asked")
Said = TypeVar("Said")


class Asking(Generic[Asked, Said]):
    """Asks a server.

    Args:
        server: Is stopped when what is going on ends early.
        ask: Gives the answer to one question, in any thread.
        at_once: Questions that wait for the server.
        give_up: Questions in a row that fail before no more are asked.

    Attributes:
        failed: The questions that have no answer, each with the reason.
    """

    def __init__(self, server: ChatServer, ask: Callable[[Asked], Said], at_once: int, give_up: int):
        self._server = server
        self._ask = ask
        self._at_once = at_once
        self._give_up = give_up
        self._in_a_row = 0
        self._pending: dict[Future[Said], Asked] = {}
        self.failed: list[tuple[Asked, QuestionError]] = []

    def answers(self, questions: Iterable[Asked]) -> Iterator[tuple[Asked, Said]]:
        """Yield the questions that are answered, as they are.

        Raises:
            QuestionError: Several in a row have failed: the server is gone.
            ServerError: It refuses whatever is asked.
        """
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="ask") as pool:
            try:
                for question in questions:
                    self._pending[pool.submit(self._ask, question)] = question
                    if len(self._pending) >= self._at_once:
                        yield from self._finished()
                while self._pending:
                    yield from self._finished()
            except BaseException:  # Ctrl-C among it: the pool waits for its threads
                self._server.stop()
                raise

    def _finished(self) -> Iterator[tuple[Asked, Said]]:
        """What is done next, once something is; answers before failures, so that none is lost to one."""
        done = wait(self._pending, return_when=FIRST_COMPLETED).done
        for future in sorted(done, key=lambda one: one.exception() is not None):
            question = self._pending.pop(future)
            try:
                said = future.result()
            except QuestionError as error:
                self.failed.append((question, error))
                self._in_a_row += 1
                if self._in_a_row >= self._give_up:
                    raise
            else:
                self._in_a_row = 0
                yield question, said
