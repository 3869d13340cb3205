"""A run's plan: everything that is checked and found out before torch is imported."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pdrop_eval.models.families import multimodal
from pdrop_eval.models.loading.adapter import check_adapter, is_on_hub, model_sha256
from pdrop_eval.models.loading.checkpoint import (
    check_checkpoint,
    check_image_processing,
    resolve_checkpoint,
    settled_dtype,
)
from pdrop_eval.models.loading.generation import check_generation
from pdrop_eval.run.config.spec import RunSpec
from pdrop_eval.run.endpoint.server import check_endpoint
from pdrop_eval.strategies.recipe_settings import recipes_in
from pdrop_eval.strategies.registry import VANILLA


@dataclass(frozen=True)
class Plan:
    """Validated settings, and what was found out on the way; of a server's model there is no checkpoint."""

    config: RunSpec
    tasks: list[str]
    checkpoint: Any
    commit: str | None
    data: Any
    identity: dict[str, Any]
    judge: Any = None
    adapter: Any = None
    task_sha256: dict[str, str] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.config.strategy.name

    @cached_property
    def shared(self) -> dict[str, Any]:
        """Those of its settings that decide its numbers: worked out once for all of its seeds."""
        from pdrop_eval.records.run_identity import shared_settings

        return shared_settings(self.config.to_dict())

    def missing(self, record: dict[str, Any] | None) -> list[str]:
        """The tasks that the record lacks, that have changed since, or whose samples were lost."""
        if record is None:
            return self.tasks
        again = {*self.changed(record), *self.lost(record)}
        return [task for task in self.tasks if task not in record["tasks"] or task in again]

    def lost(self, record: dict[str, Any]) -> dict[str, str]:
        """The finished tasks whose files of samples aren't those that were scored, each with the reason."""
        from pdrop_eval.records.samples import lost_samples

        found = {
            task: lost_samples(Path(record["folder"]), task, entry)
            for task, entry in record["tasks"].items()
            if task in self.tasks
        }
        return {task: why for task, why in found.items() if why}

    def changed(self, record: dict[str, Any]) -> list[str]:
        """The tasks of a record whose data, files or entry in the registry are others now."""
        now = {"data_sha256": self.data.sha256, "task_sha256": self.task_sha256}
        return [
            task
            for task, entry in record["tasks"].items()
            if task in self.tasks and any(entry.get(key) != found.get(task) for key, found in now.items())
        ]

    def existing_record(self) -> dict[str, Any] | None:
        """The record of an earlier run with the same identity."""
        from pdrop_eval.records.store import read_record, run_id

        for path in Path(self.config.results).glob(f"*/*-{run_id(self.identity)}/record.json"):
            record = read_record(path)
            if record.get("identity") == self.identity:
                return {**record, "folder": str(path.parent)}
        return None

    def made_by_other_code(self) -> str | None:
        """The id of a record of this very run but for code or packages, if there is one; else None."""
        import contextlib

        from pdrop_eval.records.store import read_record, run_folder
        from pdrop_eval.utils.errors import UserError

        def rest(identity: Any) -> dict[str, Any]:
            return {key: value for key, value in identity.items() if key not in ("code", "packages")}

        folder = run_folder(Path(self.config.results), self.config.model.name, self.strategy, self.identity)
        for path in sorted(folder.parent.glob("*/record.json")):
            with contextlib.suppress(UserError):  # what is damaged is said where it is needed
                record = read_record(path)
                if rest(record.get("identity") or {}) == rest(self.identity):
                    return str(record["run_id"])
        return None


def make_plan(config: RunSpec, beside: Plan | None = None) -> Plan:
    """Checks settings, gets the data ready, and works out the run's identity, all without torch.

    Args:
        config: The run's settings.
        beside: A plan on another model with the same suite, tasks and settings of data, whose data are ready.
    """
    from pdrop_eval.benchmarks.judging.client import make_judge
    from pdrop_eval.benchmarks.own.task import data_of, info_of, sha256_of
    from pdrop_eval.models.loading.checkpoint import check_anyres
    from pdrop_eval.models.loading.hub import hub_commit, set_offline
    from pdrop_eval.records import run_identity as identity
    from pdrop_eval.run.config import checks
    from pdrop_eval.run.config.fits import check_model
    from pdrop_eval.run.config.named import check_named
    from pdrop_eval.run.config.prefix import check_prefixes
    from pdrop_eval.utils.code.versions import check_versions

    check_versions(config.untested_packages)
    checks.check_settings(config)
    if config.endpoint is not None:
        check_endpoint(config.endpoint)
    else:
        check_named(config.model, config.strategy)
    judge = make_judge(config.judge)
    tasks = checks.check_tasks(config.tasks, list(config.suite.tasks), config.suite.name, config.limit)
    for task in tasks:
        info_of(config.suite, task)
    checks.check_results_folder(Path(config.results))
    if config.endpoint is not None:
        return _of_server(config, tasks, judge)
    source = resolve_checkpoint(config.model.pretrained)
    from_hub = config.suite.source == "hub" and config.data.root is None
    set_offline(isinstance(source, Path) and not from_hub and not is_on_hub(config.model.adapter))
    checkpoint = check_checkpoint(
        config.model.pretrained, config.model.revision, config.model.trust_remote_code,
        config.strategy.name != VANILLA,
    )  # fmt: skip
    family = multimodal(checkpoint.family)
    config = _settled(config, family, checkpoint)
    check_image_processing(config.model.image_processing, checkpoint.family)
    check_anyres(config.model.anyres, checkpoint.config)
    family.check_bounds(config.model.bounds)
    check_model(config.strategy, checkpoint, config.model.anyres, checks.check_budget(config.budget))
    check_prefixes(config.prefix_cache, config.strategy, checkpoint)
    check_generation(config.model.generation, checkpoint.generation)
    adapter = check_adapter(config.model.adapter, config.model.adapter_revision, config.model.merge_adapter)
    commit = None if isinstance(source, Path) else hub_commit(source, "model", config.model.revision)
    data = data_of(config.suite, config.data, tasks) if beside is None else beside.data
    weights = model_sha256(identity.checkpoint_sha256(source, commit), adapter)
    decides = _identity(config, checkpoint, weights, data)
    known = {} if beside is None else beside.task_sha256
    definitions = known or {task: sha256_of(config.suite, task) for task in tasks}
    return Plan(config, tasks, checkpoint, commit, data, decides, judge, adapter, definitions)


def plan_beside(plan: Plan, config: RunSpec) -> Plan:
    """The plan of another strategy, budget or seed on the model, suite and data of a plan that there is.

    Raises:
        UserError: Settings that can't be right, or don't fit the model.
    """
    from pdrop_eval.models.text_model import check_window
    from pdrop_eval.run.config import checks
    from pdrop_eval.run.config.fits import check_model
    from pdrop_eval.run.config.prefix import check_prefixes

    checks.check_settings(config)
    checkpoint = plan.checkpoint
    family = multimodal(checkpoint.family)
    if config.strategy.name != VANILLA:
        text = family.text_settings(checkpoint.config)
        check_window(config.model.pretrained, text, family.text_types)
    config = _settled(config, family, checkpoint)
    check_model(config.strategy, checkpoint, config.model.anyres, checks.check_budget(config.budget))
    check_prefixes(config.prefix_cache, config.strategy, checkpoint)
    decides = _identity(config, checkpoint, plan.identity["model_sha256"], plan.data)
    return replace(plan, config=config, identity=decides)


def plan_from_seed(plan: Plan, seed: int) -> Plan:
    """The same run from another seed, which only its identity depends on."""
    from pdrop_eval.records.run_identity import from_seed

    decides = from_seed(plan.identity, plan.shared, seed)
    return replace(plan, config=replace(plan.config, seed=seed), identity=decides)


def _settled(config: RunSpec, family: Any, checkpoint: Any) -> RunSpec:
    """What depends on the checkpoint, decided: with the setting "auto" a run is the one that names it."""
    return replace(
        config,
        strategy=config.strategy.settled(family.can_renumber, config.model.name),
        dtype=settled_dtype(config.dtype, config.device, checkpoint.config),
    )


def _identity(config: RunSpec, checkpoint: Any, weights: str, data: Any) -> dict[str, Any]:
    """What decides the run's numbers; its strategy's recipes must be of this model."""
    from pdrop_eval.records.run_identity import run_identity

    settings = config.to_dict()
    strategy = config.strategy
    decides = run_identity(
        settings, strategy.name, strategy.target, weights, data.identity, checkpoint.family
    )
    for recipe in recipes_in(settings):
        recipe.check_model(config.model.name, weights)
    return decides


def _of_server(config: RunSpec, tasks: list[str], judge: Any) -> Plan:
    """The plan of a model behind a server, which isn't asked yet."""
    from pdrop_eval.benchmarks.own.task import data_of, sha256_of
    from pdrop_eval.models.loading.hub import set_offline
    from pdrop_eval.records.run_identity import endpoint_identity

    set_offline(config.suite.source != "hub" or config.data.root is not None)
    data = data_of(config.suite, config.data, tasks)
    decides = endpoint_identity(config.to_dict(), data.identity)
    definitions = {task: sha256_of(config.suite, task) for task in tasks}
    return Plan(config, tasks, None, None, data, decides, judge, None, definitions)
