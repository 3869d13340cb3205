"""LoRA adapters: loaded on purpose, refused where they are found by accident. Needs no torch."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.hub import check_id, fetch, hub_commit
from pdrop_eval.models.loading.weights import read_object
from pdrop_eval.utils.code.hashing import hash_files
from pdrop_eval.utils.errors import UserError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """An adapter that is asked for.

    Attributes:
        adapter: as the user named it.
        revision: as the user named it; None for a folder.
        commit: on the Hub; None for a folder.
        base: the model that its own config names.
        sha256: of its config and weights.
        merged: whether it is added to the weights, or computed beside them.
    """

    adapter: str
    revision: str | None
    commit: str | None
    base: str | None
    sha256: str
    merged: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for the record."""
        return asdict(self)


def is_on_hub(adapter: str | None) -> bool:
    """Whether an adapter is asked for that is no folder here."""
    return adapter is not None and not Path(adapter).expanduser().is_dir()


def adapter_folder(adapter: str, revision: str | None = None) -> Path:
    """Return the folder of an adapter; one on the Hub is fetched, it is small.

    Raises:
        UserError: there is none.
    """
    folder = Path(adapter).expanduser()
    if folder.is_dir():
        return folder
    check_id("model.adapter", "model.adapter_revision", adapter)
    if len(adapter.split("/")) != 2 or adapter.startswith((".", "/", "~")):
        raise UserError(
            f"The adapter folder {adapter!r} doesn't exist. Give model.adapter a folder with {CONFIG} and "
            f"{WEIGHTS}, or an id on the Hugging Face Hub (organisation/name)."
        )
    return fetch(adapter, hub_commit(adapter, "model", revision), [CONFIG, WEIGHTS])


def check_adapter(adapter: str | None, revision: str | None = None, merged: bool = True) -> Adapter | None:
    """Check the adapter that is asked for, if one is.

    Args:
        adapter: `model.adapter`: a folder or an id on the Hub.
        revision: `model.adapter_revision`.
        merged: `model.merge_adapter`.

    Raises:
        UserError: it isn't there, isn't LoRA, or peft isn't; a revision of none, or of a folder.
    """
    if revision is not None and not is_on_hub(adapter):
        what = "there is no model.adapter" if adapter is None else f"model.adapter={adapter} is a folder"
        raise UserError(
            f"model.adapter_revision={revision} is of an adapter on the Hugging Face Hub, but {what}. Leave "
            "it out, or give model.adapter the adapter's id (organisation/name)."
        )
    if adapter is None:
        return None
    if find_spec("peft") is None:
        raise UserError(
            f"model.adapter={adapter} needs the package peft. Install it: pip install 'pdrop-eval[train]'."
        )
    folder = adapter_folder(adapter, revision)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(
                f"The adapter {adapter} holds no {name}. Give model.adapter a folder that peft's "
                "save_pretrained wrote, with safetensors (pickled weights can run code)."
            )
    config = read_object(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"The adapter {adapter} is of type {config.get('peft_type')!r}; only LORA is loaded. Merge it "
            "into its base model with peft, and give the result as model.pretrained."
        )
    commit = hub_commit(adapter, "model", revision) if is_on_hub(adapter) else None
    base = config.get("base_model_name_or_path")
    sha256 = hash_files([folder / CONFIG, folder / WEIGHTS])
    return Adapter(adapter, revision, commit, None if base is None else str(base), sha256, merged)


def refuse_found(pretrained: str, folder: Path) -> None:
    """Refuse a checkpoint with an adapter in its folder, which transformers would load without a word.

    Where an adapter lies beside a whole model, it is added to it; or its base model is loaded instead.

    Raises:
        UserError: with both ways out.
    """
    if not (folder / CONFIG).is_file():
        return
    base = read_object(folder / CONFIG).get("base_model_name_or_path") or "<its base model>"
    alone = not (folder / "config.json").is_file()
    what = "is a LoRA adapter" if alone else "holds a LoRA adapter beside its config.json"
    other = (
        "merge it into that model with peft, and give the result"
        if alone
        else f"for the model without it, move {CONFIG} out of the folder"
    )
    raise UserError(
        f"The checkpoint {pretrained} {what} ({CONFIG}), which is only loaded on purpose. To use it: "
        f"model.pretrained={base} model.adapter={pretrained}. Or {other}."
    )


def model_sha256(base: str, adapter: Adapter | None) -> str:
    """Return the hash of weights with an adapter; without one it is that of the base."""
    if adapter is None:
        return base
    import hashlib

    return hashlib.sha256(f"{base}+{adapter.sha256}+merged={adapter.merged}".encode()).hexdigest()


def add_adapter(model: Any, adapter: Adapter) -> Any:
    """Return a model with an adapter on it, as a model of its own class.

    Raises:
        UserError: one that doesn't fit the model.
    """
    from peft import PeftConfig, PeftModel

    folder = str(adapter_folder(adapter.adapter, adapter.commit))
    try:
        with warnings.catch_warnings():
            # peft asks for what newer transformers call otherwise, and warns of keys, which are checked below
            warnings.simplefilter("ignore")
            wrapped = PeftModel(model, PeftConfig.from_pretrained(folder))
            found: Any = wrapped.load_adapter(folder, adapter_name="default", torch_device="cpu")
    except (ValueError, RuntimeError, TypeError, LookupError, OSError) as error:
        raise _unfit(adapter, str(error)) from error
    lost = [name for name in found.missing_keys if "lora_" in name]
    if lost or found.unexpected_keys:
        name = (lost or found.unexpected_keys)[0]
        raise _unfit(adapter, f"{name} {'is missing' if lost else 'has no place in the model'}")
    return wrapped.merge_and_unload() if adapter.merged else wrapped.get_base_model()


def _unfit(adapter: Adapter, reason: str) -> UserError:
    return UserError(
        f"The adapter {adapter.adapter} doesn't fit the model: {reason}. Its own config names "
        f"{adapter.base} as its base: give that as model.pretrained, in transformers' own format."
    )


def recorded(adapter: Adapter | None) -> Mapping[str, Any] | None:
    """Return what a record says of an adapter."""
    return None if adapter is None else adapter.to_dict()
