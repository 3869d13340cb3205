"""What the processes of one training have to have in common. Needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pdrop_eval.records.run_identity import family_modules, strategy_modules
from pdrop_eval.run.train.plan import Phase, TrainingPlan
from pdrop_eval.utils.code.source_code import hash_modules, import_closure
from pdrop_eval.utils.paths import PACKAGE
from pdrop_eval.utils.text.redact import redact_all

# Where a machine has its files, and how it does its own part.
_OF_A_MACHINE = ("threads", "workers", "check_images", "untested_packages")
_OF_ITS_FILES = {"model": ("pretrained", "revision", "adapter", "adapter_revision", "threads")}
_OF_ITS_DATA = ("files", "images")
_PACKAGES = (
    "torch", "torchvision", "transformers", "tokenizers", "accelerate", "peft", "deepspeed", "pillow",
    "numpy",
)  # fmt: skip


def in_common(plan: TrainingPlan) -> dict[str, Any]:
    """Return what is known of a training before the first phase: all of it decides weights, or who waits.

    Paths of data and of the start may differ from machine to machine: their content is compared.
    """
    settings = asdict(plan.config)
    for name in (*_OF_A_MACHINE, "strategy", "recipe"):
        settings.pop(name)
    for group, names in _OF_ITS_FILES.items():
        settings[group] = {key: value for key, value in settings[group].items() if key not in names}
    strategy = plan.config.strategy
    modules = import_closure([f"{PACKAGE.name}.run.train.session"], PACKAGE)
    modules |= strategy_modules(strategy.target, PACKAGE) | family_modules(plan.family, PACKAGE)
    return redact_all(
        {
            "strategy": {"name": plan.strategy, "_target_": strategy.target, **strategy.settings},
            **settings,
            "output": str(plan.output),
            "start": plan.start_sha256,
            "phase": {phase.name: _phase(phase) for phase in plan.phases},
            "code": hash_modules(modules),
            "packages": {name: _version(name) for name in _PACKAGES},
        }
    )


def _phase(phase: Phase) -> Mapping[str, Any]:
    kept = {key: value for key, value in phase.settings.to_dict().items() if key not in _OF_ITS_DATA}
    data = {f"data.{number}": entry["sha256"] for number, entry in enumerate(phase.data)}
    return {"done": phase.done, **kept, **data}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
