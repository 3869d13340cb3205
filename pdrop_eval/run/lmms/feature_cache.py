"""Image features by content: the vision tower runs once for an image, however many questions share it."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

GIB = 1 << 30


class FeatureCache:
    """What vision tower and projector made of the images seen last, in the host's memory.

    A feature is kept by the hash of its image's pixels, and comes back bit for bit. When more than
    `limit_bytes` would be held, those go first that were used longest ago; 0 keeps none.
    `hits` and `misses` count the images asked for. Safe to be read from other threads.
    """

    def __init__(self, limit_bytes: float):
        self.limit_bytes = limit_bytes
        self.hits = self.misses = self.bytes = 0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """The features [image tokens, d] of the image with this hash; `make` computes them if need be."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.hits += 1
                return found
            self.misses += 1
        made = make()
        self._keep(key, made)
        return made

    def tokens(self, key: str) -> int | None:
        """How many image tokens the image has, if its features are kept."""
        with self._lock:
            found = self._kept.get(key)
        return None if found is None else len(found)

    def clear(self) -> None:
        """Let go of all features."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _keep(self, key: str, made: Tensor) -> None:
        if made.nbytes > self.limit_bytes:
            return
        with self._lock:
            self._kept[key] = made.cpu()
            self.bytes += made.nbytes
            while self.bytes > self.limit_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= oldest.nbytes
