"""What differs between the miniatures that are trained here: LLaVA-1.5 from scratch, Qwen2.5-VL from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdrop_eval.benchmarks.rendered.facts import CN_COLORS, CN_SHAPES
from pdrop_eval.utils.paths import MINI_CHECKPOINTS
from tools.mini.training import (
    model,
    network,
    packing,
    qwen_batches,
    qwen_model,
    wide_batches,
    wide_clip,
    wide_model,
    wide_network,
)
from tools.mini.training.vocabulary import ID

# What members will begin with, and no miniature that ships with the package.
WEIGHTS = Path("tools/mini/weights")


@dataclass(frozen=True)
class Architecture:
    """One kind of miniature.

    Attributes:
        build: makes the model before training.
        batch: (name, indices, easy) to the samples.
        lessons: by stage, (model, heads, batch) to its loss, and what to log; the others have `logits` alone.
        logits: (model, batch, guide) to the logits at the answers, and the targets.
        pictures: a step, over all processes, by stage.
        rates: of Muon and AdamW, by stage.
        choose: sets which weights a stage trains.
        begin: what is done to the model before the first stage.
        cross_over: (model, stage) to the model that the stage begins with; the same one, or one built anew.
        easy: share of the second stage with easy pictures.
        is_guided: whether the second stage may guide attention.
        heads: (width) to what only training has.
        keep: what is written beside the checkpoints at the end: (model, heads, folder).
        stages: their names, in order.
        processor: makes what is saved beside the weights.
        finish: what is done to the trained model before it is saved; returns it.
        folder: where the checkpoint ships.
    """

    build: Callable[[], Any]
    batch: Callable[..., Any]
    lessons: Mapping[str, Callable[[Any, Any, Any], tuple[Tensor, dict]]]
    logits: Callable[..., tuple[Tensor, Tensor]]
    pictures: Mapping[str, int]
    rates: Mapping[str, tuple[float, float]]
    choose: Callable[[Any, str], None]
    processor: Callable[[], Any]
    folder: Path
    begin: Callable[[Any], None] = lambda model: None
    cross_over: Callable[[Any, str], Any] = lambda model, stage: model
    easy: float = 0.0
    stages: tuple[str, ...] = ("vision", "joint")
    is_guided: bool = True
    heads: Callable[[int], nn.Module] = network.PatchLabels
    keep: Callable[[Any, Any, Path], None] = lambda model, heads, folder: None
    finish: Callable[[Any], Any] = lambda model: model

    def built_for(self, stage: str) -> Any:
        """A model of the shape that the stage trains, whose weights are to be read."""
        made = self.build()
        for one in self.stages[1 : self.stages.index(stage) + 1]:
            made = self.cross_over(made, one)
        return made


@torch.no_grad()
def _words_to_output(llava, stage: str):
    """The output layer starts from the word embeddings."""
    embedding = llava.model.language_model.embed_tokens.weight
    for words in (CN_COLORS, CN_SHAPES):
        for english, chinese in words.items():
            embedding[ID[chinese]] = embedding[ID[english]]
    llava.lm_head.weight.copy_(F.rms_norm(embedding, (embedding.shape[1],)) * 0.1)
    return llava


def _llava_parts(llava, stage: str) -> None:
    """The tower is frozen in the second stage, as LLaVA freezes it."""
    llava.model.vision_tower.requires_grad_(stage == "vision")


@torch.no_grad()
def _mean_first(qwen) -> None:
    """The merger begins with the mean image token of the LLaVA-1.5 miniature."""
    qwen.model.visual.merger.mlp[2].bias.copy_(qwen_batches.mean_token() / qwen_model.GROWTH)


def _qwen_parts(qwen, stage: str) -> None:
    """First the tower alone, towards a decoder that can read already; then all but its blocks."""
    qwen.requires_grad_(stage == "joint")
    qwen.model.visual.requires_grad_(stage == "vision")
    qwen.model.visual.merger.requires_grad_(True)


def _wide_parts(llava, stage: str) -> None:
    """First the tower alone, towards a decoder that can read already; then all but the tower; then all."""
    llava.requires_grad_(stage != "vision")
    llava.model.vision_tower.requires_grad_(stage != "joint")


@torch.no_grad()
def _shrink_or_deepen(llava, stage: str):
    """First make the image tokens smaller beside the words; then lay the decoder anew."""
    if stage == "together":
        return wide_model.laid_anew(llava)
    for weight in llava.model.multi_modal_projector.linear_2.parameters():
        weight.mul_(wide_model.SHRINK)
    return llava


ARCHITECTURES = {
    "llava": Architecture(
        build=model.build_model,
        batch=packing.make_batch,
        lessons={"vision": network.see},
        logits=network.answer_logits,
        pictures={"vision": 32, "joint": 16},
        rates={"vision": (0.02, 3e-3), "joint": (0.02, 3e-3)},
        choose=_llava_parts,
        processor=model.build_processor,
        folder=WEIGHTS / "mini_base",
        cross_over=_words_to_output,
        easy=0.15,
    ),
    "qwen2_5_vl": Architecture(
        build=qwen_model.build_model,
        batch=qwen_batches.make_batch,
        lessons={"vision": qwen_batches.see},
        logits=qwen_batches.answer_logits,
        pictures={"vision": 16, "joint": 16},
        rates={"vision": (0.02, 3e-3), "joint": (0.01, 1e-3)},
        choose=_qwen_parts,
        processor=qwen_model.build_processor,
        folder=MINI_CHECKPOINTS / "mini_qwen2_5_vl",
        finish=qwen_model.grown,
        begin=_mean_first,
    ),
    "llava576": Architecture(
        build=wide_model.build_model,
        batch=wide_batches.make_batch,
        lessons={"vision": wide_network.see, "together": wide_network.see_and_answer},
        logits=wide_network.answer_logits,
        stages=("vision", "joint", "together"),
        pictures={"vision": 16, "joint": 16, "together": 16},
        rates={"vision": (0.01, 2e-3), "joint": (0.01, 1e-3), "together": (0.01, 1e-3)},
        choose=_wide_parts,
        processor=wide_model.build_processor,
        folder=WEIGHTS / "mini576_base",
        cross_over=_shrink_or_deepen,
        is_guided=False,
        heads=wide_network.WideHeads,
        keep=wide_clip.save_clip,
    ),
}
