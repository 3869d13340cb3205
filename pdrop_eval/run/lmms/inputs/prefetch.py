"""Items that background threads prepare before they are asked for."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")


Out = TypeVar("Out")


def prepared(
    items: Sequence[In], prepare: Callable[[In], Out], threads: int, ahead: int
) -> Generator[Out, None, None]:
    """Yields `prepare(item)` of each item, in order, at most `ahead` of them before they are asked for.

    An exception is raised where its item's turn comes. With no threads, each is prepared when its turn comes.
    Close it if it isn't used up: what is queued is then forgotten.
    """
    if threads == 0:
        yield from map(prepare, items)
        return
    waiting: deque[Future[Out]] = deque()
    rest = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="prepare") as pool:
        try:
            while True:
                for item in rest:
                    waiting.append(pool.submit(prepare, item))
                    if len(waiting) > ahead:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
