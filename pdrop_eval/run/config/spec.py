"""A run's settings as one frozen, typed object, made once from what Hydra has composed.

Their kinds are settled here; the values themselves (ranges, choices) are checked by `checks.check_settings`,
so that the doctor can say all that is wrong at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pdrop_eval.benchmarks.installed.index import include
from pdrop_eval.engine.interface import check_trains
from pdrop_eval.engine.stages.positions import settled_positions
from pdrop_eval.models.pictures.image_bounds import ImageBounds
from pdrop_eval.records.rows.overrides import changes_from_default
from pdrop_eval.records.run_identity import ENDPOINT, registered_name
from pdrop_eval.run.config.combine import without_combine
from pdrop_eval.run.config.compose import (
    check_sections,
    chosen_strategy,
    compose_config,
)
from pdrop_eval.run.config.endpoint import EndpointSpec, endpoint_spec, is_endpoint
from pdrop_eval.run.config.own_data import own_suite
from pdrop_eval.run.config.typed import make_typed
from pdrop_eval.strategies.combinations import JOIN, is_combined
from pdrop_eval.strategies.make import instantiate_strategy, joined, without_torch
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.errors import UserError, naming
from pdrop_eval.utils.validation import check_truth

_OF_THE_COMMAND = (
    "combine",
    "runs",
    "keep_going",
    "size",
    "figure",
    "table",
)  # which runs there are, not what one is


@dataclass(frozen=True)
class StrategySpec:
    """A strategy as it was asked for.

    Attributes:
        name: The name that its class gives itself: what a record and its folder are called.
        preset: Its file in `conf/strategy`; several may have the same class.
        target: The class, `pdrop_eval.strategies.fastv.FastV`.
        settings: The class's fields, before a budget decides some of them.
        given: The names of those that the command gives; the others are the file's.
    """

    name: str
    preset: str
    target: str
    settings: Mapping[str, Any]
    given: tuple[str, ...] = ()

    def build(self) -> Any:
        """Return the strategy. Raises UserError for settings that it refuses."""
        with self.named():
            return instantiate_strategy({"_target_": self.target, **self.settings}, self.given)

    def settled(self, can_renumber: bool, model: str) -> "StrategySpec":
        """Return the spec for a model's family, with the positions that its strategy really has.

        Args:
            can_renumber: Whether the family's position ids can be renumbered.
            model: For the message.

        Raises:
            UserError: "renumber" was asked for, and can't be.
        """
        values = self.settings.items()
        names = [key for key, value in values if f".{key}".endswith(".positions") and value == "renumber"]
        if can_renumber or not names:
            return self
        with self.named():
            found = settled_positions(self.build().positions, model, can_renumber)
        return replace(self, settings={**self.settings, **dict.fromkeys(names, found)})

    def check(self) -> None:
        """Refuse wrong settings without importing torch, where the strategy's file doesn't need it.

        Raises:
            UserError: Settings that the strategy refuses; else `build` raises it.
        """
        without_torch(self.build)

    def check_trains(self) -> None:
        """Refuse a strategy that no model can be trained with, without importing torch.

        Raises:
            UserError: also of settings that the strategy refuses, where its file doesn't need torch.
        """
        strategy = without_torch(self.build)
        known = installed().get(self.name)
        check_trains(self.name, getattr(known if strategy is None else strategy, "trains", True))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Within it, a strategy's complaints about `ratio=2` are about `strategy.ratio=2`, as it is given."""
        with naming(self.settings, "strategy."):
            yield


# What a server drops is nothing that a run chooses; records and folders call it so.
SERVERS_OWN = StrategySpec("server", "server", ENDPOINT, {})


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
    adapter: str | None = None
    adapter_revision: str | None = None
    merge_adapter: bool = True
    generation: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_patches: int | None = None
    devices: int | None = None

    @property
    def bounds(self) -> ImageBounds:
        """How large a picture may be."""
        return ImageBounds(self.min_pixels, self.max_pixels, self.max_patches)


@dataclass(frozen=True)
class OwnSpec:
    """How a user's own questions are asked and scored: the metric, and what decides the answers."""

    metric: str
    prompt_ending: str
    max_new_tokens: int


@dataclass(frozen=True)
class SuiteSpec:
    """A suite, as `conf/suite` has it: its tasks, and where their data come from (rendered, hub, own)."""

    name: str
    source: str
    tasks: tuple[str, ...]
    textvqa_ocr: bool = False
    own: OwnSpec | None = None


@dataclass(frozen=True)
class DataSpec:
    """The user's data.

    Attributes:
        root: A folder with the data of a suite; None: rendered, or from the Hub.
        folder: A folder with questions of the user's own, which are the suite. What follows is about these:
            `conf/evaluate.yaml` says what each setting is.
    """

    root: str | None = None
    folder: str | None = None
    metric: str | None = None
    name: str | None = None
    prompt_ending: str | None = None
    max_new_tokens: int | None = None
    ignore: tuple[str, ...] | None = None


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
    """What `pdrop-eval` is asked to run; `conf/evaluate.yaml` says what each setting is.

    Attributes:
        endpoint: The server that has the model; None: it runs here.
    """

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
    workers: int | str
    feature_cache: float
    log: str
    results: str
    untested_packages: bool
    budget: BudgetSpec | None = None
    tasks: tuple[str, ...] | None = None
    include_path: str | None = None
    limit: int | None = None
    subset: str | None = None
    downsample: int | None = None
    endpoint: EndpointSpec | None = None
    prefix_cache: str = "auto"
    prefix_memory: float = 2
    threads: int | str | None = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain dicts and lists, in the form of the configuration."""
        found = {**asdict(self), "strategy": {"_target_": self.strategy.target, **self.strategy.settings}}
        endpoint = found.pop("endpoint")
        return found if endpoint is None else {**found, "model": endpoint}

    @property
    def changes(self) -> list[str]:
        """The settings that can change a score and aren't the default, as overrides: `strategy.ratio=0.6`."""
        return changes_from_default(self.to_dict())


def compose_spec(overrides: Sequence[str] = ()) -> RunSpec:
    """Return the settings that `pdrop-eval` runs with these overrides. Raises UserError for a wrong one."""
    return make_spec(compose_config(overrides), chosen_strategy(overrides), overrides)


def make_spec(config: DictConfig, preset: str, overrides: Sequence[str] = ()) -> RunSpec:
    """Return a composed configuration as a spec.

    Args:
        config: What Hydra has composed.
        preset: The name of the strategy's file in `conf/strategy`.
        overrides: What the command gives.

    Raises:
        UserError: A setting that there isn't, that is missing, or that is of another kind.
    """
    check_sections(config)
    if config.size is not None and config.runs is None:
        raise UserError(f"size={config.size} picks runs of an experiment. Name one: experiment=table5.")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    check_truth("keep_going", plain["keep_going"])
    if is_endpoint(plain["model"]):
        endpoint = endpoint_spec(plain["model"], overrides)
        plain |= {"model": _served(endpoint), "endpoint": endpoint, "budget": None}
        strategy = SERVERS_OWN
        del plain["strategy"]
    else:
        strategy = strategy_spec(plain.pop("strategy"), preset, overrides)
    given = {key: value for key, value in plain.items() if key not in _OF_THE_COMMAND}
    given["threads"] = _threads(given.get("threads"), {word.lstrip("+").split("=")[0] for word in overrides})
    made = make_typed(RunSpec, {"strategy": strategy, **given})
    if made.include_path is not None:
        include(made.include_path)
    own = own_suite(made.data, made.tasks, overrides)
    return made if own is None else replace(made, suite=make_typed(SuiteSpec, own, "suite"))


def _threads(threads: Any, named: set[str]) -> Any:
    """Return `threads`; null, which stands for the model's own, where the command names those alone.

    Args:
        threads: the setting.
        named: the settings that the command gives.
    """
    if {"threads", "model.threads"} <= named and threads is not None:
        raise UserError(
            f"threads={threads} and model.threads can't be given together: both say how many threads the "
            "model computes with. Leave out model.threads, or use threads=null, which takes it."
        )
    return None if "model.threads" in named else threads


def _served(endpoint: EndpointSpec) -> ModelSpec:
    """A server's model: what only a checkpoint has stays empty."""
    return ModelSpec(
        name=endpoint.name, pretrained="", architecture="", patches=0, size="", train="",
        max_new_tokens=endpoint.max_new_tokens, revision=endpoint.revision,
    )  # fmt: skip


def strategy_spec(settings: Mapping[str, Any], preset: str, overrides: Sequence[str] = ()) -> StrategySpec:
    """Return the settings of a group `strategy`, with its `_target_`, and the overrides, as a spec.

    Those of a combination are in a group for each of its parts.
    """
    target = str(settings.get("_target_"))
    if is_combined(target):
        groups = [own for key, own in settings.items() if key != "_target_"]
        parts = zip(groups, target.split(JOIN), strict=True)
        settings = joined([{**own, "_target_": one} for own, one in parts])
    fields = {key: value for key, value in settings.items() if key != "_target_"}
    names = [override.partition("=")[0].lstrip("+") for override in without_combine(overrides)]
    given = tuple(name.partition(".")[2] for name in names if name.startswith("strategy."))
    return StrategySpec(registered_name(target) or preset, preset, target, fields, given)
