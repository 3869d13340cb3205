"""A benchmark's settings, checked, and its identity; nothing here needs torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.models import families
from pdrop_eval.models.loading.adapter import Adapter, check_adapter, model_sha256
from pdrop_eval.models.loading.checkpoint import (
    MissingCheckpointError,
    check_checkpoint,
    check_device,
    resolve_checkpoint,
)
from pdrop_eval.records import run_identity as identity
from pdrop_eval.run.bench.sample import check_variants, known_sizes
from pdrop_eval.run.bench.spec import BenchSpec
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.variants import check_entry, label_of, read_entry
from pdrop_eval.strategies.combinations import is_combined
from pdrop_eval.strategies.make import settings_of
from pdrop_eval.strategies.recipe_settings import by_content, recipes_in
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.code.provenance import hardware
from pdrop_eval.utils.code.source_code import hash_modules, import_closure
from pdrop_eval.utils.code.versions import COMPUTE, check_versions
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, PACKAGE
from pdrop_eval.utils.validation import check_choice, check_whole

PLAIN, KEEP_ALL = "plain", "keep_all"
LARGEST = 16  # where batch_sizes=auto begins
# Not part of a benchmark's identity: what is measured more, and where it goes.
_ELSEWHERE = ("batch_sizes", "results", "scores", "again", "untested_packages")


@dataclass(frozen=True)
class Variant:
    """One of the things compared: a strategy with its settings, or the model without any of our code.

    Attributes:
        label: Its name in the record, unique.
        strategy: A name of conf/strategy, None for "plain".
    """

    label: str
    strategy: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Checked settings. source: a checkpoint's folder or Hub id; None where published sizes are used."""

    config: BenchSpec
    variants: tuple[Variant, ...]
    batch_sizes: tuple[int, ...]
    auto: bool
    budget: Mapping[str, Any]
    source: Path | str | None
    dtype: str
    identity: Mapping[str, Any]
    adapter: Adapter | None = None


def make_plan(config: BenchSpec) -> Plan:
    """Check settings. Raises UserError."""
    check_versions(config.untested_packages, COMPUTE)
    budget = _check(config)
    variants = _variants(config.strategies)
    sizes, auto = _batch_sizes(config.batch_sizes)
    checks.check_results_folder(Path(config.results))
    source, family, known = _source(config, any(one.strategy not in (None, VANILLA) for one in variants))
    check_variants(config, variants, budget, known)
    dtype = _dtype(config)
    if config.device != "cpu":
        check_device(config.device)
    adapter = _adapter(config)
    decides = _identity(config, variants, source, family, dtype, adapter)
    return Plan(config, variants, sizes, auto, budget, source, dtype, decides, adapter)


def _check(config: BenchSpec) -> dict[str, Any]:
    check_choice("weights", config.weights, ("random", "checkpoint"))
    check_choice("dtype", config.dtype, ("auto", *checks.DTYPES))
    check_choice("attention", config.attention, checks.ATTENTIONS)
    kind = config.device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        check_choice("device", config.device, ("cpu", "cuda", "cuda:0"))
    for name, least in (("text_tokens", 1), ("new_tokens", 1), ("rounds", 1), ("warmup", 0), ("seed", 0)):
        check_whole(name, getattr(config, name), least)
    if config.image_tokens is not None:
        check_whole("image_tokens", config.image_tokens, 1, "Use null for one image.")
    if config.threads is not None:
        check_whole("threads", config.threads, 1, "Use null for as many as torch takes.")
    _check_sizes(config)
    if config.attention == "flash_attention_2":
        checks._check_flash_attention(replace(config, dtype=_dtype(config)))
    return checks.check_budget(config.budget)


def _check_sizes(config: BenchSpec) -> None:
    given = {f"sizes.{name}": value for name, value in config.sizes.given().items()}
    for name, value in given.items():
        check_whole(name, value, 1)
    if config.architecture is not None:
        check_choice("architecture", config.architecture, families.published())
        given["architecture"] = config.architecture
    if given and config.weights != "random":
        raise UserError(
            f"{', '.join(given)} can't be chosen with weights={config.weights}: a checkpoint has its own "
            "sizes. Use weights=random."
        )


def _variants(asked: Any) -> tuple[Variant, ...]:
    """The variants in the order asked for, vanilla always among them."""
    if asked in ([], None):
        raise UserError(f"strategies={asked or []} is empty. Name some, strategies=[pdrop,fastv].")
    found = [_variant(entry) for entry in (asked if isinstance(asked, list) else [asked])]
    if VANILLA not in [one.label for one in found]:
        found.insert(0, Variant(VANILLA, VANILLA))
    labels = [one.label for one in found]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise UserError(f"strategies names {', '.join(sorted(twice))} twice: give it once.")
    return tuple(found)


def _variant(entry: Any) -> Variant:
    name, settings = read_entry(entry, more=[PLAIN, KEEP_ALL])
    if name == PLAIN:
        return Variant(PLAIN, None)
    if name == KEEP_ALL:
        return Variant(KEEP_ALL, "pdrop", {"ratio": 1.0})
    check_entry(name, settings)
    return Variant(label_of(name, settings), name, settings)


def _batch_sizes(asked: Any) -> tuple[tuple[int, ...], bool]:
    if asked == "auto":
        return (LARGEST,), True
    sizes = asked if isinstance(asked, list) else [asked]
    if not sizes:
        raise UserError("batch_sizes=[] is empty. Give some, batch_sizes=[1,4], or auto.")
    for size in sizes:
        check_whole("batch_sizes", size, 1, "Or batch_sizes=auto.")
    return tuple(sorted(set(sizes))), False


def _source(config: BenchSpec, drops: bool) -> tuple[Path | str | None, str, Any]:
    """Where the model's sizes (or weights) are read from, None for published ones; its family, and sizes."""
    model = config.model
    if config.weights == "checkpoint":
        checkpoint = check_checkpoint(model.pretrained, model.revision, model.trust_remote_code, drops)
        return resolve_checkpoint(model.pretrained), checkpoint.family, known_sizes(config, checkpoint, None)
    if config.architecture is not None:
        return _published(config, config.architecture)
    try:
        found = resolve_checkpoint(model.pretrained)
    except MissingCheckpointError:
        found = ""
    if isinstance(found, Path):
        checkpoint = check_checkpoint(model.pretrained, None, model.trust_remote_code, drops)
        return found, checkpoint.family, known_sizes(config, checkpoint, None)
    name = published_name(config)
    if name is None:
        raise UserError(
            f"The sizes of {model.pretrained} aren't known without it. Name published ones with "
            f"architecture=... ({', '.join(families.published())}), or give a folder with its config.json as "
            "model.pretrained=<folder>."
        )
    return _published(config, name)


def _published(config: BenchSpec, name: str) -> tuple[None, str, Any]:
    """No source, the family, which the installed transformers has to be new enough for, and the sizes."""
    family, _ = families.published()[name]
    family.check_version()
    return None, family.name, known_sizes(config, None, name)


def _adapter(config: BenchSpec) -> Adapter | None:
    model = config.model
    if model.adapter is not None and config.weights != "checkpoint":
        raise UserError(
            f"model.adapter={model.adapter} is for a checkpoint's own weights, and weights={config.weights} "
            "has none. Use weights=checkpoint, or leave the adapter out: merged, it changes no time."
        )
    return check_adapter(model.adapter, model.adapter_revision, model.merge_adapter)


def published_name(config: BenchSpec) -> str | None:
    """The published model whose sizes a random one gets, where no checkpoint is here to say them."""
    if config.architecture is not None:
        return config.architecture
    return families.published_name(config.model.architecture, config.model.size)


def _dtype(config: BenchSpec) -> str:
    if config.dtype != "auto":
        return config.dtype
    return "float32" if config.device == "cpu" else "bfloat16"


def _resolved(variant: Variant) -> dict[str, Any] | None:
    """All settings of a variant's strategy, those of its file in `conf/` included."""
    if variant.strategy is None:
        return None
    if is_combined(variant.strategy):
        return settings_of(variant.strategy, variant.fields)
    file: Any = OmegaConf.to_container(OmegaConf.load(CONF / "strategy" / f"{variant.strategy}.yaml"))
    return {**file, **variant.fields}


def _threads_of_the_environment() -> str | None:
    """Where no number is set, torch takes this one; None: one that follows from the machine's cores."""
    return os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS")


def _identity(
    config: BenchSpec, variants: tuple[Variant, ...], source: Path | str | None, family: str, dtype: str,
    adapter: Adapter | None,
) -> dict[str, Any]:  # fmt: skip
    """All that decides the numbers: settings, code, packages, the machine, the model's sizes or weights."""
    plain = config.to_dict()
    for key in _ELSEWHERE:
        plain.pop(key)
    plain |= {"dtype": dtype, "device": config.device.partition(":")[0]}
    resolved = [{"label": one.label, "fields": _resolved(one)} for one in variants]
    plain["strategies"] = by_content(resolved)
    plain["threads"] = str(plain["threads"]) if plain["threads"] else _threads_of_the_environment()
    model = plain["model"]
    plain["model"] = {key: model[key] for key in ("name", "architecture", "size", "anyres")}
    modules = import_closure(["pdrop_eval.run.bench.session"], PACKAGE)
    modules |= identity.family_modules(family, PACKAGE)
    for one in plain["strategies"]:
        modules |= identity.strategy_modules(one["fields"]["_target_"], PACKAGE) if one["fields"] else {}
    if isinstance(source, Path) and config.weights == "random":
        weights = file_sha256(source / "config.json")
    elif source is not None:
        weights = model_sha256(identity.checkpoint_sha256(source, config.model.revision), adapter)
        for recipe in recipes_in(resolved):
            recipe.check_model(config.model.name, weights)
    else:
        weights = str(published_name(config))
    machine = hardware()
    return {
        "config": plain,
        "model": weights,
        "code": {"sha256": hash_modules(modules)},
        "packages": {name: version(name) for name in ("torch", "transformers")},
        "hardware": {key: machine[key] for key in ("cpu", "cores", "gpus")},
    }
