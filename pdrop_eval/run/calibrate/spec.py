"""A calibration's settings as one frozen, typed object, made once from what Hydra has composed. No torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pdrop_eval.run.config.compose import check_sections, chosen_strategy, compose_config
from pdrop_eval.run.config.spec import (
    BudgetSpec,
    DataSpec,
    JudgeSpec,
    ModelSpec,
    RunSpec,
    StrategySpec,
    SuiteSpec,
    strategy_spec,
)
from pdrop_eval.run.config.typed import make_typed

_NO_JUDGE = JudgeSpec(model=None, base_url="", api_key_env=None, timeout=60, retries=0)


@dataclass(frozen=True)
class CalibrateSpec:
    """What `pdrop-eval-calibrate` is asked to find; `conf/calibrate.yaml` says what each setting is."""

    strategy: StrategySpec
    model: ModelSpec
    suite: SuiteSpec
    data: DataSpec
    limit: int
    split: str
    seed: int
    ratio: float
    search: bool
    candidates: int
    batch_size: int | str
    dtype: str
    device: str
    attention: str
    workers: int
    feature_cache: float
    log: str
    out: str
    again: bool
    untested_packages: bool
    eta: float | None = None
    budget: BudgetSpec | None = None
    tasks: tuple[str, ...] | None = None
    downsample: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain dicts and lists, in the form of the configuration."""
        return {**asdict(self), "strategy": {"_target_": self.strategy.target, **self.strategy.settings}}

    def run(self, results: str, root: str | None) -> RunSpec:
        """Return the settings that the model is opened with: those of an evaluation of the same questions.

        Args:
            results: the folder that is written to.
            root: of the questions' data.
        """
        shared = (
            "strategy", "model", "suite", "limit", "seed", "batch_size", "dtype", "device", "attention",
            "workers", "feature_cache", "log", "untested_packages", "budget", "tasks", "downsample",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in shared}
        return RunSpec(**given, data=DataSpec(root), judge=_NO_JUDGE, bootstrap=0, results=results)


def compose_calibration(overrides: Sequence[str] = ()) -> CalibrateSpec:
    """Return the settings that `pdrop-eval-calibrate` runs with these overrides. Raises UserError."""
    preset = chosen_strategy(overrides, "calibrate")
    return make_spec(compose_config(overrides, "calibrate"), preset)


def make_spec(config: DictConfig, preset: str) -> CalibrateSpec:
    """Return a composed configuration as a spec.

    Args:
        config: What Hydra has composed.
        preset: The name of the strategy's file in `conf/strategy`.

    Raises:
        UserError: A setting that there isn't, that is missing, or that is of another kind.
    """
    check_sections(config)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    strategy = strategy_spec(plain.pop("strategy"), preset)
    return make_typed(CalibrateSpec, {"strategy": strategy, **plain})
