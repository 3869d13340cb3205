"""What decides a run's numbers: hashed, it names the run's folder. Needs no torch."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval import __version__
from pdrop_eval.utils.hashing import hash_files
from pdrop_eval.utils.paths import PACKAGE, TASKS

# Not part of it: where results go and data lie, which of the suite's tasks are asked for now, who judges, and
# what changes no answer.
_ELSEWHERE = (
    "results", "tasks", "data", "judge", "runs", "size", "workers", "feature_cache", "log",
    "untested_packages",
)  # fmt: skip
_SOURCES = (
    "strategies", "engine", "efficiency/architecture.py", "efficiency/budget.py",
    "efficiency/flops.py", "run/evaluate/header.py", "models", "records/token_mask.py", "benchmarks",
    "run/lmms",
)  # fmt: skip
# Files of a checkpoint that change no answer: what its training cost, and what was measured of it.
_BESIDE = ("training_record.json", "card.json")
# What decodes and resizes pictures and makes tokens of words is among them.
_PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "lmms-eval", "pillow", "numpy")


def run_identity(
    config: Any, strategy: str, model_sha256: str, data_sha256: dict[str, str]
) -> dict[str, Any]:
    """The resolved config with content hashes in the place of paths, and the version of the code.

    The same model and data in other folders give the same identity, and so does `cuda:1` for `cuda:0`.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    for key in _ELSEWHERE:
        plain.pop(key)
    # model.context only refuses: raised after a prompt was too long, it must not discard the answers so far
    for group, key in (
        ("model", "pretrained"), ("model", "revision"), ("model", "context"), ("suite", "tasks"),
    ):  # fmt: skip
        plain[group].pop(key)
    plain["device"] = str(plain["device"]).split(":")[0]
    return {
        "strategy": strategy,
        "config": plain,
        "model_sha256": model_sha256,
        "data_sha256": data_sha256,
        "code": {"version": __version__, "sha256": code_sha256()},
        "packages": {name: version(name) for name in _PACKAGES},
    }


def code_sha256() -> str:
    """SHA-256 of the source files that a record's numbers come from."""
    sources: list[Path] = []
    for name in _SOURCES:
        path = PACKAGE / name
        sources += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return hash_files([*sources, *sorted(TASKS.rglob("*.yaml"))])


def checkpoint_sha256(source: Path | str, commit: str | None) -> str:
    """SHA-256 of a checkpoint's files, or, on the Hub, of its id and commit, which fix them."""
    if isinstance(source, str):
        return hashlib.sha256(f"{source}@{commit}".encode()).hexdigest()
    kinds = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
    files = {path for kind in kinds for path in source.glob(kind) if path.name not in _BESIDE}
    return hash_files(sorted(files))
