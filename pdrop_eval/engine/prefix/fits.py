"""Whether questions can share the prefix of their prompts, and in how many layers. Needs no torch."""

from collections.abc import Callable, Mapping
from typing import Any

from pdrop_eval.engine.interface import resolve_scoring_layer
from pdrop_eval.models.family import Family
from pdrop_eval.models.text_model import check_text_model
from pdrop_eval.utils.errors import UserError

_BY_LENGTH = ("dynamic", "longrope")  # these scale rotary positions by the longest one in the prompt


def unshared(family: Family, text: Any, selector: Any) -> str:
    """Return why questions of one image can't share the prefix of their prompts; "" where they can.

    Args:
        family: the model's.
        text: the text model's config, or what of config.json stands for it.
        selector: a strategy; `shares_prefix` says whether it chooses before its first drop by nothing but the
            image.
    """
    return unshared_by_model(family, text) or unshared_by_strategy(selector, int(text.num_hidden_layers))


def unshared_by_model(
    family: Family, text: Any, check_window: Callable[[Any], None] = check_text_model
) -> str:
    """Return why the prefix's states depend on the question in this model; "" where they don't.

    Args:
        family: the model's.
        text: as of `unshared`.
        check_window: raises UserError for a text model with sliding-window layers.
    """
    if family.unshared:
        return f"{family.display_name or family.name}: {family.unshared}"
    try:
        check_window(text)
    except UserError:
        return "the model has sliding-window layers, whose caches forget the prefix"
    kind = _rope_type(text)
    if kind in _BY_LENGTH:
        return f"its rotary positions ({kind}) depend on the length of the prompt, and so on the question"
    return ""


def unshared_by_strategy(selector: Any, num_layers: int) -> str:
    """Return why a strategy leaves nothing to share; "" where it does."""
    name = getattr(selector, "name", type(selector).__name__)
    reducer = getattr(selector, "reducer", None)
    if reducer is not None and reducer.needs.question:
        return f"{name} chooses by the question before the decoder"
    if not _promises(selector):
        return (
            f"{name} doesn't promise that questions of one image have the same tokens before its first drop "
            "(shares_prefix)"
        )
    if not shared_layers(selector, num_layers):
        return f"{name} drops tokens before the first layer"
    return ""


def _promises(selector: Any) -> bool:
    """Tell whether a strategy says so itself: what overrides one of this package's promises anew."""
    kind = type(selector)
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    own = ours or "shares_prefix" in vars(kind) or "shares_prefix" in getattr(selector, "__dict__", {})
    return own and bool(getattr(selector, "shares_prefix", False))


def shared_layers(selector: Any, num_layers: int) -> int:
    """Return how many layers come before the first drop: all, where there is none."""
    return min((drop.layer for drop in selector.drops(num_layers)), default=num_layers)


def states_needed(selector: Any, num_layers: int) -> tuple[int, ...]:
    """Return the layers, up to the first drop, at which the states of the whole prompt are asked for.

    The number of layers stands for the decoder's output.
    """
    drops = selector.drops(num_layers)
    first = shared_layers(selector, num_layers)
    asked = {resolve_scoring_layer(drop, num_layers) for drop in drops} | {drop.layer for drop in drops}
    return tuple(sorted(layer for layer in asked if layer <= first))


def _rope_type(text: Any) -> str:
    for name in ("rope_parameters", "rope_scaling"):
        found = getattr(text, name, None)
        if found is None:
            continue
        get = found.get if isinstance(found, Mapping) else lambda key, found=found: getattr(found, key, None)
        kind = get("rope_type") or get("type")
        if kind:
            return str(kind)
    return "default"
