"""What a run costs by its schedule, and whether a budget can be met: from config.json, without weights.

torch is imported only where config.json leaves sizes to transformers' own values.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pdrop_eval.efficiency.architecture import architecture_of, nominal_image_tokens
from pdrop_eval.efficiency.budget import solve
from pdrop_eval.efficiency.flops import kv_cache_bytes, theoretical_flops
from pdrop_eval.efficiency.schedules import has_schedule, schedule_of
from pdrop_eval.models import families
from pdrop_eval.run.config.checks import check_budget
from pdrop_eval.run.config.fits import config_view
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.strategies.make import without_torch


@dataclass(frozen=True)
class Cost:
    """A question's cost; None where counts depend on the question, or the strategy says nothing before torch.

    Attributes:
        tokens: Image tokens a layer, in the mean.
        tflops: By the paper's Eq. 4.
        kv_bytes: Of image tokens in the cache.
    """

    tokens: float | None = None
    tflops: float | None = None
    kv_bytes: int | None = None


def cost_of(plan: Plan) -> Cost:
    """Return what a question of a run costs.

    Raises:
        UserError: A budget that the strategy can't meet on this model, or settings that don't fit it.
    """
    strategy = without_torch(plan.config.strategy.build)
    if strategy is None:
        return Cost()
    config = _config(plan)
    with plan.config.strategy.named():
        if asked := check_budget(plan.config.budget):
            strategy = solve(strategy, config, **asked)
        if not has_schedule(strategy):
            return Cost()
        layers = config.get_text_config().num_hidden_layers
        tile_tokens = architecture_of(config).tile_tokens
        schedule = schedule_of(strategy, layers, nominal_image_tokens(config), tile_tokens)
    return Cost(
        sum(schedule) / layers,
        theoretical_flops(config, schedule).total / 1e12,
        kv_cache_bytes(config, schedule, plan.config.dtype),
    )


def _config(plan: Plan) -> Any:
    """The checkpoint's config; of one on disk, without transformers where it says all that is needed."""
    return _read(_Key(plan))


class _Key:
    """A plan whose model decides: the same checkpoint and the same grids have the same config."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._words = repr((plan.checkpoint.folder, plan.config.model.anyres))

    def __hash__(self) -> int:
        return hash(self._words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._words == other._words


@lru_cache(maxsize=64)
def _read(key: _Key) -> Any:
    checkpoint = key.plan.checkpoint
    family = families.multimodal(checkpoint.family)
    text = family.text_settings(checkpoint.config) or {}
    config = config_view({**checkpoint.config, "text_config": text})
    try:
        family.set_anyres(key.plan.config.model.anyres, config)
        nominal_image_tokens(config)
        theoretical_flops(config, (1,) * architecture_of(config).layers)
        return config
    except (AttributeError, TypeError, KeyError):
        from transformers import CONFIG_MAPPING

        whole = CONFIG_MAPPING[checkpoint.family].from_dict(dict(checkpoint.config))
        family.set_anyres(key.plan.config.model.anyres, whole)
        return whole
