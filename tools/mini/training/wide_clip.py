"""The CLIP of the miniature of 576 tokens as it is saved: its tower, and the text tower of its training."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tools.mini.training.vocabulary import build_clip_tokenizer
from tools.mini.training.wide_model import JOINT, build_text_config

if TYPE_CHECKING:
    from tools.mini.training.wide_network import WideHeads


def save_clip(model, heads: "WideHeads", folder: Path) -> None:
    """Write the CLIP of the tower and the text tower, with its tokenizer, into `<folder>/clip`."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=build_text_config().to_dict(),
        vision_config=model.config.vision_config.to_dict(),
        projection_dim=JOINT,
    )
    clip = CLIPModel(config)
    parts = {
        "text_model": heads.text_model,
        "text_projection": heads.text_projection,
        "visual_projection": heads.visual_projection,
        "vision_model": model.model.vision_tower,
    }
    with torch.no_grad():
        for name, part in parts.items():
            own = getattr(clip, name)
            own.load_state_dict(getattr(part, name, part).state_dict())
        clip.logit_scale.copy_(heads.logit_scale)
    clip.bfloat16().save_pretrained(folder / "clip")
    build_clip_tokenizer().save_pretrained(folder / "clip")
