"""A benchmark's settings as one frozen, typed object, made once from what Hydra has composed. No torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig

from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.config.spec import BudgetSpec, ModelSpec
from pdrop_eval.run.config.typed import typed_config


@dataclass(frozen=True)
class SizesSpec:
    """Sizes of a model with random weights; None: the model's own."""

    layers: int | None = None
    width: int | None = None
    intermediate: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    vocabulary: int | None = None
    tile: int | None = None
    patch: int | None = None
    vision_layers: int | None = None
    vision_width: int | None = None
    vision_intermediate: int | None = None
    vision_heads: int | None = None

    def given(self) -> dict[str, Any]:
        """Return those that are asked for."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class BenchSpec:
    """What `pdrop-eval-bench` is asked to measure; `conf/bench.yaml` says what each setting is."""

    model: ModelSpec
    weights: str
    architecture: str | None
    sizes: SizesSpec
    strategies: Any
    budget: BudgetSpec | None
    batch_sizes: Any
    image_tokens: int | None
    text_tokens: int
    new_tokens: int
    rounds: int
    warmup: int
    dtype: str
    device: str
    attention: str
    compile: bool
    threads: int | None
    seed: int
    results: str
    scores: str
    again: bool
    untested_packages: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain dicts and lists, in the form of the configuration."""
        return asdict(self)


def compose_bench(overrides: Sequence[str] = ()) -> BenchSpec:
    """Return the settings that `pdrop-eval-bench` runs with these overrides. Raises UserError."""
    return make_spec(compose_config(overrides, "bench"))


def make_spec(config: DictConfig) -> BenchSpec:
    """Return a composed configuration as a spec. Raises UserError for a setting of another kind."""
    return typed_config(BenchSpec, config)
