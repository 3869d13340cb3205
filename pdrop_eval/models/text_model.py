"""Which text models the engine can take: told from a config, before any weight is read. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.utils.errors import UserError

# transformers' own, where a config.json says nothing
_DEFAULT_WINDOWS = {"mistral": 4096}
_DEFAULT_SIZES: dict[str, dict[str, int]] = {
    "llama": {"intermediate_size": 11008, "vocab_size": 32000},
    "mistral": {"intermediate_size": 14336, "vocab_size": 32000, "num_key_value_heads": 8},
}
_ALL_DEFAULTS = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}


def text_sizes(text: Mapping[str, Any], usual: str) -> dict[str, Any]:
    """Return what a config.json says of a text model, with the sizes that transformers takes without it.

    Published checkpoints leave them out: LLaVA-1.5-7B's says neither how deep nor how wide it is.

    Args:
        text: what config.json says.
        usual: its type, where config.json says none.
    """
    kind = text.get("model_type", usual)
    defaults = {**_ALL_DEFAULTS, **_DEFAULT_SIZES[kind]} if kind in _DEFAULT_SIZES else {}
    return {**defaults, **text}


def check_text_config(pretrained: str, text: Any, text_types: Sequence[str]) -> None:
    """Refuse a checkpoint whose text model is of a type that its family can't work with here.

    Args:
        pretrained: the checkpoint as the user named it.
        text: what its config.json says of the text model, or None.
        text_types: the family's, the usual one first.

    Raises:
        UserError: with the types that it can take.
    """
    text = _text_of(pretrained, text)
    check_text_type(f"The checkpoint {pretrained}", text.get("model_type", text_types[0]), text_types)


def check_window(pretrained: str, text: Any, text_types: Sequence[str]) -> None:
    """Refuse to drop tokens of a checkpoint whose text model has sliding-window layers.

    Raises:
        UserError: with the setting that turns the window off.
    """
    text = _text_of(pretrained, text)
    kind = str(text.get("model_type", text_types[0]))
    window = text.get("sliding_window", _DEFAULT_WINDOWS.get(kind))
    if not text.get("use_sliding_window", not kind.startswith("qwen")):
        window = None
    layers = text.get("layer_types")
    _check_window(window, layers if isinstance(layers, Sequence) else ())


def _text_of(pretrained: str, text: Any) -> Mapping[str, Any]:
    if text is not None and not isinstance(text, Mapping):
        raise UserError(f"text_config in the config.json of {pretrained} is no object. Copy it again.")
    return text or {}


def check_text_type(what: str, kind: Any, text_types: Sequence[str]) -> None:
    """Refuse a text model of another type than the family's.

    Raises:
        UserError: with the types that it can take.
    """
    if kind not in text_types:
        known = ", ".join(map(repr, text_types))
        raise UserError(f"{what} with a text model of type {kind!r} is not supported: use one of {known}.")


def check_text_model(config: Any) -> None:
    """Refuse text models with sliding-window layers.

    Args:
        config: the text model's transformers config.

    Raises:
        UserError: with the setting that turns the window off.
    """
    _check_window(getattr(config, "sliding_window", None), getattr(config, "layer_types", None) or ())


def _check_window(window: Any, kinds: Sequence[Any]) -> None:
    if window is not None or any("sliding" in str(kind) for kind in kinds):
        raise UserError(
            f"The text model has sliding-window attention (sliding_window={window}), which "
            "counts dropped tokens as if they were there. Load it with text_config.sliding_window=None if "
            "your sequences are shorter than the window (null in its config.json), or use a model with full "
            "attention."
        )
