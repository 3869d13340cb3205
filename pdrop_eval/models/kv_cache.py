"""The KV cache's name in calls of transformers models: `cache` from 5.24 on, `past_key_values` before."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

NAMES = ("cache", "past_key_values")


def cache_in(arguments: Mapping[str, Any]) -> Any:
    """Return the cache among keyword arguments, whichever its name; None if there is none."""
    return next((arguments[name] for name in NAMES if arguments.get(name) is not None), None)


def cache_argument(model: nn.Module, cache: Any) -> dict[str, Any]:
    """Return the keyword argument that hands `cache` to the model's forward, by the name that it takes."""
    taken = inspect.signature(model.forward).parameters
    return {next(name for name in NAMES if name in taken): cache}
