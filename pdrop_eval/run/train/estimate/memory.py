"""A training step's memory on one device, estimated from sizes. Needs no torch.

`ASSUMPTIONS` says what is counted and what is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from pdrop_eval.run.train.estimate.cost import Architecture

_LIVE = 1_000_000_000  # parameters that ZeRO-3 keeps gathered at most, DeepSpeed's default
ASSUMPTIONS = (
    "Memory is estimated: weights, gradients and Adam's states by their bytes (shared evenly where sharded), "
    "what layers save for the backward pass in SDPA or flash attention, one layer's gradients, and the "
    "logits with their loss in float32 at its peak. Left out: the CUDA context, communication buffers and "
    "fragmentation; leave a tenth of the device free for them."
)


@dataclass(frozen=True)
class Sharing:
    """How devices share a model.

    Attributes:
        kind: "none" (data parallelism), "deepspeed" or "fsdp".
        weights, gradients, optimizer: Whether these are sharded over the devices.
    """

    kind: str
    devices: int
    weights: bool = False
    gradients: bool = False
    optimizer: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. gathered: of shards that are together for a moment."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it at once."""
        return sum(getattr(self, field.name) for field in fields(self))


def states(sharing: Sharing, learning: int, frozen: int, dtype: str) -> tuple[float, float, float]:
    """Return bytes of weights, gradients and optimizer states for so many parameters.

    DeepSpeed computes with bfloat16 weights and keeps the float32 ones among the optimizer's states;
    elsewhere weights are in float32, and without sharding their bfloat16 copies for a step beside them.
    """
    half = dtype == "bfloat16"
    weight = 2 if half and sharing.kind == "deepspeed" else 6 if half and sharing.kind == "none" else 4
    gradient = 2 if half and sharing.kind == "deepspeed" else 4
    if sharing.kind == "none" and sharing.devices > 1:
        gradient += 4  # the buckets in which gradients are averaged
    moments = 12 if half and sharing.kind == "deepspeed" else 8
    shard = {
        name: sharing.devices if getattr(sharing, name) else 1
        for name in ("weights", "gradients", "optimizer")
    }
    return (
        weight * (learning + frozen) / shard["weights"],
        gradient * learning / shard["gradients"],
        moments * learning / shard["optimizer"],
    )


def gathered(sharing: Sharing, sizes: Architecture, parameters: int, dtype: str) -> float:
    """Return bytes of the weights that a device gathers from the others at a time."""
    if not sharing.weights or sharing.devices == 1:
        return 0
    each = 2 if dtype == "bfloat16" else 4
    if sharing.kind == "deepspeed":
        return each * min(parameters, _LIVE)
    # two layers, the head, and one layer's gradients
    return each * (3 * layer_parameters(sizes) + sizes.d * sizes.vocabulary)


def layer_parameters(sizes: Architecture) -> int:
    """Return the weights of a decoder layer, without its norms."""
    return 2 * sizes.d * sizes.q + 2 * sizes.d * sizes.kv + 3 * sizes.d * sizes.m


def decoder_activations(
    sizes: Architecture, tokens: Sequence[int], learns: bool, checkpointing: bool, dtype: str
) -> float:
    """Return bytes that the decoder layers save for the backward. tokens: of each layer, over all rows."""
    each = 2 if dtype == "bfloat16" else 4
    # Gate before and after its activation, up, queries, keys, values, the attention's output; in float32, the
    # inputs of both norms. Where weights learn, also the inputs of the linear layers and of the norms' scale.
    layer = each * (3 * sizes.m + 2 * sizes.q + 2 * sizes.kv) + 8 * sizes.d
    if learns:
        layer += each * (sizes.m + 4 * sizes.d)
    if checkpointing:
        return each * sizes.d * sum(tokens) + layer * max(tokens)
    return layer * sum(tokens)


def vision_activations(sizes: Architecture, tiles: int, checkpointing: bool, dtype: str) -> float:
    """Return bytes that the layers of a learning vision tower save for the backward pass."""
    each = 2 if dtype == "bfloat16" else 4
    tokens = tiles * sizes.vision_tokens
    layer = each * (3 * sizes.vision_m + 8 * sizes.vision_d) * tokens
    if checkpointing:
        return sizes.vision_used * each * sizes.vision_d * tokens + layer
    return sizes.vision_used * layer


def step_memory(
    sizes: Architecture,
    sharing: Sharing,
    learning: int,
    frozen: int,
    *,
    tokens: Sequence[int],
    tiles: int,
    train: Sequence[str],
    checkpointing: bool,
    dtype: str,
) -> Memory:
    """Estimate a step's memory on one device.

    Args:
        learning, frozen: How many parameters.
        tokens: Those of each decoder layer, over the rows of a device's batch.
        tiles: Those of this batch.
    """
    each = 2 if dtype == "bfloat16" else 4
    weights, gradients, optimizer = states(sharing, learning, frozen, dtype)
    # Adapters save what they start from, so a decoder that learns by them counts as one that learns.
    activations = decoder_activations(sizes, tokens, "decoder" in train, checkpointing, dtype)
    activations += each * max(tokens) * (3 * sizes.m + 4 * sizes.d)  # one layer's gradients
    activations += 2 * each * tiles * sizes.tile_tokens * sizes.d  # the projector's
    if "vision" in train:
        activations += vision_activations(sizes, tiles, checkpointing, dtype)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        gathered=gathered(sharing, sizes, learning + frozen, dtype),
        activations=activations,
        # At its peak, in backward: the logits; their log-probabilities, the gradient of these and that of the
        # logits, all in float32.
        logits=tokens[-1] * sizes.vocabulary * (each + 12),
    )
