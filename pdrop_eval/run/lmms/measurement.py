"""What happened to each sample: image tokens, tokens per layer, prompt and answer lengths, content hash."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One sample as it was run.

    `content_sha256` is of the prompt and the pixels, `images_sha256` of the pixels alone;
    `image_tokens_per_layer[l]` is how many image tokens layer l really processed in the prefill.
    `image_sizes` are the (width, height) of its pictures, and `image_grids` says where on them its image
    tokens lie (`models.token_grid`; None: not known for this processor). `retained` has, for each drop, its
    layer and the mask of the tokens that remained (`pdrop_eval.records.token_mask`). Lists, as JSON has them.
    Of a model behind a server, counts of tokens are what the server says, or None, and image tokens unknown.
    """

    content_sha256: str
    images_sha256: str
    prompt_tokens: int | None
    image_tokens: int | None
    image_tokens_per_layer: tuple[int, ...]
    new_tokens: int | None
    image_sizes: list[list[int]] = field(default_factory=list)
    image_grids: list[list] | None = None
    retained: list[list] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict."""
        return asdict(self)


@dataclass
class Usage:
    """What answering a task took.

    Attributes:
        model_seconds: Vision tower, prefill and decoding.
        waiting_seconds: For questions that were not ready yet.
        images: Of all questions that were answered now.
        encoded: Those that went through the vision tower; the features of the others were there. A batch that
            ran out of memory and was tried again counts in seconds and encoded.
        recalled: Questions that an earlier, interrupted process has answered; all else leaves them out.
    """

    model_seconds: float = 0.0
    waiting_seconds: float = 0.0
    images: int = 0
    encoded: int = 0
    recalled: int = 0

    @contextmanager
    def of_the_model(self) -> Iterator[None]:
        """Adds the time inside to the model's."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.model_seconds += time.perf_counter() - started

    @classmethod
    def of_processes(cls, parts: Sequence["Usage"]) -> "Usage":
        """Of several processes at once: the longest times, all images."""
        return cls(
            max(part.model_seconds for part in parts),
            max(part.waiting_seconds for part in parts),
            sum(part.images for part in parts),
            sum(part.encoded for part in parts),
            sum(part.recalled for part in parts),
        )

    @property
    def hit_rate(self) -> float | None:
        """The share of the images whose features were there; None without images."""
        return max(0.0, 1 - self.encoded / self.images) if self.images else None

    def to_dict(self) -> dict[str, Any]:
        """The fields and the hit rate as a plain dict."""
        return {**asdict(self), "hit_rate": self.hit_rate}


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
