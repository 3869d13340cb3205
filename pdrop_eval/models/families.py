"""What is special to a model family: where its decoder is, which inputs are images, how its attention
projects.

To add a family, add a subclass of `Family` and its line in `FAMILIES`; a text model whose attention differs
from Llama's gets a function like `llama_query_key` and its line in `PROJECTIONS`.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from pdrop_eval.models.rotary import gather_columns, rotate
from pdrop_eval.utils.errors import UserError

Projection = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, float]]


class Family:
    """A bare decoder with a language-model head; the caller says which columns are image tokens."""

    finds_images = False

    def __init__(self, model: nn.Module):
        self.model: Any = model
        self.decoder: Any = model.get_decoder()  # type: ignore[operator]
        self.config: Any = model.config.get_text_config()  # type: ignore[union-attr, operator]

    def image_mask(self, inputs: dict[str, Any]) -> Tensor | None:
        """Return [b, n] bool, true on image tokens, or None where these inputs can't tell."""
        return None

    def has_images(self, inputs: dict[str, Any]) -> bool:
        """Tell whether these forward (or generate) inputs bring images."""
        return False


class Llava(Family):
    """LLaVA and LLaVA-NeXT: every image token, newline tokens included, is a placeholder id in
    `input_ids`."""

    finds_images = True

    def image_mask(self, inputs: dict[str, Any]) -> Tensor | None:
        """Return [b, n] bool, true on image tokens, or None where there are no `input_ids`."""
        ids = inputs.get("input_ids")
        return None if ids is None else ids == self.model.config.image_token_id

    def has_images(self, inputs: dict[str, Any]) -> bool:
        """Tell whether these inputs bring pixels, or images that `generate` has already encoded."""
        encoded = inputs.get("mm_encoder_outputs") or {}
        return inputs.get("pixel_values") is not None or encoded.get("image") is not None


def llama_query_key(
    layer: nn.Module, hidden: Tensor, columns: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Project the queries of `columns` [b, t] and the keys of all columns, with positions, in a Llama layer.

    hidden: [b, n, d], entering the layer; cos, sin: [b or 1, n, e].
    Returns (query [b, h, t, e], key [b, g, n, e], scaling of q·k).
    """
    attention: Any = layer.self_attn
    normed = layer.input_layernorm(hidden)  # type: ignore[operator]
    query = attention.q_proj(gather_columns(normed, columns)).unflatten(-1, (-1, attention.head_dim))
    key = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
    query = rotate(query.transpose(1, 2), gather_columns(cos, columns), gather_columns(sin, columns))
    return query, rotate(key.transpose(1, 2), cos, sin), attention.scaling


FAMILIES: dict[str, type[Family]] = {
    "LlavaForConditionalGeneration": Llava,
    "LlavaNextForConditionalGeneration": Llava,
    "LlamaForCausalLM": Family,
    "MistralForCausalLM": Family,
}
PROJECTIONS: dict[str, Projection] = {"llama": llama_query_key, "mistral": llama_query_key}


def family_of(model: nn.Module) -> Family:
    """Return the adapter of `model`.

    Raises:
        UserError: no adapter knows the model's class, or its text model.
    """
    for cls in type(model).__mro__:
        if cls.__name__ in FAMILIES:
            family = FAMILIES[cls.__name__](model)
            break
    else:
        raise UserError(
            f"{type(model).__name__} is not a known model family: use one of {', '.join(FAMILIES)} "
            "(unwrapped: the "
            "model itself, not a data-parallel or adapter wrapper around it)."
        )
    if family.config.model_type not in PROJECTIONS:
        raise UserError(
            f"{type(model).__name__} with a text model of type {family.config.model_type!r} is not "
            "supported: use "
            f"one of {', '.join(map(repr, PROJECTIONS))}."
        )
    return family
