"""Finds the prefixes of a batch among those that are kept, and computes those that aren't."""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from pdrop_eval.engine.attention_recorder import recording
from pdrop_eval.engine.before_decoder.added import AddedFeatures
from pdrop_eval.engine.checks import mask_kind
from pdrop_eval.engine.prefix.cache import Prefix, PrefixCache
from pdrop_eval.engine.prefix.computing import computed, groups
from pdrop_eval.engine.prefix.fits import shared_layers, states_needed, unshared
from pdrop_eval.engine.prefix.suffix import Row, Suffix
from pdrop_eval.engine.stages.stage import Stage
from pdrop_eval.models.family import Family
from pdrop_eval.models.kv_cache import cache_in
from pdrop_eval.utils.errors import UserError

_OUTPUTS = ("output_hidden_states", "output_attentions")  # of all columns in all layers


@dataclass(frozen=True)
class Sharing:
    """How the forwards of one context share prefixes.

    Attributes:
        cache: what is kept.
        decoder: the text model.
        keys: for each prompt, what its prefix follows from, ids and positions aside; None: it is looked at.
        chosen_by: what says how images were reduced before the decoder, which `keys` don't.
        layers: those before the first drop.
        states: the layers whose entering states are kept, too; `len(modules)` for the decoder's output.
        modules: all layers of the decoder.
        final_norm: the decoder's last norm.
        attention: the attention implementation.
        token_bytes: memory that one token of a prefix takes.
    """

    cache: PrefixCache
    decoder: nn.Module
    keys: Sequence[str] | None
    chosen_by: str
    layers: int
    states: tuple[int, ...]
    modules: Sequence[nn.Module]
    final_norm: nn.Module
    attention: str
    token_bytes: int

    def is_possible(self, inputs: Mapping[str, Any], config: Any) -> bool:
        """Tell whether a forward that starts a sequence, with these inputs, may use what is kept.

        Not where gradients are to flow, in training mode, whose dropout makes each forward another, or where
        it is to give what every layer makes of every token.
        """
        mask = inputs.get("attention_mask")
        return not (
            torch.is_grad_enabled()
            or self.decoder.training
            or self.decoder in recording
            or inputs.get("labels") is not None
            or inputs.get("use_cache") is False
            or (mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2))
            or any(inputs.get(name) or getattr(config, name, False) for name in _OUTPUTS)
        )

    def start(
        self, stage: Stage, hidden: Tensor, kwargs: dict[str, Any], added: AddedFeatures | None
    ) -> Suffix | None:
        """Return the prefill's part behind the prefixes; None where nothing is shared.

        Args:
            stage: the tokens before any drop.
            hidden: [b, n, d], entering layer 0.
            kwargs: of layer 0.
            added: what the first layers are followed by.
        """
        if not _holds(cache_in(kwargs)):
            return None
        found = self._rows(stage, hidden, added)
        if found is None:
            return None
        start, rows = found
        if sum({row.key: row.length for row in rows}.values()) * self.token_bytes > self.cache.limit_bytes:
            return None
        prefixes: dict[Hashable, Prefix] = {}
        unknown: dict[Hashable, tuple[int, Row]] = {}
        for number, row in enumerate(rows):
            if row.key in prefixes or row.key in unknown:
                continue
            kept = self.cache.get(row.key)
            self.cache.hits += kept is not None
            self.cache.misses += kept is None
            if kept is None:
                unknown[row.key] = number, row
            else:
                prefixes[row.key] = kept
        for group in groups(list(unknown.values()), hidden):
            for key, prefix in computed(self, group, hidden, kwargs, added).items():
                prefixes[key] = prefix
                self.cache.keep(key, prefix)
        valid = stage.valid if stage.padded else None
        return Suffix(start, self.layers, rows, prefixes, valid, mask_kind(self.attention))

    def _rows(
        self, stage: Stage, hidden: Tensor, added: AddedFeatures | None
    ) -> tuple[int, list[Row]] | None:
        """Return the column up to which every row's prefix reaches, and the rows; None where one has none."""
        b, n = stage.image.shape
        numbers = torch.arange(n, device=stage.image.device)
        first = torch.where(stage.valid, numbers, n).amin(1)
        last = torch.where(stage.image, numbers, -1).amax(1)
        positions = stage.positions.reshape(-1, stage.positions.shape[-2], n).expand(-1, b, n).transpose(0, 1)
        # One more read-back, with reuse only.
        known = torch.cat((first[:, None], last[:, None], positions.flatten(1)), 1).cpu()
        firsts, ends = known[:, 0].tolist(), [int(column) + 1 for column in known[:, 1]]
        start = min(*ends, n - 1)
        if start <= 0 or any(at + count != n for at, count in zip(firsts, stage.lengths, strict=True)):
            return None
        places = known[:, 2:].view(b, -1, n)
        times = 1 if self.keys is None else max(1, b // max(1, len(self.keys)))
        rows = []
        for number, (at, end) in enumerate(zip(firsts, ends, strict=True)):
            digest = hashlib.sha256(places[number, :, at:end].contiguous().numpy().tobytes())
            if self.keys is None:
                digest.update(_content(hidden[number, at:end]))
                if added is not None:
                    digest.update(added.content(number))
            else:  # beam search and num_return_sequences repeat every row
                digest.update(json.dumps([self.chosen_by, self.keys[number // times]]).encode())
            key = digest.hexdigest(), end - at, self.layers, self.states, str(hidden.dtype)
            rows.append(Row(key, at, end - at))
        return start, rows


def token_bytes(config: Any, dtype: torch.dtype, layers: int, states: Sequence[int]) -> int:
    """Return the memory that one token of a prefix takes.

    Args:
        config: the text model's.
        dtype: of the model.
        layers: those before the first drop.
        states: the layers whose entering states are kept.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (2 * layers * heads * size + len(states) * config.hidden_size) * dtype.itemsize


def check_sharing(
    family: Family, config: Any, selector: Any, cache: PrefixCache | None, keys: Sequence[str] | None
) -> None:
    """Refuse what can't be shared, and keys of nothing.

    Args:
        family: the model's.
        config: the text model's.
        selector: a strategy.
        cache: what is kept, or None.
        keys: of the prompts, or None.

    Raises:
        UserError: with the reason.
    """
    if cache is None:
        if keys is not None:
            raise UserError("prefix_keys say which prefixes are the same: give prefixes=PrefixCache(), too.")
        return
    if reason := unshared(family, config, selector):
        raise UserError(f"Prefixes of prompts can't be shared here: {reason}. Leave prefixes out.")


def sharing_of(
    decoder: Any, config: Any, selector: Any, cache: PrefixCache, keys: Sequence[str] | None
) -> Sharing | None:
    """Return how a context shares prefixes; None while somebody looks at all rows of every layer.

    Args:
        decoder: the text model.
        config: its config.
        selector: a strategy.
        cache: what is kept.
        keys: of the prompts, or None.
    """
    if decoder in recording:
        return None
    depth = config.num_hidden_layers
    layers, states = shared_layers(selector, depth), states_needed(selector, depth)
    return Sharing(
        cache=cache.of_model(decoder), decoder=decoder, keys=keys,
        chosen_by=repr(getattr(selector, "reducer", None)), layers=layers, states=states,
        modules=decoder.layers, final_norm=decoder.norm, attention=config._attn_implementation,
        token_bytes=token_bytes(config, decoder.dtype, layers, states),
    )  # fmt: skip


def _holds(cache: Any) -> bool:
    """Tell whether a cache can be given what is known: an empty one that grows, on the layers' own device."""
    return (
        type(cache) is DynamicCache
        and not getattr(cache, "offloading", False)
        and not any(getattr(layer, "is_sliding", False) for layer in cache.layers)
        and not cache.get_seq_length()
    )


def _content(values: Tensor) -> bytes:
    """Return the bytes of a tensor, whatever its kind."""
    return values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
