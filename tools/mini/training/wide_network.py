"""What training adds to the miniature of 576 tokens: its class token's lessons, and image tokens left out."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdrop_eval.benchmarks.rendered.canvas import GRID
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.mini.training.captions import HELD
from tools.mini.training.network import PatchLabels
from tools.mini.training.vocabulary import BOS, USER, build_clip_tokenizer
from tools.mini.training.wide_batches import WideBatch
from tools.mini.training.wide_model import CELL, FEATURE_LAYER, JOINT, SIDE_TOKENS, build_text_config

BEFORE = (BOS, USER)
LABEL_WEIGHT = 0.3  # of the patch labels beside the teacher
KEPT_UP = 0.1  # of the first stage's lessons in the third


class WideHeads(PatchLabels):
    """Patch labels, and for the class token: what the picture holds, and which caption is the picture's."""

    def __init__(self, width: int):
        from transformers import CLIPTextModel

        super().__init__(width)
        self.holds = nn.Linear(width, len(HELD))
        self.visual_projection = nn.Linear(width, JOINT, bias=False)
        self.text_projection = nn.Linear(build_text_config().hidden_size, JOINT, bias=False)
        self.text_model = CLIPTextModel(build_text_config())
        self.logit_scale = nn.Parameter(torch.tensor(2.3))

    def class_loss(self, pooled: Tensor, batch: WideBatch) -> tuple[Tensor, list[float]]:
        """What the class token [B, d] is taught: the loss; how often it finds what is held, and the caption.

        Args:
            pooled: after the tower's last norm.
            batch: with captions [C, L], of which the first B are the pictures', and what is held [B, n].
        """
        pooled = pooled.float()
        wanted = batch.held.float()
        scores = self.holds(pooled)
        holds = F.binary_cross_entropy_with_logits(scores, wanted)
        ends = batch.captions.argmax(-1)
        hidden = self.text_model(batch.captions).last_hidden_state[torch.arange(len(ends)), ends]
        texts = F.normalize(self.text_projection(hidden), dim=-1)
        images = F.normalize(self.visual_projection(pooled), dim=-1)
        alike = self.logit_scale.exp().clamp(max=100) * images @ texts.T
        right = torch.arange(len(images))
        matched = F.cross_entropy(alike, right) + F.cross_entropy(alike[:, : len(images)].T, right)
        found = ((scores > 0) == batch.held)[batch.held].float().mean().item()
        return 5 * holds + 0.5 * matched, [found, (alike.argmax(-1) == right).float().mean().item()]


def tower_states(model, pixels: Tensor, whole: bool = False) -> tuple[Tensor, list[Tensor]]:
    """The image tokens [B, 576, d] as the decoder gets them, and the class token [B, d] after the last norm.

    The class token is given as it is where the image tokens are taken, and at the end: both normed.

    Args:
        model: the miniature.
        pixels: [B, 3, 192, 192].
        whole: run the tower's last layer, too, which only the class token needs.
    """
    tower = model.model.vision_tower
    tower = getattr(tower, "vision_model", tower)
    hidden = tower.pre_layrnorm(tower.embeddings(pixels.to(model.dtype)))
    layers = list(tower.encoder.layers)
    for layer in layers[: FEATURE_LAYER + 1]:
        hidden = _output(layer(hidden, attention_mask=None))
    tokens = model.model.multi_modal_projector(hidden[:, 1:])
    if not whole:
        return tokens, []
    early = tower.post_layernorm(hidden[:, 0])
    for layer in layers[FEATURE_LAYER + 1 :]:
        hidden = _output(layer(hidden, attention_mask=None))
    return tokens, [early, tower.post_layernorm(hidden[:, 0])]


def _output(found) -> Tensor:
    return found[0] if isinstance(found, tuple) else found


@dataclass(frozen=True)
class Kept:
    """The image tokens that a step leaves to the decoder, the same number of each picture.

    Attributes:
        ids: int [B, n], in order, of the 576.
        positions: int [B, n], that the decoder is told.
        next_position: of the text that follows.
    """

    ids: Tensor
    positions: Tensor
    next_position: int

    def holds(self) -> Tensor:
        """Bool [B, 12 * 12]: whether one of a cell's tokens is left."""
        found = torch.zeros(len(self.ids), SIDE_TOKENS**2, dtype=torch.bool).scatter_(1, self.ids, True)
        half = SIDE_TOKENS // 2
        return found.view(-1, half, 2, half, 2).any(4).any(2).flatten(1)


def kept_tokens(rng: Random, count: int, whole: float = 0.15) -> Kept:
    """Which image tokens the decoder sees: all, or random ones, at their own positions or renumbered.

    Args:
        rng: decides.
        count: of the pictures.
        whole: how often all are left.
    """
    total, first = SIDE_TOKENS**2, len(BEFORE)
    if rng.random() < whole:
        return all_tokens(count)
    n = rng.randint(total // 9, total // 2)
    order = torch.Generator().manual_seed(rng.getrandbits(32))
    ids = torch.stack([torch.randperm(total, generator=order)[:n].sort().values for _ in range(count)])
    if rng.random() < 0.5:
        return Kept(ids, first + torch.arange(n).expand(count, -1), first + n)
    return Kept(ids, first + ids, first + total)


def all_tokens(count: int) -> Kept:
    """All image tokens of `count` pictures, at their own positions."""
    total, first = SIDE_TOKENS**2, len(BEFORE)
    ids = torch.arange(total).expand(count, -1)
    return Kept(ids, first + ids, first + total)


def answer_logits(model, batch: WideBatch, guide: None = None) -> tuple[Tensor, Tensor]:
    """Logits [answers, vocabulary] at the places that have a target, and the targets [answers].

    What only image tokens that were left out show is no target.
    """
    kept = _kept(batch)
    asked = batch.packed
    told = kept.holds().gather(1, asked.evidence.clamp(min=0)) | (asked.evidence < 0)
    return _answered(model, batch, kept, tower_states(model, batch.pixels)[0], (asked.targets >= 0) & told)


def _kept(batch: WideBatch) -> Kept:
    count = len(batch.packed.tokens)
    return kept_tokens(Random(batch.seed), count) if batch.seed else all_tokens(count)


def _answered(model, batch: WideBatch, kept: Kept, image: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and targets at the places `wanted` [B, T], where the decoder sees some of the image tokens."""
    asked, dtype = batch.packed, model.dtype
    embed = model.model.language_model.embed_tokens
    image = image.gather(1, kept.ids[..., None].expand(-1, -1, image.shape[-1]))
    count, n = kept.ids.shape
    prefix = len(BEFORE) + n
    before = torch.tensor(BEFORE).expand(count, -1)
    seen = torch.ones(prefix, prefix, dtype=torch.bool).tril()
    mask = batch.question_mask(prefix)
    mask[:, 0, :prefix, :prefix] = seen
    bias = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
    positions = torch.cat(
        [
            torch.arange(len(BEFORE)).expand(count, -1),
            kept.positions,
            kept.next_position + asked.positions,
        ],
        1,
    )
    hidden = model.model.language_model(
        inputs_embeds=torch.cat([embed(before), image, embed(asked.tokens)], 1),
        attention_mask=bias,
        position_ids=positions,
        use_cache=False,
        prefix=prefix,
    ).last_hidden_state[:, prefix:]
    return model.lm_head(hidden[wanted]).float(), asked.targets[wanted]


@cache
def _teacher() -> Any:
    """The miniature of 144 tokens, whose image tokens the decoder already reads."""
    from transformers import LlavaForConditionalGeneration

    return LlavaForConditionalGeneration.from_pretrained(MINI_CHECKPOINT, dtype=torch.bfloat16).eval()


def see(model, heads: WideHeads, batch: WideBatch) -> tuple[Tensor, dict]:
    """The loss of the first stage, and what to log.

    Each of a cell's tokens is taught what the cell shows: its labels, and the smaller miniature's token. So
    that three of four can be left out, and nothing is lost.
    """
    tokens, pooled = tower_states(model, batch.pixels, whole=True)
    with torch.no_grad():
        found = _teacher().get_image_features(batch.teacher.bfloat16()).pooler_output
        found = (found if torch.is_tensor(found) else torch.stack(list(found))).float()
        wanted = found.unflatten(1, (GRID, GRID)).repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
        wanted = wanted.flatten(1, 2)
    teacher = 3 * ((tokens.float() - wanted) ** 2).mean() / (wanted - wanted.mean((0, 1))).pow(2).mean()
    labels, accuracy = heads.loss(model, tokens, batch.labels)
    classes, found_share = heads.class_loss(pooled[-1], batch)
    return LABEL_WEIGHT * labels + teacher + classes, {
        "patches": [round(a, 3) for a in accuracy],
        "teacher": round(teacher.item(), 4),
        "class": [round(a, 3) for a in found_share],
    }


def see_and_answer(model, heads: WideHeads, batch: WideBatch) -> tuple[Tensor, dict]:
    """The loss of the third stage, and what to log.

    The tower learns with the decoder while image tokens are left out, and every question counts: what a token
    shows has to be known to others near it. The class token is taught at both ends of the last layer, so that
    the attention by which strategies choose looks at what a picture holds.
    """
    tokens, pooled = tower_states(model, batch.pixels, whole=True)
    logits, targets = _answered(model, batch, _kept(batch), tokens, batch.packed.targets >= 0)
    answers = F.cross_entropy(logits, targets)
    labels, accuracy = heads.loss(model, tokens, batch.labels)
    lessons = [heads.class_loss(one, batch) for one in pooled]
    classes = torch.stack([loss for loss, _ in lessons]).mean()
    return answers + KEPT_UP * (labels + classes), {
        "answers": round(answers.item(), 4),
        "patches": [round(a, 3) for a in accuracy],
        "class": [[round(a, 3) for a in found] for _, found in lessons],
    }


def save_clip(model, heads: WideHeads, folder: Path) -> None:
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
