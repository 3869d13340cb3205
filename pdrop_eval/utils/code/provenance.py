"""Where numbers come from: the code, the packages and the machine, for a run's record. Needs no torch."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from pdrop_eval import __version__
from pdrop_eval.utils.paths import PACKAGE

PACKAGES = (
    "torch", "torchvision", "transformers", "tokenizers", "safetensors", "lmms-eval", "datasets", "pyarrow",
    "pandas", "numpy", "pillow", "hydra-core", "flash-attn",
)  # fmt: skip
# What decides how a run behaves. Generated tables and the README may differ from the commit without harm.
_CODE = ("pdrop_eval", "conf", "tasks", "pyproject.toml")


def code_identity() -> dict[str, Any]:
    """The version, and in a checkout the commit and whether its code was changed since (None elsewhere)."""
    checkout = PACKAGE.parent
    top = _git(checkout, "rev-parse", "--show-toplevel")
    inside = top is not None and Path(top).resolve() == checkout and (checkout / "pyproject.toml").is_file()
    if not inside:  # an installed package, even where someone else's repository surrounds it
        return {"version": __version__, "commit": None, "dirty": None}
    changes = _git(checkout, "status", "--porcelain", "--", *_CODE)
    commit = _git(checkout, "rev-parse", "HEAD")
    return {"version": __version__, "commit": commit, "dirty": None if changes is None else bool(changes)}


def package_versions() -> dict[str, str]:
    """Python and the installed packages that can change a number, with their versions."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """The processor, its cores usable here, memory in bytes, and the GPUs if torch is already imported."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
