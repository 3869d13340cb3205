"""Image features by content: the vision tower runs once for an image, however many questions share it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.models.towers.encoded import EncodedImage, Needs
from pdrop_eval.models.transfer import copies_by_itself, download

GIB = 1 << 30
Make = Callable[[list[int], Needs | None], Sequence[EncodedImage]]


class FeatureCache:
    """What vision tower and projector made of the images seen last, in the host's memory.

    An image is kept by the hash of its pixels, and comes back bit for bit, in pinned memory where a GPU made
    it. It holds what was asked for: who
    asks for more of the tower has it encoded again, with all that was asked for so far. When more than
    `limit_bytes` would be held, those go first that were used longest ago; 0 keeps none.
    `hits` and `misses` count the images asked for; `expected` is what others are going to ask for, and is
    held from the first time on. Safe to be read from other threads.
    """

    def __init__(self, limit_bytes: float):
        self.limit_bytes = limit_bytes
        self.hits = self.misses = self.bytes = 0
        self.expected: Needs | None = None
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get_all(self, keys: Sequence[str], make: Make, needs: Needs | None = None) -> list[EncodedImage]:
        """The images with these hashes; those that aren't there are encoded together, each once.

        Args:
            keys: the hashes, in any order, some of them several times.
            make: gets the places in `keys` of those to encode, and what to hold of the tower; None: nothing
                but the tokens.
            needs: what the caller wants to be held; None: nothing but the tokens.
        """
        found: dict[str, EncodedImage] = {}
        missing: dict[str, int] = {}
        held = [one for one in (needs, self.expected) if one is not None]
        with self._lock:
            for place, key in enumerate(keys):
                kept = self._kept.get(key)
                if key in missing or (kept is None or not kept.image.holds(needs)):
                    missing.setdefault(key, place)
                    held += [] if kept is None or not kept.image.places else [kept.image.needs]
                    continue
                self._kept.move_to_end(key)
                found[key] = kept.whole()
            self.hits += len(keys) - len(missing)
            self.misses += len(missing)
        if missing:
            made = make(list(missing.values()), reduce(or_, held) if held else None)
            found.update(zip(missing, made, strict=True))
            for key in missing:
                self._keep(key, found[key])
        return [found[key] for key in keys]

    def tokens(self, key: str) -> int | None:
        """How many image tokens the image has, if its features are kept."""
        with self._lock:
            found = self._kept.get(key)
        return None if found is None else len(found.image)

    def clear(self) -> None:
        """Let go of all features."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _keep(self, key: str, made: EncodedImage) -> None:
        if made.nbytes > self.limit_bytes:
            return
        kept = _Kept.of(made)
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = kept
            self.bytes += made.nbytes - (0 if before is None else before.image.nbytes)
            while self.bytes > self.limit_bytes:
                _, oldest = self._kept.popitem(last=False)
                self.bytes -= oldest.image.nbytes


@dataclass
class _Kept:
    """An image in the host's memory.

    Attributes:
        image: its tensors have no memory in common with those of others that were encoded with it.
        copying: what the GPU notes when it has copied the image, until that has been waited for; or None.
    """

    image: EncodedImage
    copying: Any = None

    @classmethod
    def of(cls, made: EncodedImage) -> "_Kept":
        """A copy of an image, which a GPU may still be making."""
        if not copies_by_itself(made.tokens.device):
            return cls(made.mapped(_alone))
        copying = torch.cuda.Event()
        kept = made.mapped(download)
        copying.record(torch.cuda.current_stream(made.tokens.device))
        return cls(kept, copying)

    def whole(self) -> EncodedImage:
        """The image, when all of it is there."""
        if self.copying is not None:
            self.copying.synchronize()
            self.copying = None
        return self.image


def _alone(tensor: Tensor) -> Tensor:
    """The tensor in the host's memory; a copy of a part of a larger one, which would stay with it."""
    host = tensor.cpu()
    return host.clone() if host.untyped_storage().nbytes() > host.nbytes else host
