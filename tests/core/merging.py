"""A strategy that makes tokens, and an oracle of it that puts them into plain lists; they share no code."""

import math
from dataclasses import dataclass

import torch
from oracle import turn

from pdrop_eval.engine.interface import Drop, Merged, Selection
from pdrop_eval.strategies.base import Strategy


@dataclass
class Merging(Strategy):
    """Retains the best `keep` image tokens, and makes two of the others: of those at even places, and at odd.

    `keep` is one count a drop; a row that loses fewer than two tokens makes one of them, or none.
    """

    layers: tuple = (2, 5)
    keep: tuple = (6, 3)
    positions: str = "renumber"
    name = "merging"

    def drops(self, num_layers):
        return tuple(Drop(layer, scoring_layer=layer - 1) for layer in self.layers)

    def retained(self, num_layers, image_tokens):
        counts, alive = [], image_tokens
        for keep in self.keep:
            left = min(keep, alive)
            alive = left + min(2, alive - left)
            counts.append(alive)
        return tuple(counts)

    def select(self, context):
        scores = self.rank(context).masked_fill(~context.image, -torch.inf)
        keep = torch.zeros_like(context.image)
        for row, alive in enumerate(context.alive):
            keep[row, scores[row].topk(min(self.keep[context.drop], alive)).indices] = True
        gone = context.image & ~keep

        def merge(hidden):
            tokens = hidden.new_zeros(len(hidden), 2, hidden.shape[2])
            for row in range(len(hidden)):
                lost = hidden[row, gone[row]]
                for i in range(min(2, len(lost))):
                    tokens[row, i] = lost[i::2].mean(0)
            return Merged(tokens, [min(2, n) for n in gone.sum(1).tolist()])

        return Selection(scores=scores, keep=keep, merge=merge)


def run(model, embeds, image, strategy, prompt):
    """Returns (logits [m, vocab], per drop the retained ids, made ones -1), of one row without padding.

    embeds: [n, d], the prompt and what is decoded behind it; image: [n] bool; prompt: its length.
    """
    decoder = model.get_decoder()
    # One entry a token: its state, its place, and its image id (-1 made, None text).
    ids = (image.cumsum(0) - 1).tolist()
    tokens = [(state, float(i), ids[i] if image[i] else None) for i, state in enumerate(embeds.unbind(0))]
    chosen, scores = [], None
    for number, layer in enumerate(decoder.layers):
        if number in strategy.layers:
            d = strategy.layers.index(number)
            tokens, prompt = step(tokens, scores, strategy.keep[d], prompt, strategy.positions)
            chosen.append([token[2] for token in tokens if token[2] is not None])
        states = torch.stack([token[0] for token in tokens])
        place = torch.tensor([token[1] for token in tokens])
        states, weights = layer_forward(layer, states, place)
        scores = weights[:, prompt - 1].mean(0)
        tokens = [(state, *token[1:]) for state, token in zip(states.unbind(0), tokens, strict=True)]
    states = torch.stack([token[0] for token in tokens])
    return model.get_output_embeddings()(decoder.norm(states)), chosen


def step(tokens, scores, count, prompt, positions):
    """Returns (the tokens after a drop, the prompt's length then)."""
    images = [i for i, token in enumerate(tokens) if token[2] is not None]
    if not images:
        return tokens, prompt
    best = sorted(images, key=lambda i: -scores[i])[:count]
    lost = [i for i in images if i not in best]
    anchor = max(best or images)
    made = [torch.stack([tokens[i][0] for i in lost[j::2]]).mean(0) for j in range(min(2, len(lost)))]
    after = []
    for i, token in enumerate(tokens):
        if i not in lost:
            after.append(token)
        if i == anchor:
            after += [(state, token[1], -1) for state in made]
    if positions == "renumber":
        after = [(state, float(i), known) for i, (state, _, known) in enumerate(after)]
    return after, prompt - len(lost) + len(made)


def layer_forward(layer, hidden, place):
    """Returns (the layer's output [n, d], its weights [h, n, n])."""
    attention = layer.self_attn
    normed, size, n = layer.input_layernorm(hidden), attention.head_dim, len(hidden)
    q = turn(attention.q_proj(normed).view(n, -1, size).transpose(0, 1), place)
    k = turn(attention.k_proj(normed).view(n, -1, size).transpose(0, 1), place)
    v = attention.v_proj(normed).view(n, -1, size).transpose(0, 1)
    k, v = (part.repeat_interleave(len(q) // len(part), 0) for part in (k, v))
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    weights = (q @ k.transpose(1, 2) / math.sqrt(size)).masked_fill(future, -torch.inf).softmax(-1)
    hidden = hidden + attention.o_proj((weights @ v).transpose(0, 1).reshape(n, -1))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden)), weights
