"""A second implementation that removes nothing: it hides dropped keys from the layers after the drop.

It shares no code with the package: full attention matrices, its own rotary embeddings, its own counting. Rows
are unpadded. The choice is made once, on the prompt; more tokens may follow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class OracleDrop:
    layer: int  # keys are hidden from this layer index on
    rank_layer: int | None  # whose attention ranks; None where `choose` does it all
    count: int = 0
    kind: str = "softmax"
    choose: Callable | None = None  # takes what is `Seen`, and returns the columns to keep


@dataclass
class Seen:
    """What a rule may look at when it chooses: states[i] [n, d] enter layer i, up to the drop's own."""

    decoder: object
    states: list
    alive: torch.Tensor
    image: torch.Tensor
    prompt: int
    renumber: object

    @property
    def candidates(self):
        return (self.alive & self.image).nonzero()[:, 0]


def run(model, embeds, image, drops, renumber, prompt, places=None, added=()):
    """Returns (logits [n, vocab], per drop the retained ids within the image tokens).

    embeds: [n, d]; image: [n] bool; prompt: length of the prompt, whose last token ranks; places: [3, n] of
    M-RoPE; added: for the first layers, [image tokens, d] that are added to their output (DeepStack).
    """
    if places is not None:
        assert not renumber
        renumber = Places(places, model.config.get_text_config().rope_parameters)
    decoder = model.get_decoder()
    n = embeds.shape[0]
    alive = torch.ones(n, dtype=torch.bool)
    hidden, chosen, pending, states = embeds, [], {}, []
    ids = image.cumsum(0) - 1
    for number in range(len(decoder.layers) + 1):
        states.append(hidden)
        for drop in drops:
            if drop.layer == number and drop.rank_layer == number:
                pending[drop.layer] = rank(decoder.layers[number], hidden, alive, renumber, prompt, drop.kind)
        for drop in drops:
            if drop.layer == number:
                seen = Seen(decoder, states, alive, image, prompt, renumber)
                if drop.choose is None:
                    best = pending[number][seen.candidates].topk(drop.count).indices
                    kept = seen.candidates[best].sort().values
                else:
                    kept = drop.choose(seen).sort().values
                alive = alive & ~image
                alive[kept] = True
                chosen.append(ids[kept].tolist())
        if number == len(decoder.layers):
            break
        for drop in drops:
            if drop.rank_layer is not None and drop.rank_layer == number < drop.layer:
                pending[drop.layer] = rank(decoder.layers[number], hidden, alive, renumber, prompt, drop.kind)
        hidden = layer_forward(decoder.layers[number], hidden, alive, renumber)
        if number < len(added):
            hidden = hidden.clone()
            hidden[image] += added[number]
    return model.get_output_embeddings()(decoder.norm(hidden)), chosen


class Places:
    """Positions of three dimensions, [3, n]: which of them turns each frequency of a head."""

    def __init__(self, places, rope):
        self.places, sections = places, rope["mrope_section"]
        if rope.get("mrope_interleaved"):  # time, height, width, time, height, width, ...
            assert len(set(sections)) == 1
            self.dimension = [0, 1, 2] * sections[0]
        else:  # all of time, then of height, then of width
            self.dimension = [i for i, count in enumerate(sections) for _ in range(count)]


def positions(alive, renumber):
    """Where dropped tokens stand does not matter: nobody sees them. [n], or [n, half] of three dimensions."""
    if isinstance(renumber, Places):
        return renumber.places[renumber.dimension].T.float()
    return (alive.cumsum(0) - 1 if renumber else torch.arange(len(alive))).float()


def turn(x, place, base=10000.0):
    """Rotary embedding by complex numbers: x [h, n, e], place [n] or [n, e/2]."""
    half = x.shape[-1] // 2
    angles = place.view(len(place), -1) * base ** (-torch.arange(half).float() / half)
    spun = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((spun.real, spun.imag), -1)


def logits_of(layer, hidden, alive, renumber):
    """[h, n, n] scaled q·k of all tokens, without a mask."""
    attention = layer.self_attn
    normed, size, place = layer.input_layernorm(hidden), attention.head_dim, positions(alive, renumber)
    q, k = (part(normed).view(len(hidden), -1, size) for part in (attention.q_proj, attention.k_proj))
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k = turn(q.transpose(0, 1), place), turn(k.transpose(0, 1), place)
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
