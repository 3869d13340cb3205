"""What a checkpoint is: where it lies, its family, whether it can be used; read before any model loads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.models import families
from pdrop_eval.models.loading.adapter import refuse_found
from pdrop_eval.models.loading.devices import why_absent
from pdrop_eval.models.loading.generation import settings_of
from pdrop_eval.models.loading.hub import check_id
from pdrop_eval.models.loading.original_format import check_format
from pdrop_eval.models.loading.weights import check_config, check_folder, read_object
from pdrop_eval.models.text_model import check_text_config, check_window
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINT, MINI_CHECKPOINTS


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's config.json says, read without loading anything.

    Attributes:
        family: the name of its model family.
        config: the whole of config.json.
        generation: what of its generation_config.json would change answers.
        folder: where it lies; of one on the Hub, where its small files were fetched to.
    """

    family: str
    config: dict[str, Any]
    folder: Path
    generation: dict[str, Any]


class MissingCheckpointError(UserError):
    """A checkpoint that is not there yet; an experiment leaves it out."""


def resolve_checkpoint(pretrained: str) -> Path | str:
    """Return the checkpoint's folder, or its id on the Hub.

    "embedded:<name>" is one of the package's own miniatures, "embedded" the smallest. What starts with
    "checkpoints/" is always a folder, never an id.

    Raises:
        MissingCheckpointError: no such folder, and no id.
    """
    if pretrained == "embedded" or pretrained.startswith("embedded:"):
        return _embedded(pretrained.partition(":")[2])
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        return folder
    parts = pretrained.split("/")
    check_id("model.pretrained", "model.revision", pretrained)
    if parts[0] == "checkpoints":
        raise MissingCheckpointError(
            f"The checkpoint {pretrained!r} isn't there: none is published, it has to be trained. "
            "Give your own, a folder with config.json and *.safetensors, as model.pretrained=<folder>."
        )
    if len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~") or folder.exists():
        raise MissingCheckpointError(
            f"The checkpoint folder {pretrained!r} doesn't exist. Give a folder that holds config.json and "
            "*.safetensors, an id on the Hugging Face Hub (organisation/name), or embedded."
        )
    return pretrained


def _embedded(name: str) -> Path:
    folder = MINI_CHECKPOINTS / name if name else MINI_CHECKPOINT
    if (folder / "config.json").is_file():
        return folder
    if name:
        raise MissingCheckpointError(
            f"The embedded checkpoint {name!r} isn't in this installation. Use model=mini576, or give a "
            "checkpoint of your own with model.pretrained=<folder>."
        )
    raise MissingCheckpointError(
        "The embedded miniature is missing from this installation. Install the package again, or "
        "give another checkpoint with model.pretrained=<folder>."
    )


def check_checkpoint(
    pretrained: str, revision: str | None, trust_remote_code: bool = False, drops: bool = False
) -> Checkpoint:
    """Check all of a checkpoint that its small files say; every command and the doctor do so first.

    Args:
        pretrained: a folder, an id on the Hub, or "embedded".
        revision: a branch, tag or commit on the Hub; None: main.
        trust_remote_code: whether code of the checkpoint may run.
        drops: whether tokens are to be dropped, which not every text model allows.

    Raises:
        UserError: a checkpoint that can't be used, with the reason and the fix.
    """
    source = resolve_checkpoint(pretrained)
    folder = source if isinstance(source, Path) else _small_files(source, revision)
    path = folder / "config.json"
    if not path.is_file():
        refuse_found(pretrained, folder)
    if not path.is_file():
        raise UserError(
            f"{pretrained} holds no config.json, so it is no checkpoint in Hugging Face format. "
            "Give the folder that save_pretrained wrote."
        )
    config = read_object(path)
    check_format(pretrained, config)
    refuse_found(pretrained, folder)
    family = families.type_of(config)
    if not families.is_multimodal(family):
        known = ", ".join(one.name for one in families.all_multimodal())
        if reason := families.why_refused(family):
            raise UserError(
                f"The checkpoint {pretrained} is of type {family!r}, which isn't supported: {reason}. "
                f"Supported: {known}."
            )
        raise UserError(
            f"The checkpoint {pretrained} is of type {family!r}, which is no vision-language model that "
            f"pdrop-eval knows. Supported: {known} (in transformers' own format)."
        )
    check_folder(pretrained, folder, trust_remote_code, has_weights=isinstance(source, Path))
    check_config(pretrained, config, trust_remote_code)
    known_family = families.multimodal(str(family))
    known_family.check_version()
    if known_family.unevaluated:
        raise UserError(
            f"A checkpoint of {known_family.display_name}, such as {pretrained}, can't be evaluated here: "
            f"{known_family.unevaluated}. Its model can be used as a library: `with FastV()(model): ...`."
        )
    known_family.check_tower(pretrained, config)
    text = known_family.text_settings(config)
    check_text_config(pretrained, text, known_family.text_types)
    if drops:
        check_window(pretrained, text, known_family.text_types)
    return Checkpoint(str(family), config, folder, settings_of(folder))


def check_image_processing(choice: str, family: str) -> None:
    """Refuse to pad images where a family doesn't make one square of them.

    Args:
        choice: `model.image_processing`.
        family: the name of the checkpoint's family.

    Raises:
        UserError: with the setting to use.
    """
    if choice == "pad" and not families.multimodal(family).pads_images:
        able = ", ".join(one.display_name for one in families.all_multimodal() if one.pads_images)
        raise UserError(
            f"model.image_processing=pad is for {able}; a checkpoint of type {family} doesn't make one "
            "square of an image. Use model.image_processing=checkpoint."
        )


def check_anyres(anyres: Any, config: dict[str, Any]) -> None:
    """Check `model.anyres` against a checkpoint's config.json.

    Raises:
        UserError: a family that has no tiles, or grids that can't be.
    """
    families.multimodal_of(config).check_anyres(anyres, config)


def check_trainable(family: str) -> None:
    """Refuse to train a family of which it isn't known which parameters belong to which part.

    Raises:
        UserError: with the families that can be trained.
    """
    if not families.multimodal(family).parameter_parts:
        able = ", ".join(one.name for one in families.all_multimodal() if one.parameter_parts)
        raise UserError(
            f"Training a checkpoint of type {family} isn't supported. Use one of these types: {able}."
        )


def check_not_absent(device: str) -> None:
    """Refuse a device that is plainly absent; this never imports torch.

    Raises:
        UserError: with the reason.
    """
    if reason := why_absent(device):
        raise UserError(
            f"device={device} asks for a GPU, but torch can't use one here: {reason}. Use device=cpu, or "
            "install what is missing."
        )


def check_device(device: str) -> None:
    """Check that the device is there; this imports torch only for one that may be there.

    Raises:
        UserError: with what there is instead.
    """
    if device == "cpu":
        return
    check_not_absent(device)
    import torch

    kind, _, index = str(device).partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index and not index.isdigit():
            raise UserError(f"device={device}: write cuda or cuda:0.")
        if int(index or 0) >= count:
            found = "no GPU that torch can use" if count == 0 else f"only {count} GPU(s), counted from 0"
            raise UserError(
                f"device={device} asks for a GPU, but there is {found} here. Use device=cpu, or check the "
                "driver and that the installed torch is one with CUDA."
            )
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={device} asks for Apple's GPU, but there is none here. Use device=cpu.")


def _small_files(repository: str, revision: str | None) -> Path:
    """The folder in the Hub's cache with a checkpoint's JSON files; its weights need not be there."""
    from pdrop_eval.models.loading.hub import fetch, hub_commit

    return fetch(repository, hub_commit(repository, "model", revision), ["*.json"])


def settled_dtype(dtype: str, device: str, config: Mapping[str, Any]) -> str:
    """Return what dtype=auto stands for: float32; on a GPU float16, or bfloat16 if the checkpoint says so.

    Models that were trained in bfloat16 overflow in float16.

    Args:
        dtype: what is asked for; another than "auto" stays.
        device: such as "cpu" or "cuda:1".
        config: the checkpoint's config.json.
    """
    if dtype != "auto":
        return dtype
    if device.partition(":")[0] != "cuda":
        return "float32"
    parts = (config, config.get("text_config"))
    saved = [str(part.get("dtype") or part.get("torch_dtype")) for part in parts if isinstance(part, dict)]
    return "bfloat16" if any(name.endswith("bfloat16") for name in saved) else "float16"
