"""Which of a sample's image tokens remain, as a short text: a bit a token, in base64. Needs no torch."""

import base64
import binascii
from collections.abc import Sequence

import numpy as np


def pack(remains: Sequence[bool]) -> str:
    """The mask of n tokens: bits in order, the first one the highest of the first byte, then base64."""
    return base64.b64encode(np.packbits(np.asarray(remains, dtype=bool)).tobytes()).decode("ascii")


def unpack(mask: str, n: int) -> list[bool]:
    """The n flags of a mask. Raises ValueError if it isn't one of n tokens."""
    try:
        packed = base64.b64decode(mask, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{mask[:40]!r} is no mask: {error}") from None
    if len(packed) != -(-n // 8):
        raise ValueError(f"a mask of {n} tokens has {-(-n // 8)} bytes, but this one has {len(packed)}")
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))
    if bits[n:].any():
        raise ValueError(f"a mask of {n} tokens marks one behind its end")
    return [bool(bit) for bit in bits[:n]]
