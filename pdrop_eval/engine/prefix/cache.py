"""The prefixes that were computed, as many as the memory holds."""

import weakref
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_finite_number

GIB = 1 << 30


@dataclass(frozen=True)
class Prefix:
    """What a prompt's first P tokens leave in the layers before the first drop.

    Attributes:
        keys: for each of these layers, [1, g, P, e], positions applied.
        values: the same.
        states: by layer, [1, P, d] entering it, where the whole prompt's are asked for.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    states: Mapping[int, Tensor]

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return sum(one.nbytes for one in (*self.keys, *self.values, *self.states.values()))


class PrefixCache:
    """The prefixes of the images asked about last, on the model's device.

        prefixes = PrefixCache(gib=2)
        for question in questions:  # of one image, or of several in turn
            with strategy(model, prefixes=prefixes):
                model.generate(**question, max_new_tokens=8)

    A prefix is everything up to a row's last image token. It is found again by what enters the decoder there,
    so nothing has to be said of which questions belong together; `prefix_keys` spares looking at it. Answers
    are those without it, up to rounding. When more than `gib` would be held, those go first that were used
    longest ago. A cache is for one model: another one empties it, as do weights that were changed in place.
    Call `clear` after a change that torch doesn't count, such as switching an adapter.

    Args:
        gib: GiB of the device's memory, more than 0.

    Attributes:
        hits: prefixes that were there.
        misses: those that were computed.
        bytes: what is held.

    Raises:
        UserError: a size that can't be.
    """

    def __init__(self, gib: float = 2):
        if not is_finite_number(gib) or gib <= 0:
            raise UserError(
                f"PrefixCache(gib={gib!r}) is not allowed: use a number of GiB above 0, such as 2."
            )
        self.limit_bytes = gib * GIB
        self.hits = self.misses = self.bytes = 0
        self._kept: OrderedDict[Hashable, Prefix] = OrderedDict()
        self._model: Any = lambda: None
        self._version = 0

    def of_model(self, decoder: nn.Module) -> "PrefixCache":
        """Return it for use with a decoder; what another one has left, or other weights, is let go."""
        version = sum(0 if one.is_inference() else one._version for one in decoder.parameters())
        if self._model() is not decoder or self._version != version:
            self.clear()
            self._model, self._version = weakref.ref(decoder), version
        return self

    def get(self, key: Hashable) -> Prefix | None:
        """Return what is kept by this key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, prefix: Prefix) -> None:
        """Hold a prefix, and let those go for which there is no room."""
        if prefix.nbytes > self.limit_bytes:
            return
        if (before := self._kept.pop(key, None)) is not None:
            self.bytes -= before.nbytes
        self._kept[key] = prefix
        self.bytes += prefix.nbytes
        while self.bytes > self.limit_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= oldest.nbytes

    def clear(self) -> None:
        """Let go of all prefixes."""
        self._kept.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)
