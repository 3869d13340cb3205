"""The configurations in `conf/model`, without composing a whole run. Needs neither Hydra nor torch."""

from typing import Any

from pdrop_eval.utils.presets import presets


def suite_of(size: str) -> str:
    """Return the suite that models of a size are run on: the real data for 7B, else the rendered one."""
    return "paper" if size == "7b" else "mini"


def model_configs() -> dict[str, dict[str, Any]]:
    """Return all of them by name, each with what it takes over from another one."""
    return presets("model")
