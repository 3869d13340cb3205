"""The configurations in `conf/model`, without composing a whole run. Needs neither Hydra nor torch."""

from functools import cache
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.utils.paths import CONF


def suite_of(size: str) -> str:
    """The suite that an experiment runs models of a size on: the real data for 7B, else the rendered one."""
    return "paper" if size == "7b" else "mini"


@cache
def model_configs() -> dict[str, dict[str, Any]]:
    """All of them by name, each with what it takes over from another one."""
    return {path.stem: _read(path.stem) for path in sorted((CONF / "model").glob("*.yaml"))}


def _read(name: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    merged: dict[str, Any] = {}
    for base in plain.pop("defaults", []):
        merged |= {} if base == "_self_" else _read(base)
    return merged | plain
