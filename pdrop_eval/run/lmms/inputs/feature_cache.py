"""Image features by content: the vision tower runs once for an image, however many questions share it."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import reduce
from operator import or_

from pdrop_eval.models.towers.encoded import EncodedImage, Needs

GIB = 1 << 30


class FeatureCache:
    """What vision tower and projector made of the images seen last, in the host's memory.

    An image is kept by the hash of its pixels, and comes back bit for bit. It holds what was asked for: who
    asks for more of the tower has it encoded again, with all that was asked for so far. When more than
    `limit_bytes` would be held, those go first that were used longest ago; 0 keeps none.
    `hits` and `misses` count the images asked for; `expected` is what others are going to ask for, and is
    held from the first time on. Safe to be read from other threads.
    """

    def __init__(self, limit_bytes: float):
        self.limit_bytes = limit_bytes
        self.hits = self.misses = self.bytes = 0
        self.expected: Needs | None = None
        self._kept: OrderedDict[str, EncodedImage] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, key: str, make: Callable[[Needs | None], EncodedImage], needs: Needs | None = None
    ) -> EncodedImage:
        """The image with this hash; `make` encodes it if need be.

        Args:
            key: the hash.
            make: gets what to hold of the tower; None: nothing but the tokens.
            needs: what the caller wants to be held; None: nothing but the tokens.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is not None and (
                needs is None or (found.places is not None and found.needs.covers(needs))
            ):
                self._kept.move_to_end(key)
                self.hits += 1
                return found
            self.misses += 1
        held = [one for one in (needs, self.expected, found.needs if found else None) if one is not None]
        made = make(reduce(or_, held) if held else None)
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

    def _keep(self, key: str, made: EncodedImage) -> None:
        if made.nbytes > self.limit_bytes:
            return
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = made.cpu()
            self.bytes += made.nbytes - (0 if before is None else before.nbytes)
            while self.bytes > self.limit_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= oldest.nbytes
