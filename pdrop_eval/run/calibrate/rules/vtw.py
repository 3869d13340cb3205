"""VTW's choice of K: the first layer from which the answer hardly changes without the image.

The rule of the official code (github.com/lzhxmu/VTW, commit a3d8cfc, lmms_eval/__main__.py). For each prompt
and each K in 5..L-1, D is the Kullback-Leibler divergence, with natural logarithms, of the next token's
distribution with all image tokens withdrawn at K from the one with all of them; K is the first whose mean D
over the prompts is at most eta. Where none qualifies, the official code crashes; here that is an error.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 5  # the shallowest K that is tried
ETA = 3e-3
# Those of the official code for other checkpoints than LLaVA-1.5-7B, by architecture and depth: LLaVA-1.5-13B
# and LLaVA-NeXT-7B.
OTHER_ETAS = {("llava-1.5", 40): 5e-4, ("llava-next", 32): 1e-4}


def candidates(num_layers: int, first: int = FIRST) -> list[int]:
    """Return the K that are tried in a model of this depth.

    Args:
        num_layers: the depth.
        first: the shallowest K.

    Raises:
        UserError: a model that is too shallow for any.
    """
    if num_layers <= first:
        raise UserError(
            f"VTW's rule tries K from {first} to the depth less 1, and this model has {num_layers} layers. "
            "Give K itself, strategy=vtw strategy.k=<layers that see the image>."
        )
    return list(range(first, num_layers))


def usual_eta(config: Any) -> float:
    """Return the official threshold: 0.003 for LLaVA-1.5-7B and whatever isn't named, the others' for theirs.

    Args:
        config: the transformers config. LLaVA-1.5-13B is known by its 40 layers, LLaVA-NeXT-7B by its family
            and 32 layers.
    """
    from pdrop_eval.models import families

    family = families.of_config(config)
    architecture = "" if family is None else family.architecture
    return OTHER_ETAS.get((architecture, config.get_text_config().num_hidden_layers), ETA)


def divergence(withdrawn: "Tensor", full: "Tensor") -> "Tensor":
    """Return D = sum p_w (log p_w - log p) of each row.

    Args:
        withdrawn: [b, v] logits of the last prompt position without image tokens from K on.
        full: [b, v] logits with all of them.

    Returns:
        [b] float64.
    """
    log_withdrawn, log_full = withdrawn.double().log_softmax(-1), full.double().log_softmax(-1)
    return (log_withdrawn.exp() * (log_withdrawn - log_full)).sum(-1).clamp(min=0)


def choose_k(means: Sequence[float], tried: Sequence[int], eta: float) -> int:
    """Return the first K whose mean divergence is at most `eta`.

    Args:
        means: for each K of `tried`, the mean D over the prompts.
        tried: the K, rising.
        eta: the threshold.

    Raises:
        UserError: no K qualifies.
    """
    for mean, k in zip(means, tried, strict=True):
        if mean <= eta:
            return k
    smallest, at = min(zip(means, tried, strict=True))
    raise UserError(
        f"No K from {tried[0]} to {tried[-1]} changes the answers little enough: the smallest mean "
        f"divergence is {smallest:.4g}, at K={at}, and eta={eta:g} is asked for. This model reads the image "
        f"in its last layers. Give a larger threshold, eta={above(smallest)}, or K itself, "
        f"strategy=vtw strategy.k={at}."
    )


def above(value: float) -> str:
    """Return the next number of two digits above a value, as it is written: 0.0123 gives 0.013."""
    from decimal import ROUND_CEILING, Context, Decimal

    return f"{Context(prec=2, rounding=ROUND_CEILING).create_decimal(Decimal(value)).normalize():f}"
