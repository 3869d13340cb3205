"""What happened to each sample: image tokens, tokens per layer, prompt and answer lengths, content hash."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Measurement:
    """One sample as it was run.

    `content_sha256` is of the prompt and the pixels, `images_sha256` of the pixels alone;
    `image_tokens_per_layer[l]` is how many image tokens layer l really processed in the prefill.
    """

    content_sha256: str
    images_sha256: str
    prompt_tokens: int
    image_tokens: int
    image_tokens_per_layer: tuple[int, ...]
    new_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict."""
        return asdict(self)


@dataclass
class Usage:
    """What answering a task took.

    model_seconds: vision tower, prefill and decoding. waiting_seconds: for questions that were not ready yet.
    feature_hits, feature_misses: images whose features were there, and whose features were computed.
    """

    model_seconds: float = 0.0
    waiting_seconds: float = 0.0
    feature_hits: int = 0
    feature_misses: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def feature_hit_rate(self) -> float | None:
        """The share of the images whose features were there; None without images."""
        asked = self.feature_hits + self.feature_misses
        return self.feature_hits / asked if asked else None

    def to_dict(self) -> dict[str, Any]:
        """The fields and the hit rate as a plain dict."""
        return {**asdict(self), "feature_hit_rate": self.feature_hit_rate}


def content_hashes(context: str, images: Sequence[Image.Image]) -> tuple[str, str]:
    """SHA-256 of question and pixels, and of the pixels alone: equal content, equal hash, in any file."""
    pixels = hashlib.sha256()
    for image in images:
        pixels.update(f"{image.mode} {image.width}x{image.height}\n".encode())
        pixels.update(image.tobytes())
    whole = hashlib.sha256(context.encode() + b"\0" + pixels.digest())
    return whole.hexdigest(), pixels.hexdigest()


def mean_per_layer(measured: Iterable[Measurement]) -> list[float]:
    """The mean number of image tokens that each layer processed, over all samples with an image."""
    rows = [m.image_tokens_per_layer for m in measured if m.image_tokens]
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def mean_tflops(measured: Iterable[Measurement], tflops: Any) -> float | None:
    """The mean over samples with an image of `tflops(tokens per layer)`, each distinct row computed once."""
    rows = Counter(m.image_tokens_per_layer for m in measured if m.image_tokens)
    if not rows:
        return None
    return sum(tflops(row) * count for row, count in rows.items()) / sum(rows.values())
