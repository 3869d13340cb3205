"""Encodes images, and takes down on the way what strategies before the decoder ask of the vision tower.

The model's own `get_image_features` runs, with hooks on the modules that know what is asked: the tokens are
those of plain transformers to the last bit, whatever attention the tower uses, and no [N, N] map is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pdrop_eval.models.towers.encoded import FEATURES, FIRST, LAST, EncodedImage, Needs
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdrop_eval.models.family.encoding import ImageEncoding


def encode(
    family: ImageEncoding, model: Any, pixels: Mapping[str, Tensor], needs: Needs
) -> list[EncodedImage]:
    """Return each image of one or several, encoded together.

    Args:
        family: the model's.
        model: on the device of the pixels.
        pixels: the `processor_inputs` of the images.
        needs: what to hold of the tower.
    """
    noted: dict[str, Tensor] = {}
    with _noting(family, model, needs, noted):
        packed = list(model.get_image_features(**pixels, return_dict=True).pooler_output)
    places = family.places(model, pixels)
    heads = family.vision_layers(model)[0].self_attn.num_heads if needs.layers else 0
    held = _held(noted, needs, heads, places[0].side[0] * places[0].side[1])
    images, start = [], 0
    for tokens, place in zip(packed, places, strict=True):
        own = slice(start, start + place.tiles)
        parts: dict[str, Any] = {
            name: {layer: tensor[own] for layer, tensor in value.items()}
            if isinstance(value, dict)
            else value[own]
            for name, value in held.items()
        }
        if place.shape.tokens == place.shape.patches:
            parts.pop("projected", None)  # the tokens are just these
        images.append(EncodedImage(tokens, place, needs, heads, **parts))
        start += place.tiles
    return images


def class_row(query: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Return how the class token attends to the patches.

    Args:
        query: [P, w], of the class token, as q_proj gives it.
        keys: [P, 1 + N, w], as k_proj gives them, the class token first.
        heads: h, by which the width is divided; 1 takes all as one head.

    Returns:
        [P, h, N] float32: softmax over the class token and all patches, the first column cut off.
    """
    import torch

    q = query.float().unflatten(-1, (heads, -1))
    k = keys.float().unflatten(-1, (heads, -1))
    logits = torch.einsum("phe,pnhe->phn", q, k) * q.shape[-1] ** -0.5
    return logits.softmax(-1)[..., 1:]


def check_reduced(family: ImageEncoding, reducer: Any) -> None:
    """Refuse a strategy before the decoder that a family can't have, whatever its config says.

    Args:
        family: the model's.
        reducer: the strategy; of two together, the first may have a port under its own name (`port`).

    Raises:
        UserError: with those that it can have.
    """
    who = reducer.name
    if family.unreduced:
        raise UserError(
            f"{who} reduces images before the decoder, which {family.display_name} isn't reduced by here: "
            f"{family.unreduced}. Use a strategy in the decoder, such as fastv or pdrop."
        )
    port = getattr(reducer, "port", who)
    if family.reduced_by is not None and port not in family.reduced_by:
        raise UserError(
            f"{port} has no port to {family.display_name}, whose tower joins patches to tokens: it isn't "
            f"defined there. These are: {', '.join(family.reduced_by)}."
        )


def check_tower(family: ImageEncoding, config: Any, reducer: Any) -> None:
    """Refuse what a model's tower can't give, before anything is computed.

    Raises:
        UserError: a family that isn't reduced, a class token of a tower without one, or layers that the
            config doesn't single out.
    """
    check_reduced(family, reducer)
    needs, who = reducer.needs, reducer.name
    if family.reduced_by is not None:
        return
    kind = config.vision_config.model_type
    if needs.of_class_token and not family.class_tokens(config):
        raise UserError(
            f"{who} chooses by the class token of the vision tower, and {kind} has none: use a strategy that "
            "needs none, such as uniform or random, or a model with a CLIP tower."
        )
    if needs != Needs(question=needs.question):
        feature_layer(config)


def feature_layer(config: Any) -> int:
    """Return the index of the tower's layer whose output is taken as features.

    Raises:
        UserError: several layers, or the embeddings.
    """
    taken, depth = config.vision_feature_layer, config.vision_config.num_hidden_layers
    taken = [taken] if isinstance(taken, int) else list(taken)
    # The place counts hidden states from the embeddings, of which there is one more than layers.
    layers = [place % (depth + 1) - 1 for place in taken]
    if len(layers) != 1 or layers[0] < 0:
        raise UserError(
            f"vision_feature_layer={config.vision_feature_layer} is not one layer of the tower, by whose "
            "attention and features tokens could be chosen: use a model that takes one layer's output, such "
            "as -2."
        )
    return layers[0]


def _held(noted: Mapping[str, Tensor], needs: Needs, heads: int, patches: int) -> dict[str, Any]:
    """What is kept of what was noted, over all tiles."""
    query = {layer: noted[f"{layer} query"] for layer in needs.layers if f"{layer} query" in noted}
    key = {layer: noted[f"{layer} key"] for layer in needs.layers}
    held: dict[str, Any] = {
        "attention": {layer: class_row(query[layer], key[layer], heads) for layer in needs.attention},
        "keys": {layer: key[layer] for layer in needs.keys},
        "queries": {layer: query[layer] for layer in needs.queries},
    }
    for name in ("features", "projected"):
        if getattr(needs, name):
            held[name] = noted[name][:, -patches:]  # a class token among the features is no patch
    if needs.class_token:
        held["class_token"] = noted["class_token"]
    return held


@contextmanager
def _noting(family: ImageEncoding, model: Any, needs: Needs, noted: dict[str, Tensor]) -> Iterator[None]:
    """Put the hooks on that fill `noted`, and take them off; none where nothing is needed."""
    handles: list[Any] = []

    def on(module: Any, note: Callable[[Any, Any], None]) -> None:
        handles.append(module.register_forward_hook(lambda _, args, output: note(args, output)))

    def keep(name: str, of: Callable[[Tensor], Tensor]) -> Callable[[Any, Any], None]:
        return lambda _, output: noted.__setitem__(name, of(output).detach())

    if needs != Needs(question=needs.question):
        layers, class_tokens = family.vision_layers(model), family.class_tokens(model.config)
        numbers = {FIRST: 0, FEATURES: feature_layer(model.config), LAST: len(layers) - 1}
        for name in needs.layers:
            attention = layers[numbers[name]].self_attn
            if class_tokens:
                on(attention.q_proj, keep(f"{name} query", lambda output: output[:, 0]))
            on(attention.k_proj, keep(f"{name} key", lambda output: output))

        def taken(_: Any, output: Any) -> None:
            noted["class_token"] = (output[0] if isinstance(output, tuple) else output)[:, 0]

        def projected(args: Any, output: Tensor) -> None:
            noted["features"], noted["projected"] = args[0], output

        if needs.class_token:
            on(layers[numbers[FEATURES]], taken)
        if needs.features or needs.projected:
            on(family.projector(model), projected)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
