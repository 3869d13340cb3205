"""What training adds to the miniature of 576 tokens: its class token's lessons, and image tokens left out."""

from functools import cache
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdrop_eval.benchmarks.rendered.canvas import GRID
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.mini.training.captions import HELD
from tools.mini.training.network import PatchLabels
from tools.mini.training.vocabulary import EOS
from tools.mini.training.wide_batches import WideBatch
from tools.mini.training.wide_model import CELL, FEATURE_LAYER, JOINT, SIDE_TOKENS, build_text_config
from tools.mini.training.wide_tokens import BEFORE, Kept, all_tokens, kept_tokens

CHARACTER = 2  # which of the planes of labels
LABEL_WEIGHT = 0.3  # of the patch labels beside the teacher
KEPT_UP = 0.1  # of the first stage's lessons in the third
EARLY = 5  # layers of the decoder after which the third stage asks for the answer, too
EARLY_WEIGHT = 0.3
AHEAD = 4  # tokens of the answer that are asked for there: the next one and those after it
BESIDE = (-1, 1)  # cells to the left and the right whose characters a token is taught
BESIDE_WEIGHT = 0.2
BY_CELL = 0.4  # of the third stage's steps that leave tokens out leave out whole cells


class WideHeads(PatchLabels):
    """Patch labels, and for the class token: what the picture holds, and which caption is the picture's.

    For the third stage also: what stands beside a token, and what an answer goes on with.
    """

    def __init__(self, width: int):
        from transformers import CLIPTextModel

        super().__init__(width)
        self.holds = nn.Linear(width, len(HELD))
        self.visual_projection = nn.Linear(width, JOINT, bias=False)
        self.text_projection = nn.Linear(build_text_config().hidden_size, JOINT, bias=False)
        self.text_model = CLIPTextModel(build_text_config())
        self.logit_scale = nn.Parameter(torch.tensor(2.3))
        self.beside = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in BESIDE)
        ahead = [nn.Linear(width, width, bias=False) for _ in range(AHEAD)]
        for one in ahead:
            nn.init.eye_(one.weight)
        self.ahead = nn.ModuleList(ahead)

    def beside_loss(self, model, tokens: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """What tokens [B, 576, d] know of the characters beside them: the loss, and how often they are right.

        Args:
            model: whose word embeddings name the characters.
            tokens: as the decoder gets them.
            labels: int [B, 4, 576].
        """
        grid = labels[:, CHARACTER].unflatten(1, (SIDE_TOKENS, SIDE_TOKENS))
        losses, right = [], []
        for step, beside in zip(BESIDE, self.beside, strict=True):
            wanted = torch.zeros_like(grid)
            if step > 0:
                wanted[..., : -step * CELL] = grid[..., step * CELL :]
            else:
                wanted[..., -step * CELL :] = grid[..., : step * CELL]
            wanted = wanted.flatten()
            scores = self(model, beside(tokens.float()))[CHARACTER].flatten(0, 1)
            losses.append(F.cross_entropy(scores, wanted))
            right.append((scores.argmax(-1) == wanted)[wanted > 0].float().mean())
        return torch.stack(losses).sum(), torch.stack(right).mean().item()

    def ahead_loss(self, model, hidden: Tensor, targets: Tensor) -> Tensor:
        """How well the first layers know the answer: the loss of the next tokens of it, `AHEAD` at once.

        In a large vocabulary the end of a question knows a whole word, which is one token there. Here it
        knows the first character unless it is asked for the others.

        Args:
            model: whose norm and output layer are used.
            hidden: [B, T, d], after `EARLY` layers.
            targets: int [B, T], below zero where there is none.
        """
        normed = model.model.language_model.norm(hidden)
        goes_on = targets >= 0
        losses = []
        for step, ahead in enumerate(self.ahead):
            wanted = targets[:, step:]
            if step:
                goes_on = goes_on[:, :-1] & (targets[:, step - 1 : -1] != EOS) & (wanted >= 0)
            known = ahead(normed[:, : wanted.shape[1]][goes_on].float())
            scores = model.lm_head(known.to(hidden.dtype)).float()
            # A sum: where no answer is that long, the mean of nothing is no number.
            total = F.cross_entropy(scores, wanted[goes_on], reduction="sum")
            losses.append(total / goes_on.sum().clamp(min=1))
        return torch.stack(losses).mean()

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


def answer_logits(model, batch: WideBatch, guide: None = None) -> tuple[Tensor, Tensor]:
    """Logits [answers, vocabulary] at the places that have a target, and the targets [answers].

    What only image tokens that were left out show is no target.
    """
    kept = _kept(batch)
    asked = batch.packed
    told = kept.holds().gather(1, asked.evidence.clamp(min=0)) | (asked.evidence < 0)
    wanted = (asked.targets >= 0) & told
    hidden = _decoded(model, batch, kept, tower_states(model, batch.pixels)[0])[-1]
    return model.lm_head(hidden[wanted]).float(), asked.targets[wanted]


def _kept(batch: WideBatch, by_cell: float = 0.0) -> Kept:
    count = len(batch.packed.tokens)
    return kept_tokens(Random(batch.seed), count, by_cell=by_cell) if batch.seed else all_tokens(count)


def _decoded(model, batch: WideBatch, kept: Kept, image: Tensor) -> list[Tensor]:
    """The questions' hidden states [B, T, d] after `EARLY` layers and at the end, of some image tokens."""
    asked, dtype = batch.packed, model.dtype
    embed = model.model.language_model.embed_tokens
    image = image.gather(1, kept.ids[..., None].expand(-1, -1, image.shape[-1]))
    count, n = kept.ids.shape
    prefix = len(BEFORE) + n
    before = torch.tensor(BEFORE).expand(count, -1)
    mask = batch.question_mask(prefix)
    bias = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
    positions = torch.cat(
        [
            torch.arange(len(BEFORE)).expand(count, -1),
            kept.positions,
            kept.next_position + asked.positions,
        ],
        1,
    )
    known = model.model.language_model(
        inputs_embeds=torch.cat([embed(before), image, embed(asked.tokens)], 1),
        attention_mask=bias,
        position_ids=positions,
        use_cache=False,
        prefix=prefix,
        output_hidden_states=True,
    )
    return [known.hidden_states[EARLY][:, prefix:], known.last_hidden_state[:, prefix:]]


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

    The tower learns with the decoder while image tokens or whole cells are left out, and every question
    counts: what a token shows has to be known to others near it, which are also taught the characters beside
    them. The first layers of the decoder are asked for the answer, too. The class token is taught at both
    ends of the last layer, so that the attention by which strategies choose looks at what a picture holds.
    """
    tokens, pooled = tower_states(model, batch.pixels, whole=True)
    early, late = _decoded(model, batch, _kept(batch, BY_CELL), tokens)
    targets = batch.packed.targets
    asked = targets >= 0
    answers = F.cross_entropy(model.lm_head(late[asked]).float(), targets[asked])
    ahead = heads.ahead_loss(model, early, targets)
    labels, accuracy = heads.loss(model, tokens, batch.labels)
    beside, beside_right = heads.beside_loss(model, tokens, batch.labels)
    lessons = [heads.class_loss(one, batch) for one in pooled]
    classes = torch.stack([loss for loss, _ in lessons]).mean()
    loss = answers + EARLY_WEIGHT * ahead + KEPT_UP * (labels + classes) + BESIDE_WEIGHT * beside
    return loss, {
        "answers": round(answers.item(), 4),
        "ahead": round(ahead.item(), 4),
        "patches": [round(a, 3) for a in accuracy],
        "beside": round(beside_right, 3),
        "class": [[round(a, 3) for a in found] for _, found in lessons],
    }
