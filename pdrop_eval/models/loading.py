"""Loading a checkpoint with its processor: safetensors only, no code of the checkpoint unless asked for."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from pdrop_eval.models import families
from pdrop_eval.models.checkpoint import check_anyres, check_checkpoint, check_device, resolve_checkpoint
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.processors import UNREADABLE, load_processor, unloadable
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode on its device.

    Attributes:
        model: the model.
        processor: its processor, which pads on the left.
        family: its model family.
    """

    model: PreTrainedModel
    processor: Any
    family: MultimodalFamily


def load(
    pretrained: str, revision: str | None, device: str, dtype: str, attention: str, trust_remote_code: bool,
    anyres: Any = None, chat_template: str | None = None,
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

    Raises:
        UserError: a checkpoint that can't be loaded, or whose processor or template doesn't fit it.
    """
    check_device(device)
    checkpoint = check_checkpoint(pretrained, revision, trust_remote_code)
    family = families.multimodal(checkpoint.family)
    check_anyres(anyres, checkpoint.config)
    transformers_logging.disable_progress_bar()
    processor = load_processor(pretrained, family, revision, trust_remote_code, anyres, chat_template)
    try:
        model, found = family.load_class().from_pretrained(
            str(resolve_checkpoint(pretrained)),
            revision=revision or "main",
            trust_remote_code=trust_remote_code,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (*UNREADABLE, SafetensorError) as error:
        raise unloadable(pretrained, family, error) from error
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise UserError(
            f"The checkpoint {pretrained} lacks {len(found['missing_keys'])} weights of its model, such as "
            f"{min(found['missing_keys'])}. Is it complete, and saved by the same kind of model?"
        )
    family.set_anyres(anyres, model.config)
    return Loaded(model.to(device).eval(), processor, family)
