"""A Llama decoder in plain float64, from which a rule takes image tokens: what golden cases are held against.

Written from the model's definition and the facts of the official codes, and from nothing of this package.
"""

from types import SimpleNamespace

import torch

TEXT, MADE = -1, -2  # ids of what is no image token of the prompt


def random_weights(config, seed):
    """A state dict of LlamaForCausalLM, float32, with attention that is far from even."""
    made = torch.Generator().manual_seed(seed)
    d, heads, groups = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    e, wide, words = config.get("head_dim") or d // heads, config["intermediate_size"], config["vocab_size"]
    shapes = {"model.embed_tokens": (words, d), "lm_head": (words, d), "model.norm": (d,)}
    for layer in range(config["num_hidden_layers"]):
        own = {"self_attn.q_proj": (heads * e, d), "self_attn.k_proj": (groups * e, d),
               "self_attn.v_proj": (groups * e, d), "self_attn.o_proj": (d, heads * e),
               "mlp.gate_proj": (wide, d), "mlp.up_proj": (wide, d), "mlp.down_proj": (d, wide),
               "input_layernorm": (d,), "post_attention_layernorm": (d,)}  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    found = {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=made)
        found[f"{name}.weight"] = 1 + 0.1 * drawn if len(shape) == 1 else drawn * 1.3 / shape[-1] ** 0.5
    return found


class Plain:
    """The decoder of a state dict and a config."""

    def __init__(self, weights, config):
        self.weights = {name: value.double() for name, value in weights.items()}
        self.config, self.layers = config, config["num_hidden_layers"]
        self.heads, self.groups = config["num_attention_heads"], config["num_key_value_heads"]
        self.e = config.get("head_dim") or config["hidden_size"] // self.heads

    def norm(self, x, name):
        size = (x.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"]).sqrt()
        return x / size * self.weights[f"model.{name}.weight"]

    def rotated(self, x, positions):
        """[h, n, e] with RoPE at positions [n]."""
        powers = torch.arange(0, self.e, 2).double() / self.e
        angle = positions.double()[:, None] / self.config["rope_theta"] ** powers
        cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
        return x * cos + torch.cat((-x[..., self.e // 2 :], x[..., : self.e // 2]), -1) * sin

    def projected(self, layer, x, name, heads, positions=None):
        normed = self.norm(x, f"layers.{layer}.input_layernorm")
        made = normed @ self.weights[f"model.layers.{layer}.self_attn.{name}_proj.weight"].T
        made = made.reshape(len(x), heads, self.e).transpose(0, 1)
        return made if positions is None else self.rotated(made, positions)

    def key(self, layer, x, positions=None):
        """Keys [heads of keys, n, e] of states [n, d]; positions None: without RoPE."""
        return self.projected(layer, x, "k", self.groups, positions)

    def query(self, layer, x, positions=None):
        return self.projected(layer, x, "q", self.heads, positions)

    def wide(self, keys):
        """One for each query head."""
        return keys.repeat_interleave(self.heads // self.groups, 0)

    def attention(self, layer, x, positions):
        """Causal weights [h, n, n] of states that enter the layer."""
        return causal(self.query(layer, x, positions), self.wide(self.key(layer, x, positions)))

    def step(self, layer, x, positions, cached=None):
        """States that leave a layer, its weights, and its keys and values with those of the cache."""
        own = self.key(layer, x, positions), self.projected(layer, x, "v", self.groups)
        if cached is not None:
            own = tuple(torch.cat(both, 1) for both in zip(cached, own, strict=True))
        weights = causal(self.query(layer, x, positions), self.wide(own[0]))
        seen = (weights @ self.wide(own[1])).transpose(0, 1).flatten(1)
        part = {name: value for name, value in self.weights.items() if f"layers.{layer}." in name}
        o, gate, up, down = (
            next(value for name, value in part.items() if f".{n}_proj" in name)
            for n in ("o", "gate", "up", "down")
        )
        x = x + seen @ o.T
        normed = self.norm(x, f"layers.{layer}.post_attention_layernorm")
        return x + (torch.nn.functional.silu(normed @ gate.T) * (normed @ up.T)) @ down.T, weights, own

    def logits(self, x):
        return self.norm(x, "norm") @ self.weights["lm_head.weight"].T


def causal(query, key):
    """Softmax [h, q, n] of the last q of n tokens over those before and at each."""
    logits = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    q, n = logits.shape[1:]
    hidden = torch.ones(q, n, dtype=torch.bool).triu(n - q + 1)
    return logits.masked_fill(hidden, -torch.inf).softmax(-1)


def prefill(model, embeds, ids, rule, before, positions):
    """Run the prompt [n, d]; `rule` drops before the layers `before`.

    ids: each token's number among the image tokens, or TEXT. rule(now) returns (scores or None, places of
    `now.image` that stay, tokens made or None). positions: keep or renumber.
    """
    x, ids, place = embeds.double(), torch.tensor(ids), torch.arange(len(embeds))
    after = torch.arange(len(ids)) > (ids >= 0).nonzero().max() if bool((ids >= 0).any()) else ids > 0
    found = SimpleNamespace(stages=[], lengths=[], last=[], caches=[], positions=[])
    memory, entered, weights = {"inputs": x}, None, None
    for layer in range(model.layers + 1):
        if layer in before:
            now = SimpleNamespace(
                model=model, layer=layer, x=x, entered=entered, weights=weights, place=place, ids=ids,
                image=[i for i, one in enumerate(ids.tolist()) if one != TEXT], memory=memory,
                after=after.nonzero()[:, 0].tolist(), stage=len(found.stages),
            )  # fmt: skip
            scores, kept, made = rule(now)
            stay = [now.image[one] for one in kept]
            rest = [i for i in range(len(ids)) if ids[i] == TEXT]
            split = now.image[0] if now.image else len(ids)
            front, back = [i for i in rest if i < split], [i for i in rest if i > split]
            order = [*front, *stay, *back] if made is not None else sorted([*rest, *stay])
            x, ids, place, after = (part[order] for part in (x, ids, place, after))
            if made is not None:
                at = len(front) + len(stay)
                x = torch.cat((x[:at], made, x[at:]))
                ids = torch.cat((ids[:at], torch.full((len(made),), MADE), ids[at:]))
                after = torch.cat((after[:at], torch.zeros(len(made), dtype=torch.bool), after[at:]))
            if positions == "renumber" or made is not None:
                place = torch.arange(len(x))
            found.stages.append(SimpleNamespace(scores=scores, kept=kept, ids=ids[ids != TEXT].tolist()))
        if layer < model.layers:
            found.lengths.append(len(x))
            found.last.append(x[-1])
            entered, (x, weights, cache) = x, model.step(layer, x, place)
            found.caches.append(cache)
            found.positions.append(len(embeds) if positions == "keep" else len(place))
    found.last.append(model.norm(x[-1], "norm"))
    found.logits = model.logits(x[-1])
    return found


def decode(model, found, steps):
    """(tokens, logits [steps, vocabulary]) greedily, with what each layer's cache holds."""
    tokens, logits = [], [found.logits]
    for number in range(steps):
        tokens.append(int(logits[-1].argmax()))
        if number == steps - 1:
            break
        x = model.weights["model.embed_tokens.weight"][tokens[-1]][None]
        for layer in range(model.layers):
            place = torch.tensor([found.positions[layer] + number])
            x, _, found.caches[layer] = model.step(layer, x, place, found.caches[layer])
        logits.append(model.logits(x[0]))
    return tokens, torch.stack(logits)
