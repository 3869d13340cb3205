"""Loading a checkpoint with its processor: safetensors only, no code of the checkpoint unless asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from pdrop_eval.models import families
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.loading.adapter import Adapter, add_adapter
from pdrop_eval.models.loading.checkpoint import (
    Checkpoint,
    check_anyres,
    check_checkpoint,
    check_device,
    resolve_checkpoint,
)
from pdrop_eval.models.loading.gpu import settle_attention, straight_to, take_device
from pdrop_eval.models.loading.hub import fetch, hub_commit
from pdrop_eval.models.loading.processors import UNREADABLE, load_processor, unloadable
from pdrop_eval.models.loading.shapes import check_shapes, outline, read_shapes
from pdrop_eval.models.loading.spread import check_devices, check_there, spread
from pdrop_eval.models.loading.weights import INDEX, WHOLE, weight_files
from pdrop_eval.models.pictures.image_bounds import NO_BOUNDS, ImageBounds
from pdrop_eval.models.prompts import build_prompt, token_ids
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.collecting import collect_as_usual

WEIGHT_PATTERNS = (WHOLE, INDEX, "*-of-*.safetensors")

# Earlier versions of transformers have this level in CLIP's tower; later ones save their weights without it.
OLD_TOWER = ".vision_model."


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode on its device.

    Attributes:
        model: the model.
        processor: its processor, which pads on the left.
        family: its model family.
        checkpoint: what its small files say.
    """

    model: PreTrainedModel
    processor: Any
    family: MultimodalFamily
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Prepared:
    """What is known of a checkpoint before any weight is read.

    Attributes:
        checkpoint: what its small files say.
        family: its model family.
        processor: its processor, which pads on the left.
        folder: where it lies; of one on the Hub, where its small files do.
        config: its transformers config.
    """

    checkpoint: Checkpoint
    family: MultimodalFamily
    processor: Any
    folder: Path
    config: Any


def prepare(
    pretrained: str, revision: str | None, trust_remote_code: bool,
    anyres: Any = None, chat_template: str | None = None, bounds: ImageBounds = NO_BOUNDS,
) -> Prepared:  # fmt: skip
    """Check all that can be checked without reading a weight, as a run and the doctor do.

    Args:
        pretrained: a folder, an id on the Hub, or "embedded".
        revision: a branch, tag or commit on the Hub; None: main.
        trust_remote_code: whether code of the checkpoint may run.
        anyres: replaces the grids of a family that cuts images into tiles (see `models.tiling`).
        chat_template: the template of the prompts (see `models.prompts`); None: they have none.
        bounds: of the size of pictures.

    Raises:
        UserError: a checkpoint that can't be used, or whose parts don't fit each other.
    """
    checkpoint = check_checkpoint(pretrained, revision, trust_remote_code)
    family = families.multimodal(checkpoint.family)
    check_anyres(anyres, checkpoint.config)
    family.check_bounds(bounds)
    common = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    try:
        config = family.load_class().config_class.from_pretrained(str(checkpoint.folder), **common)
        if isinstance(resolve_checkpoint(pretrained), Path):  # of the Hub's they are fetched first
            check_shapes(pretrained, weight_files(pretrained, checkpoint.folder), family, config)
    except UNREADABLE as error:  # a config of a model that can't be built
        raise unloadable(pretrained, family, error) from error
    processor = load_processor(pretrained, family, revision, trust_remote_code, anyres, chat_template, bounds)
    rows = config.get_text_config().vocab_size
    _check_token_ids(pretrained, processor, rows, chat_template or "vicuna", family.lmms_system)
    return Prepared(checkpoint, family, processor, checkpoint.folder, config)


def _check_token_ids(pretrained: str, processor: Any, rows: int, template: str, system: str | None) -> None:
    """Refuse tokens that the model has no embedding for: they would fail at a sample, on a GPU hopelessly."""
    tokenizer = processor.tokenizer
    prompt = token_ids(tokenizer, build_prompt(template, processor, "What is it?", 1, system))
    used = {"pad_token": tokenizer.pad_token_id, "image_token": processor.image_token_id}
    used |= {f"a prompt's {tokenizer.convert_ids_to_tokens(token)!r}": token for token in prompt}
    for what, token in used.items():
        if token is not None and token >= rows:
            other = tokenizer.eos_token if what == "pad_token" else None
            fix = f" Set pad_token to {other!r} in tokenizer_config.json." if other else ""
            raise UserError(
                f"The tokenizer of {pretrained} gives {what} the id {token}, but the model has embeddings "
                f"for 0 to {rows - 1} only (vocab_size in config.json).{fix} Or use the tokenizer that was "
                "saved with the weights."
            )


def load(
    pretrained: str, revision: str | None, device: str, dtype: str, attention: str, trust_remote_code: bool,
    anyres: Any = None, chat_template: str | None = None, adapter: Adapter | None = None,
    bounds: ImageBounds = NO_BOUNDS, devices: int | None = None,
) -> Loaded:  # fmt: skip
    """Load a checkpoint and its processor.

    Args:
        pretrained: a folder, an id on the Hub, or "embedded".
        revision: a branch, tag or commit on the Hub; None: main.
        device: such as "cpu" or "cuda".
        dtype: a name in torch, or "auto" for the checkpoint's own.
        attention: the attention implementation.
        trust_remote_code: whether code of the checkpoint may run.
        anyres: replaces the grids of a family that cuts images into tiles (see `models.tiling`).
        chat_template: the template of the prompts (see `models.prompts`); None: they have none.
        adapter: what to add to its weights.
        bounds: of the size of pictures.
        devices: over how many GPUs the model is spread; None: it is on one device.

    Raises:
        UserError: a checkpoint that can't be loaded, or whose processor or template doesn't fit it.
    """
    check_device(device)
    check_devices(devices, device)
    check_there(devices)
    settle_attention()
    take_device(device)
    is_spread = devices is not None and devices > 1
    transformers_logging.disable_progress_bar()
    ready = prepare(pretrained, revision, trust_remote_code, anyres, chat_template, bounds)
    family, source, folder = ready.family, resolve_checkpoint(pretrained), ready.folder
    if isinstance(source, str):
        folder = fetch(source, hub_commit(source, "model", revision), WEIGHT_PATTERNS)
        check_shapes(pretrained, weight_files(pretrained, folder), family, ready.config)
    try:
        read = partial(
            family.load_class().from_pretrained,
            str(source),
            revision=revision or "main",
            trust_remote_code=trust_remote_code,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
            **({} if is_spread else straight_to(device)),
        )
        names = _old_names(weight_files(pretrained, folder), family, ready.config)
        model, found = read() if names is None else read(key_mapping=names)
    except (*UNREADABLE, SafetensorError) as error:
        raise unloadable(pretrained, family, error) from error
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise UserError(
            f"The checkpoint {pretrained} lacks {len(found['missing_keys'])} weights of its model, such as "
            f"{min(found['missing_keys'])}. Is it complete, and saved by the same kind of model?"
        )
    family.set_anyres(anyres, model.config)
    if adapter is not None:
        model = add_adapter(model, adapter)
    if is_spread:
        gpus = [torch.device("cuda", index) for index in range(devices or 1)]
        model = spread(model, family.decoder(model).layers, gpus)
    else:
        model = model.to(device)
    collect_as_usual()
    return Loaded(model.eval(), ready.processor, family, ready.checkpoint)


def _old_names(files: Sequence[Path], family: MultimodalFamily, config: Any) -> dict[str, str] | None:
    """Return how to name the weights where this transformers has `OLD_TOWER` and the checkpoint doesn't.

    Args:
        files: those with the weights.
        family: the checkpoint's.
        config: its transformers config.

    Returns:
        `from_pretrained`'s `key_mapping`; None where the names are right as they are.
    """
    if any(OLD_TOWER in name for file in files for name in read_shapes(file)):
        return None
    model = outline(family, config)
    if not any(OLD_TOWER in name for name in model.state_dict()):
        return None
    own = getattr(type(model), "_checkpoint_conversion_mapping", {})  # a key_mapping replaces it
    names = {r"^(model\.)?vision_tower\.(?!vision_model\.)": f"model.vision_tower{OLD_TOWER}"}
    return names | {pattern: name for pattern, name in own.items() if "vision_tower" not in pattern}
