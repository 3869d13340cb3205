"""What training adds to the model: an attention for packed questions, guidance, and patch labels."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from pdrop_eval.benchmarks.rendered.canvas import CHARACTERS, COLORS, PLACES, PLANES, THINGS
from tools.mini.training.packing import PREFIX, Batch
from tools.mini.training.vocabulary import ID

EVIDENCE_LAYERS = (1, 2, 3, 4)
OPTION_LAYERS = (5, 6)
LLAVA_PREFIX = len(PREFIX)  # columns that all questions of a picture share


@dataclass
class Guide:
    """Where one head of some layers should look while training: losses gather here during a forward.

    The layers 1 to 4 are treated alike, so that no layer at which a strategy ranks is favoured.
    """

    evidence: torch.Tensor
    option: torch.Tensor
    losses: list[torch.Tensor] = field(default_factory=list)

    def look(self, layer: int, weights: torch.Tensor) -> None:
        """Add -log of what head 0 gives the right key; `weights` is [B, heads, T, P + T]."""
        for layers, wanted in ((EVIDENCE_LAYERS, self.evidence), (OPTION_LAYERS, self.option)):
            has = wanted >= 0
            if layer in layers and has.any():
                found = weights[:, 0].gather(2, wanted.clamp(min=0)[..., None])[..., 0].float()
                self.losses.append(-(found[has] + 1e-3).log().mean() / len(layers))


def packed_attention(
    module, query, key, value, attention_mask, scaling, dropout=0.0, guide=None, prefix=LLAVA_PREFIX, **_
):
    """Attention in the compute dtype, prefix and questions apart; [B, heads, N, d] to [B, N, heads, d].

    On a processor the fused kernel's backward takes half of a step at these sizes; plain products don't.
    """
    query = query * scaling
    if attention_mask is None:
        return ((query @ key.mT).softmax(-1) @ value).transpose(1, 2), None
    first = (query[:, :, :prefix] @ key[:, :, :prefix].mT + attention_mask[:1, :, :prefix, :prefix]).softmax(
        -1
    )
    questions = (query[:, :, prefix:] @ key.mT + attention_mask[:, :, prefix:]).softmax(-1)
    if guide is not None:
        guide.look(module.layer_idx, questions)
    output = torch.cat([first @ value[:, :, :prefix], questions @ value], 2)
    return output.transpose(1, 2), None


AttentionInterface.register("packed", packed_attention)
AttentionMaskInterface.register("packed", eager_mask)


def answer_logits(model, batch: Batch, guide: Guide | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [answers, vocabulary] at the places that have a target, and the targets [answers]."""
    dtype = model.dtype
    prefix = torch.tensor(PREFIX).expand(len(batch.tokens), -1)
    mask = torch.zeros(batch.mask.shape, dtype=dtype).masked_fill_(~batch.mask, torch.finfo(dtype).min)
    hidden = model.model(
        input_ids=torch.cat([prefix, batch.tokens], 1),
        pixel_values=batch.pixels.to(dtype),
        attention_mask=mask,
        position_ids=torch.cat([torch.arange(len(PREFIX)).expand(len(prefix), -1), batch.positions], 1),
        use_cache=False,
        guide=guide,
    ).last_hidden_state[:, len(PREFIX) :]
    asked = batch.targets >= 0
    return model.lm_head(hidden[asked]).float(), batch.targets[asked]


def image_features(model, batch: Batch) -> torch.Tensor:
    """The image tokens [B, 144, d] as the decoder gets them."""
    features = model.model.get_image_features(batch.pixels.to(model.dtype)).pooler_output
    return features if torch.is_tensor(features) else torch.stack(list(features))


class PatchLabels(nn.Module):
    """Predicts each patch's labels through the projector, against the language model's own word embeddings.

    So that image tokens land among the words that name what they show.
    """

    def __init__(self, width: int):
        super().__init__()
        self.none = nn.Parameter(torch.randn(4, width))
        self.places = nn.Parameter(torch.randn(PLACES, width))
        words = [ID[word] for word in (*COLORS, *THINGS, *CHARACTERS)]
        self.register_buffer("words", torch.tensor(words), persistent=False)

    def forward(self, model, features: torch.Tensor) -> list[torch.Tensor]:
        """Logits of the four label planes, each [B, tokens, 1 + classes]; class 0 is none.

        Args:
            model: whose word embeddings name the classes.
            features: [B, tokens, d], the image tokens as the decoder gets them.
        """
        embedding = model.model.language_model.embed_tokens.weight[self.words]
        classes = torch.cat([embedding, self.places.to(features.dtype)])
        width = features.shape[-1]
        features = F.rms_norm(features, (width,)) * 1.5 / width**0.5
        scores = (features @ F.rms_norm(classes, (width,)).T).split(PLANES, -1)
        none = features @ F.rms_norm(self.none.to(features.dtype), (width,)).T
        return [torch.cat([none[..., i : i + 1], plane], -1).float() for i, plane in enumerate(scores)]

    def loss(self, model, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
        """Cross entropy over the planes, and each plane's accuracy where there is something.

        Args:
            model: whose word embeddings name the classes.
            features: [B, tokens, d].
            labels: int [B, 4, tokens].
        """
        total, accuracy = torch.zeros(()), []
        for plane, scores, weight in zip(labels.unbind(1), self(model, features), (1, 2, 2, 1), strict=True):
            total = total + weight * F.cross_entropy(scores.flatten(0, 1), plane.flatten())
            some = plane > 0
            accuracy.append((scores.argmax(-1) == plane)[some].float().mean().item())
        return total, accuracy


def see(model, heads: PatchLabels, batch: Batch) -> tuple[torch.Tensor, dict]:
    """The loss of the first stage, and how often each plane of the patch labels is right."""
    loss, accuracy = heads.loss(model, image_features(model, batch), batch.labels)
    return loss, {"patches": [round(a, 3) for a in accuracy]}
