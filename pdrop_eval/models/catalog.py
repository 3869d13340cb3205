"""The configurations in `conf/model`, without composing a whole run. Needs neither Hydra nor torch."""

from typing import Any

from pdrop_eval.utils.presets import presets


def suite_of(size: str) -> str:
    """The suite that an experiment runs models of a size on: the real data for 7B, else the rendered one."""
    return "paper" if size == "7b" else "mini"


def model_configs() -> dict[str, dict[str, Any]]:
    """All of them by name, each with what it takes over from another one."""
    return presets("model")
