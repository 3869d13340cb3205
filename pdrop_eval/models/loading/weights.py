"""What a checkpoint's folder may hold: safetensors of its own, and no code, unless code is asked for."""

import json
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text
from pdrop_eval.utils.validation import is_plain_name, shortened

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# The files beside config.json in which transformers looks for the names of a checkpoint's own classes.
_NAMES_CODE = (
    "processor_config.json", "preprocessor_config.json", "tokenizer_config.json",
    "video_preprocessor_config.json", "feature_extractor_config.json",
)  # fmt: skip


def check_folder(pretrained: str, folder: Path, trust_remote_code: bool, has_weights: bool = True) -> None:
    """Refuse a folder without safetensors, with weights from elsewhere, with two sets of them, or with code.

    Args:
        pretrained: the checkpoint as the user named it.
        folder: where it lies.
        trust_remote_code: whether code of its own is allowed.
        has_weights: whether they have to be there; of one on the Hub only small files are, at first.

    Raises:
        UserError: with the way to convert or repair it.
    """
    if has_weights:
        weight_files(pretrained, folder)
    elif (folder / INDEX).is_file():
        _parts(folder / INDEX)
    for name in _NAMES_CODE:
        if (folder / name).is_file():
            check_code(pretrained, name, read_object(folder / name), trust_remote_code)


def weight_files(pretrained: str, folder: Path) -> list[Path]:
    """Return the files that hold a checkpoint's weights, in a folder.

    Raises:
        UserError: there are none, they are not whole, or a second set beside them would be taken.
    """
    whole, index = folder / WHOLE, folder / INDEX
    if index.is_file():
        parts = _parts(index)
        if whole.is_file() and WHOLE not in parts:
            raise UserError(
                f"{pretrained} holds two sets of weights: {WHOLE}, and {', '.join(parts[:2])}"
                f"{', ...' if len(parts) > 2 else ''} by {INDEX}. transformers would take {WHOLE}, which may "
                f"be left over from before. Move away the one that isn't meant: {WHOLE}, or {INDEX} and its "
                "parts."
            )
        for name in parts:
            if not (folder / name).is_file():
                raise UserError(f"{index} names {name}, which isn't there. Copy the checkpoint again, whole.")
        return [folder / name for name in parts]
    if whole.is_file():
        return [whole]
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        raise UserError(
            f"{pretrained} holds {', '.join(others[:3])}, but neither {WHOLE} nor {INDEX}, and no other "
            f"*.safetensors file is loaded. Rename a single one to {WHOLE}, or copy the index of several."
        )
    raise UserError(
        f"{pretrained} holds no *.safetensors file, and nothing else is loaded (pickled weights can run "
        "code). Convert it: load it with transformers, then save_pretrained(folder)."
    )


_PARTS = ("text_config", "vision_config")
_SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_channels")
_OPTIONAL = ("num_key_value_heads", "head_dim", "vocab_size")  # sizes that may be null
_MOST = {"num_hidden_layers": 10_000}  # no model has as many
_MOST_ELSE = 10**8


def check_config(pretrained: str, config: dict[str, Any], trust_remote_code: bool) -> None:
    """Refuse a config.json that asks for code or other weights, or whose image tokens can't be counted.

    Raises:
        UserError: with the file and the field.
    """
    check_code(pretrained, "config.json", config, trust_remote_code)
    _check_own_loading(pretrained, config)
    if "vision_config" not in config:
        raise UserError(
            f"The config.json of {pretrained} says nothing of a vision tower (vision_config), so it isn't in "
            "transformers' own format, whose defaults would be those of a model of 7B. Copy the checkpoint "
            "again, or convert it (docs/checkpoints.md)."
        )
    vision = config.get("vision_config", {})
    for name in ("image_size", "patch_size"):
        size = vision.get(name, 1) if isinstance(vision, dict) else None
        sides = size if isinstance(size, list) and len(size) == 2 else [size]  # InternVL has two
        if any(type(side) is not int or side < 1 for side in sides):
            raise UserError(
                f"The config.json of {pretrained} has vision_config.{name}={size!r}, no number of pixels. "
                "Copy the checkpoint again."
            )
    _check_numbers(pretrained, config)


def _check_numbers(pretrained: str, config: dict[str, Any]) -> None:
    """Refuse what is no size and no layer of a tower: all sums of tokens and FLOPs stand on them."""
    for part in ("", *_PARTS):
        found: Any = config.get(part) if part else config
        for name in (*_SIZES, *_OPTIONAL) if isinstance(found, dict) else ():
            size, most = found.get(name, 1), _MOST.get(name, _MOST_ELSE)
            absent = size is None and (not part or name in _OPTIONAL)
            if not absent and (type(size) is not int or not 1 <= size <= most):
                raise _wrong(
                    pretrained, f"{part}.{name}".lstrip("."), size, f"no whole number in [1, {most}]"
                )
    taken = config.get("vision_feature_layer", -2)
    layers = taken if isinstance(taken, list) and taken else [taken]
    if any(type(layer) is not int for layer in layers):
        raise _wrong(pretrained, "vision_feature_layer", taken, "no layer of the tower, nor a list of them")


def _wrong(pretrained: str, name: str, value: Any, what: str) -> UserError:
    return UserError(
        f"The config.json of {pretrained} has {name}={shortened(value)}, {what}. Copy the checkpoint again."
    )


def _check_own_loading(pretrained: str, config: dict[str, Any]) -> None:
    """Refuse what makes transformers load other weights than the record would say."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        own = part.get("quantization_config")
        if own:
            method = own.get("quant_method", "unknown") if isinstance(own, dict) else own
            raise UserError(
                f"The checkpoint {pretrained} is quantised (quantization_config in config.json, method "
                f"{method}): its weights are not what dtype says, and its FLOPs not what is counted. Use the "
                "checkpoint that it was made from, with dtype=float16 or bfloat16."
            )
        if part.get("transformers_weights"):
            raise UserError(
                f"The config.json of {pretrained} names a file of weights (transformers_weights="
                f"{part['transformers_weights']!r}). Call that {WHOLE}, and remove the field."
            )


def check_code(pretrained: str, name: str, content: dict[str, Any], trust_remote_code: bool) -> None:
    """Refuse a checkpoint whose file `name` asks for Python code of its own.

    Raises:
        UserError: with the code that it names.
    """
    own = content.get("auto_map")
    if not own or trust_remote_code:
        return
    named = ", ".join(sorted(map(str, own.values()))) if isinstance(own, dict) else str(own)
    raise UserError(
        f"The checkpoint {pretrained} asks for Python code of its own (auto_map in {name}: {named}). Code "
        "from a checkpoint is not run: it could do anything on this machine. transformers itself has the "
        f"model classes that are supported here, so remove auto_map from {name}; or read that code, and set "
        "model.trust_remote_code=true if you trust it."
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a checkpoint's JSON file, which has to hold an object.

    Raises:
        UserError: a damaged one.
    """
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error}). Copy the checkpoint again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object. Copy the checkpoint again.")
    return found


def _parts(path: Path) -> list[str]:
    """The names of the files that an index names: files beside it, not ones from anywhere."""
    parts = read_object(path).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise UserError(f"{path} has no weight_map from weights to files. Copy the checkpoint again.")
    names = sorted(set(parts.values()))
    for name in names:
        if not is_plain_name(name) or not name.endswith(".safetensors"):
            raise UserError(
                f"{path} names {name!r} as a file of weights, but only *.safetensors files in the "
                "checkpoint's own folder are read. Don't use this checkpoint unless you know who made it."
            )
    return names
