"""What a plan comes to: the model's sizes, samples, strategies and FLOPs; no weights are there yet."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pdrop_eval.efficiency.architecture import architecture_of, decoder_of
from pdrop_eval.efficiency.flops import theoretical_flops
from pdrop_eval.efficiency.model_flops import model_flops
from pdrop_eval.efficiency.schedules import schedule_of
from pdrop_eval.models import families
from pdrop_eval.models.loading.adapter import recorded
from pdrop_eval.models.loading.gpu import recorded_backends
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.sample import Sample, fitted, sample_of
from pdrop_eval.run.bench.settings import Plan
from pdrop_eval.utils.code import provenance


@dataclass(frozen=True)
class Work:
    """What is measured: strategies by label (None is plain transformers), on samples of one kind."""

    plan: Plan
    config: Any
    sample: Sample
    strategies: Mapping[str, Any]
    weights: int

    @property
    def device(self) -> str:
        """Of the model and its inputs."""
        return self.plan.config.device


def prepare(plan: Plan) -> Work:
    """All that can be known without the model's weights. Raises UserError."""
    config = models.model_config(plan)
    settings = plan.config
    sample = sample_of(config, settings.image_tokens, settings.text_tokens)
    layers = config.get_text_config().num_hidden_layers
    strategies: dict[str, Any] = {}
    for variant in plan.variants:
        if variant.strategy is None:
            strategies[variant.label] = None
            continue
        strategy = fitted(variant, plan.budget, config, sample.image_tokens)
        schedule_of(strategy, layers, sample.image_tokens, architecture_of(config).tile_tokens)
        strategies[variant.label] = strategy
    weights = models.check_memory(config, plan.dtype, settings.device)
    return Work(plan, config, sample, strategies, weights)


def header(work: Work, busy: dict[str, Any]) -> dict[str, Any]:
    """What the record says before anything is measured."""
    plan, config = work.plan, work.config
    text, vision = config.get_text_config(), config.vision_config
    return {
        "model": {
            "name": plan.config.model.name,
            "weights": plan.config.weights,
            "adapter": recorded(plan.adapter),
            "type": families.type_of(config),
            "layers": text.num_hidden_layers,
            "width": text.hidden_size,
            "intermediate": text.intermediate_size,
            "vision_layers": vision.num_hidden_layers,
            "vision_width": vision.hidden_size,
            "weight_bytes": work.weights,
        },
        "sample": asdict(work.sample),
        "settings": {
            "device": plan.config.device,
            "dtype": plan.dtype,
            "attention": plan.config.attention,
            "compile": plan.config.compile,
            "threads": torch.get_num_threads(),
            "warmup": plan.config.warmup,
            "rounds": plan.config.rounds,
            "new_tokens": plan.config.new_tokens,
            **recorded_backends(plan.config.device),
        },
        "config": plan.config.to_dict(),
        "budget": dict(plan.budget),
        "strategies": [_strategy(work, label) for label in work.strategies],
        "load": busy,
        "code": provenance.code_identity(),
        "packages": provenance.package_versions(),
        "hardware": provenance.hardware(),
    }


def _strategy(work: Work, label: str) -> dict[str, Any]:
    """A strategy's settings, schedule and FLOPs."""
    strategy, sample = work.strategies[label], work.sample
    if strategy is None:
        return {"label": label, "strategy": None}
    sizes = architecture_of(work.config)
    schedule = schedule_of(strategy, sizes.layers, sample.image_tokens, sizes.tile_tokens)
    whole = model_flops(
        work.config,
        strategy,
        sample.image_tokens,
        sample.text_tokens,
        new_tokens=work.plan.config.new_tokens,
        tiles=sample.tiles,
    )
    decoder = decoder_of(work.config)
    lengths = [n + sample.text_tokens for n in schedule]
    reached = getattr(strategy, "reached", None)
    return {
        "label": label,
        "strategy": strategy.name,
        "fields": strategy.settings(),
        "schedule": list(schedule),
        "tflops": theoretical_flops(work.config, schedule).total / 1e12,
        "flops": {
            **asdict(whole),
            # Of each token with those before it only: what a causal kernel computes, 4nd^2 + n^2d + 3ndm.
            "decoder_causal": sum(decoder.linear(n) + decoder.attention(n, n) // 2 for n in lengths),
            "prefill": whole.prefill,
            "ttft": whole.ttft,
            "total": whole.total,
        },
        "reached": None if reached is None else asdict(reached),
    }
