"""A run's settings as one frozen, typed object, made once from what Hydra has composed.

What is a text, a truth value, a group or a list is settled here; the values themselves (ranges, choices) are
checked by `checks.check_settings`, so that the doctor can say all that is wrong at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from pdrop_eval.records.overrides import changes_from_default
from pdrop_eval.records.run_identity import registered_name
from pdrop_eval.run.config.compose import (
    check_sections,
    chosen_strategy,
    compose_config,
)
from pdrop_eval.strategies.make import instantiate_strategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice

_OF_THE_COMMAND = ("runs", "size", "figure")  # which runs there are, not what one is


@dataclass(frozen=True)
class StrategySpec:
    """A strategy as it was asked for.

    Attributes:
        name: The name that its class gives itself: what a record and its folder are called.
        preset: Its file in `conf/strategy`; several may have the same class.
        target: The class, `pdrop_eval.strategies.fastv.FastV`.
        settings: The class's fields, before a budget decides some of them.
    """

    name: str
    preset: str
    target: str
    settings: Mapping[str, Any]

    def build(self) -> Any:
        """Return the strategy; this imports torch. Raises UserError for settings that it refuses."""
        return instantiate_strategy({"_target_": self.target, **self.settings})


@dataclass(frozen=True)
class ModelSpec:
    """A model, as `conf/model` has it; `conf/model/mini.yaml` says what each setting is."""

    name: str
    pretrained: str
    architecture: str
    patches: int
    size: str
    train: str
    max_new_tokens: int
    revision: str | None = None
    train_ratio: float | None = None
    anyres: Any = None
    image_processing: str = "checkpoint"
    chat_template: str = "checkpoint"
    context: int | None = None
    trust_remote_code: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class SuiteSpec:
    """A suite, as `conf/suite` has it: its tasks, and where their data come from (rendered, hub)."""

    name: str
    source: str
    tasks: tuple[str, ...]
    textvqa_ocr: bool = False


@dataclass(frozen=True)
class DataSpec:
    """The user's folder of data; None: rendered, or from the Hub."""

    root: str | None = None


@dataclass(frozen=True)
class BudgetSpec:
    """What may be spent, at most one of these; see `conf/evaluate.yaml`."""

    tokens: float | None = None
    share: float | None = None
    tflops: float | None = None


@dataclass(frozen=True)
class JudgeSpec:
    """The language model that scores MM-Vet; `model` None: no judge."""

    model: str | None
    base_url: str
    api_key_env: str | None
    timeout: float
    retries: int


@dataclass(frozen=True)
class RunSpec:
    """What `pdrop-eval` is asked to run; `conf/evaluate.yaml` says what each setting is."""

    strategy: StrategySpec
    model: ModelSpec
    suite: SuiteSpec
    data: DataSpec
    judge: JudgeSpec
    batch_size: int | str
    dtype: str
    device: str
    attention: str
    seed: int
    bootstrap: int
    workers: int
    feature_cache: float
    log: str
    results: str
    untested_packages: bool
    budget: BudgetSpec | None = None
    tasks: tuple[str, ...] | None = None
    limit: int | None = None
    downsample: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain dicts and lists, in the form of the configuration."""
        return {**asdict(self), "strategy": {"_target_": self.strategy.target, **self.strategy.settings}}

    @property
    def changes(self) -> list[str]:
        """The settings that can change a score and aren't the default, as overrides: `strategy.ratio=0.6`."""
        return changes_from_default(self.to_dict())


def compose_spec(overrides: Sequence[str] = ()) -> RunSpec:
    """Return the settings that `pdrop-eval` runs with these overrides. Raises UserError for a wrong one."""
    return make_spec(compose_config(overrides), chosen_strategy(overrides))


def make_spec(config: DictConfig, preset: str) -> RunSpec:
    """Return a composed configuration as a spec.

    Args:
        config: What Hydra has composed.
        preset: The name of the strategy's file in `conf/strategy`.

    Raises:
        UserError: A setting that there isn't, that is missing, or that is of another kind.
    """
    check_sections(config)
    if config.size is not None and config.runs is None:
        raise UserError(f"size={config.size} picks runs of an experiment. Name one: experiment=table5.")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    settings = plain.pop("strategy")
    target = str(settings.pop("_target_", None))
    strategy = StrategySpec(registered_name(target) or preset, preset, target, settings)
    given = {key: value for key, value in plain.items() if key not in _OF_THE_COMMAND}
    return _make(RunSpec, {"strategy": strategy, **given}, "")


def _make(kind: Any, given: Mapping[str, Any], group: str) -> Any:
    """A dataclass from a group's settings."""
    hints, known = get_type_hints(kind), {field.name: field for field in fields(kind)}
    for name in given:
        check_choice(f"setting of {group}" if group else "setting", name, known)
    for name, field in known.items():
        if name not in given and field.default is MISSING:
            raise UserError(f"{_path(group, name)} is missing. Give it a value, as the files of conf/ do.")
    return kind(**{name: _typed(hints[name], value, _path(group, name)) for name, value in given.items()})


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A value of the kind that a field has. Numbers are checked with their range, by `check_settings`."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if (value is None and type(None) in kinds) or hint is Any:
        return value
    group = next(filter(is_dataclass, kinds), None)
    if group and isinstance(value, Mapping):
        return _make(group, value, name)
    if bool in kinds and not isinstance(value, bool):
        raise UserError(f"{name}={value} is not allowed: use true or false.")
    if any(get_origin(kind) is tuple for kind in kinds):
        return (value,) if isinstance(value, str) else tuple(map(str, value))
    if str in kinds and int not in kinds:
        if value is None or isinstance(value, (dict, list)):
            raise UserError(f"{name}={'null' if value is None else value} is not allowed: it must be a text.")
        return str(value)
    return value


def _path(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name
