"""Theoretical FLOPs of a decoder's prefill and bytes of its KV cache, from a config and tokens per layer.

Each report states its convention; figures of different conventions do not compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pdrop_eval.efficiency.architecture import decoder_of
from pdrop_eval.utils.validation import check_setting

if TYPE_CHECKING:
    import torch

FORMULAS = {"pdrop": 3, "fastv": 2}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a number, known without torch
UNITS = {"macs": 1, "ops": 2}
NAMES = {
    "pdrop": "PyramidDrop Eq. 4 (4nd^2 + 2n^2d + 3ndm a layer)",
    "fastv": "FastV (4nd^2 + 2n^2d + 2ndm a layer)",
}


@dataclass(frozen=True)
class FlopsReport:
    """FLOPs of a decoder's prefill.

    Attributes:
        total: over all layers.
        per_layer: of each layer.
        convention: what is counted, in words.
    """

    total: int
    per_layer: tuple[int, ...]
    convention: str

    @property
    def tflops(self) -> float:
        """The total in units of 10^12."""
        return self.total / 1e12


def theoretical_flops(
    config: Any,
    tokens_per_layer: Sequence[int],
    *,
    formula: str = "pdrop",
    unit: str = "macs",
    text_tokens: int = 0,
) -> FlopsReport:
    """Count the decoder's prefill by formula, layer by layer.

    A layer with n tokens, hidden size d and intermediate size m costs 4nd^2 (q, k, v, o) + 2n^2d (attention)
    + 3ndm (gated feed-forward): PyramidDrop, Eq. 4. FastV (section 4.2) has 2ndm, a feed-forward without the
    gate. For grouped-query models the k and v projections count with their own, smaller width.

    Left out: embeddings, norms, softmax, the output head, the vision tower, decoding, and the ranking itself
    (about n·d·(width of k) multiply-adds a drop).

    Args:
        config: any transformers config; in a composite one, the text config is used.
        tokens_per_layer: image tokens of each layer, from `strategy.schedule(...)`.
        formula: "pdrop" or "fastv".
        unit: "macs" counts multiply-adds, as both papers do; "ops" counts a multiply-add as two operations.
        text_tokens: added to every layer. 0 counts image tokens only, as both papers do.

    Raises:
        UserError: unknown formula or unit.
    """
    check_setting("formula", formula, tuple(FORMULAS))
    check_setting("unit", unit, tuple(UNITS))
    decoder = decoder_of(config)
    per_layer = tuple(
        UNITS[unit] * decoder.layer(n + text_tokens, FORMULAS[formula]) for n in tokens_per_layer
    )
    counted = "image tokens only" if text_tokens == 0 else f"image tokens and {text_tokens} text tokens"
    words = "multiply-adds" if unit == "macs" else "operations (2 a multiply-add)"
    grouped = "" if decoder.kv == decoder.q else f", k and v scaled to {_heads(config)}"
    convention = f"{NAMES[formula]}, {words}, {counted}{grouped}, prefill of the decoder layers"
    return FlopsReport(sum(per_layer), per_layer, convention)


def kv_cache_bytes(config: Any, tokens_per_layer: Sequence[int], dtype: "torch.dtype | str") -> int:
    """Return the bytes of keys and values that the layers cache for one row of `tokens_per_layer` tokens.

    Args:
        config: any transformers config; in a composite one, the text config is used.
        tokens_per_layer: tokens of each layer.
        dtype: of the cache, as a torch dtype or its name ("bfloat16").
    """
    size = _BYTES.get(dtype) if isinstance(dtype, str) else dtype.itemsize
    if size is None:
        import torch

        size = getattr(torch, str(dtype)).itemsize
    return 2 * decoder_of(config).kv * size * sum(tokens_per_layer)


def _heads(config: Any) -> str:
    text = config.get_text_config()
    return f"{text.num_key_value_heads} of {text.num_attention_heads} heads"
