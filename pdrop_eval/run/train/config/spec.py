"""A training's settings as one frozen, typed object, made once from what Hydra has composed. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pdrop_eval.run.config.compose import chosen_strategy, compose_config
from pdrop_eval.run.config.spec import ModelSpec, StrategySpec, strategy_spec
from pdrop_eval.run.config.typed import make_typed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.presets import presets
from pdrop_eval.utils.validation import check_truth


@dataclass(frozen=True)
class PhaseSpec:
    """One phase of a recipe; `conf/recipe/mini.yaml` says what each setting is."""

    files: tuple[str, ...]
    images: str | None
    template: str
    train: tuple[str, ...]
    steps: int | None
    epochs: float
    batch_size: int
    per_device_batch: int
    learning_rate: float
    projector_learning_rate: float | None
    vision_learning_rate: float | None
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    betas: tuple[float, ...]
    max_length: int

    def to_dict(self) -> dict[str, Any]:
        """Return all settings in the form of the configuration, lists as lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class RecipeSpec:
    """A recipe, as `conf/recipe` has it; `devices` is the number that a dry run estimates for."""

    name: str
    gradient_checkpointing: bool
    devices: int | None = None
    pretrain: PhaseSpec | None = None
    instruct: PhaseSpec | None = None


@dataclass(frozen=True)
class LoraSpec:
    """Low-rank adapters in the place of the decoder's weights; `rank` None: none."""

    rank: int | None
    alpha: float
    dropout: float
    target: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all settings in the form of the configuration."""
        return {**asdict(self), "target": list(self.target)}


@dataclass(frozen=True)
class DistributedSpec:
    """How processes share a model, as `conf/distributed` has it."""

    name: str
    deepspeed: str | None
    fsdp: bool
    fsdp_config: Mapping[str, Any]

    @property
    def sharded(self) -> bool:
        """Whether the processes share the model's weights or its optimizer's states out among them."""
        return bool(self.deepspeed or self.fsdp)


@dataclass(frozen=True)
class TrainSpec:
    """What `pdrop-eval-train` is asked to do; `conf/train.yaml` says what each setting is."""

    strategy: StrategySpec
    model: ModelSpec
    recipe: RecipeSpec
    distributed: DistributedSpec
    lora: LoraSpec
    phases: tuple[str, ...]
    output: str | None
    device: str
    dtype: str
    save_dtype: str
    attention: str
    seed: int
    threads: int | None
    workers: int
    check_images: bool
    on_error: str
    on_long: str | None
    dry_run: bool
    save_every: int
    keep: int
    log_every: int
    untested_packages: bool
    gradient_checkpointing: bool

    def phase(self, name: str) -> PhaseSpec:
        """Return the settings of a phase. Raises UserError where the recipe has none."""
        found: PhaseSpec | None = getattr(self.recipe, name)
        if found is None:
            raise UserError(f"The recipe {self.recipe.name} has no phase {name}: choose others with phases=.")
        return found


def compose_training(overrides: list[str]) -> TrainSpec:
    """Return the settings that `pdrop-eval-train` runs with these overrides. Raises UserError."""
    return make_spec(compose_config(overrides, "train"), chosen_strategy(overrides))


def make_spec(config: DictConfig, preset: str) -> TrainSpec:
    """Return a composed configuration as a spec.

    Args:
        config: What Hydra has composed.
        preset: The name of the strategy's file in `conf/strategy`.

    Raises:
        UserError: A setting that there isn't, that is missing, or that is of another kind.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for name in ("strategy", "distributed"):
        if not isinstance(plain[name], dict):
            raise UserError(
                f"{name}={plain[name]} would replace all of its settings: set one, {name}.<name>=."
            )
    del plain["combine"]  # it has become the strategy
    plain["strategy"] = strategy_spec(plain["strategy"], preset)
    spec = make_typed(TrainSpec, plain)
    usual = presets("distributed")["fsdp"]["fsdp_config"]
    for name, value in spec.distributed.fsdp_config.items():  # accelerate's own: some of many
        if isinstance(usual.get(name), bool):
            check_truth(f"distributed.fsdp_config.{name}", value)
    return spec
