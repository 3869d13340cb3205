"""The model that a phase starts from, made ready for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pdrop_eval.models.loading.adapter import Adapter
from pdrop_eval.models.loading.load import load
from pdrop_eval.run.train.trainer import choose_parts
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Start:
    """A model in float32 on the CPU (the Trainer moves it), with its processor, padding on the right.

    Attributes:
        fixed_tokens: The tokens of every image, or None where they depend on its size.
    """

    model: Any
    processor: Any
    fixed_tokens: int | None


def load_start(
    source: str | Path, config: Any, template: str | None = None, adapter: Adapter | None = None
) -> Start:
    """Load a checkpoint for training with the settings of a training config.

    Args:
        source: the checkpoint.
        config: the training's.
        template: that of the phase's conversations.
        adapter: what is merged into the weights.

    Raises:
        UserError: it can't be loaded or trained.
    """
    model = config.model
    loaded = load(
        str(source), model.revision, "cpu", "float32", config.attention, model.trust_remote_code,
        model.anyres, "checkpoint" if template == "checkpoint" else None, adapter,
    )  # fmt: skip
    loaded.processor.tokenizer.padding_side = "right"
    if not loaded.processor.tokenizer.is_fast:
        raise UserError(f"{source} has no fast tokenizer (tokenizer.json), which training needs. Convert it.")
    fixed = loaded.family.fixed_image_tokens(loaded.model.config)
    return Start(loaded.model, loaded.processor, fixed)


def prepare(model: Any, settings: Any, config: Any) -> None:
    """Choose what learns, add adapters where asked for, and switch gradient checkpointing on."""
    choose_parts(model, settings.train)
    if config.lora.rank is not None and "decoder" in settings.train:
        _add_lora(model, config.lora)
    model.config.use_cache = model.config.get_text_config().use_cache = False
    model.train()
    if config.gradient_checkpointing:
        # transformers 5.23 has a new name for it; both checkpoint without reentry
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        # Switched on along with it, but of use for reentrant checkpointing alone: a frozen vision tower would
        # keep its activations and run backward for nothing.
        model.disable_input_require_grads()


def _add_lora(model: Any, lora: Any) -> None:
    """Adapters inside the model, not around it: a strategy's hooks are on the model itself."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError(
            "lora.rank needs the package peft. Install it: pip install 'pdrop-eval[train]'."
        ) from None
    for parameter in model.get_decoder().parameters():
        parameter.requires_grad_(False)
    for parameter in model.lm_head.parameters():
        parameter.requires_grad_(False)
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    names = r"model\.language_model\.layers\.\d+\.\w+\.(" + "|".join(lora.target) + ")"
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
    inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():  # peft froze the projector, too
        parameter.requires_grad_(parameter.requires_grad or name in learning)


def merge_lora(model: nn.Module) -> None:
    """Add the adapters to the weights that they belong to, and take them out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())


def save_model(model: Any, processor: Any, folder: Path, dtype: str) -> None:
    """Write a model in Hugging Face format: safetensors, its processor, its generation settings."""
    model.config.use_cache = model.config.get_text_config().use_cache = True
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, safe_serialization=True)
    save_processor(processor, folder)


def save_processor(processor: Any, folder: Path) -> None:
    """Write a processor as batches of prompts need it: padded on the left."""
    processor.tokenizer.padding_side = "left"
    processor.save_pretrained(folder)
