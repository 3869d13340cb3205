"""A second implementation that removes nothing: it hides dropped keys from the layers after the drop.

It shares no code with the package: full attention matrices, its own rotary embeddings, its own counting. Rows
are unpadded. The choice is made once, on the prompt; more tokens may follow.
"""

import math
from dataclasses import dataclass

import torch


@dataclass
class OracleDrop:
    layer: int  # keys are hidden from this layer index on
    rank_layer: int  # whose attention ranks
    count: int
    kind: str = "softmax"


def run(model, embeds, image, drops, renumber, prompt):
    """Returns (logits [n, vocab], per drop the retained ids within the image tokens).

    embeds: [n, d]; image: [n] bool; prompt: length of the prompt, whose last token ranks.
    """
    decoder = model.get_decoder()
    n = embeds.shape[0]
    alive = torch.ones(n, dtype=torch.bool)
    hidden, chosen, pending = embeds, [], {}
    ids = image.cumsum(0) - 1
    for number in range(len(decoder.layers) + 1):
        for drop in drops:
            if drop.layer == number and drop.rank_layer == number:
                pending[drop.layer] = rank(decoder.layers[number], hidden, alive, renumber, prompt, drop.kind)
        for drop in drops:
            if drop.layer == number:
                candidates = (alive & image).nonzero()[:, 0]
                best = pending[number][candidates].topk(drop.count).indices
                kept = candidates[best].sort().values
                alive = alive & ~image
                alive[kept] = True
                chosen.append(ids[kept].tolist())
        if number == len(decoder.layers):
            break
        for drop in drops:
            if drop.rank_layer == number < drop.layer:
                pending[drop.layer] = rank(decoder.layers[number], hidden, alive, renumber, prompt, drop.kind)
        hidden = layer_forward(decoder.layers[number], hidden, alive, renumber)
    return model.get_output_embeddings()(decoder.norm(hidden)), chosen


def positions(alive, renumber):
    """Where dropped tokens stand does not matter: nobody sees them."""
    return (alive.cumsum(0) - 1 if renumber else torch.arange(len(alive))).float()


def turn(x, place, base=10000.0):
    """Rotary embedding by complex numbers: x [h, n, e], place [n]."""
    half = x.shape[-1] // 2
    angles = place[:, None] * base ** (-torch.arange(half).float() / half)
    spun = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((spun.real, spun.imag), -1)


def logits_of(layer, hidden, alive, renumber):
    """[h, n, n] scaled q·k of all tokens, without a mask."""
    attention = layer.self_attn
    normed, size, place = layer.input_layernorm(hidden), attention.head_dim, positions(alive, renumber)
    q = turn(attention.q_proj(normed).view(len(hidden), -1, size).transpose(0, 1), place)
    k = turn(attention.k_proj(normed).view(len(hidden), -1, size).transpose(0, 1), place)
    return q @ k.repeat_interleave(len(q) // len(k), 0).transpose(1, 2) / math.sqrt(size)


def rank(layer, hidden, alive, renumber, prompt, kind):
    """[n] scores of the columns by the prompt's last row."""
    row = logits_of(layer, hidden, alive, renumber)[:, prompt - 1, :]
    if kind == "softmax":
        hidden_ones = ~alive | (torch.arange(len(alive)) >= prompt)
        row = row.masked_fill(hidden_ones, -torch.inf).softmax(-1)
    return row.mean(0)


def layer_forward(layer, hidden, alive, renumber):
    attention = layer.self_attn
    scores = logits_of(layer, hidden, alive, renumber)
    n = len(hidden)
    seen = torch.ones(n, n, dtype=torch.bool).tril() & (alive[None] | torch.eye(n, dtype=torch.bool))
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    v = attention.v_proj(layer.input_layernorm(hidden)).view(n, -1, attention.head_dim).transpose(0, 1)
    mixed = weights @ v.repeat_interleave(len(weights) // len(v), 0)
    hidden = hidden + attention.o_proj(mixed.transpose(0, 1).reshape(n, -1))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))
