"""What a checkpoint's folder may hold: safetensors of its own, and no code, unless code is asked for."""

import json
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_plain_name

INDEX = "model.safetensors.index.json"
# The files beside config.json in which transformers looks for the names of a checkpoint's own classes.
_NAMES_CODE = (
    "processor_config.json", "preprocessor_config.json", "tokenizer_config.json",
    "video_preprocessor_config.json", "feature_extractor_config.json",
)  # fmt: skip


def check_folder(pretrained: str, folder: Path, trust_remote_code: bool) -> None:
    """Refuse a folder without safetensors, with weights from elsewhere, or with code.

    Args:
        pretrained: the checkpoint as the user named it.
        folder: where it lies.
        trust_remote_code: whether code of its own is allowed.

    Raises:
        UserError: with the way to convert or repair it.
    """
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"{pretrained} holds no *.safetensors file, and nothing else is loaded (pickled weights can run "
            "code). Convert it: load it with transformers, then save_pretrained(folder)."
        )
    _check_index(folder)
    for name in _NAMES_CODE:
        if (folder / name).is_file():
            check_code(pretrained, name, read_object(folder / name), trust_remote_code)


def check_config(pretrained: str, config: dict[str, Any], trust_remote_code: bool) -> None:
    """Refuse a config.json that asks for code, or whose image tokens can't be counted.

    Raises:
        UserError: with the file and the field.
    """
    check_code(pretrained, "config.json", config, trust_remote_code)
    vision = config.get("vision_config", {})
    for name in ("image_size", "patch_size"):
        size = vision.get(name, 1) if isinstance(vision, dict) else None
        if type(size) is not int or size < 1:
            raise UserError(
                f"The config.json of {pretrained} has vision_config.{name}={size!r}, no number of pixels. "
                "Copy the checkpoint again."
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
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error}). Copy the checkpoint again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object. Copy the checkpoint again.")
    return found


def _check_index(folder: Path) -> None:
    """Check that the index of a checkpoint in parts names files beside it, not ones from anywhere."""
    path = folder / INDEX
    if not path.is_file():
        return
    parts = read_object(path).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise UserError(f"{path} has no weight_map from weights to files. Copy the checkpoint again.")
    for name in sorted(set(parts.values())):
        if not is_plain_name(name) or not name.endswith(".safetensors"):
            raise UserError(
                f"{path} names {name!r} as a file of weights, but only *.safetensors files in the "
                "checkpoint's own folder are read. Don't use this checkpoint unless you know who made it."
            )
        if not (folder / name).is_file():
            raise UserError(f"{path} names {name}, which isn't there. Copy the checkpoint again, whole.")
