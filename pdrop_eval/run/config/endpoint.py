"""`model=endpoint`: the settings of a model behind a server, and those that can't be given with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pdrop_eval.run.config.typed import make_typed
from pdrop_eval.utils.errors import UserError

PRESET = "endpoint"  # its file in conf/model
_MARK = "served"  # the setting that only an endpoint has
_DROPS = ("strategy", "combine", "budget")
OF_THE_SERVER = (
    "dtype", "device", "attention", "batch_size", "workers", "threads", "feature_cache", "prefix_cache",
    "prefix_memory",
)  # fmt: skip


@dataclass(frozen=True)
class EndpointSpec:
    """A server and the model that it serves; `conf/model/endpoint.yaml` says what each setting is."""

    name: str
    max_new_tokens: int
    base_url: str | None = None
    served: str | None = None
    revision: str | None = None
    api_key_env: str | None = None
    concurrency: int = 8
    timeout: float = 120
    retries: int = 5
    give_up: int = 3
    extra_body: Any = None


def is_endpoint(model: Mapping[str, Any]) -> bool:
    """Whether settings of the group `model` are an endpoint's."""
    return _MARK in model


def endpoint_spec(model: Mapping[str, Any], overrides: Iterable[str]) -> EndpointSpec:
    """Return the settings of an endpoint.

    Args:
        model: The group `model`, as plain values.
        overrides: What the command gives.

    Raises:
        UserError: A setting that there isn't, or one of a model that runs here.
    """
    for override in overrides:
        _check_given(override)
    return make_typed(EndpointSpec, model, "model")


def check_runs_here(models: Iterable[str], entry: str) -> None:
    """Refuse an endpoint where a checkpoint is needed.

    Args:
        models: The choices of the group `model`.
        entry: The configuration of the command, `bench`.

    Raises:
        UserError: An endpoint, of another command than pdrop-eval and its doctor.
    """
    if entry != "evaluate" and PRESET in models:
        raise UserError(
            f"model={PRESET} is a model behind a server: only pdrop-eval can ask it. pdrop-eval-{entry} "
            "needs a checkpoint: name another model."
        )


def _check_given(override: str) -> None:
    name = override.partition("=")[0].lstrip("+~").partition(".")[0]
    if name in _DROPS:
        raise UserError(
            f"{override} can't be given with model=endpoint: which tokens are dropped is up to the server. "
            "Leave it out, and say in model.name what the server does. To compare an endpoint, run it with "
            "pdrop-eval and name its folder: pdrop-eval-compare candidate=<folder of the run>."
        )
    if name in OF_THE_SERVER:
        raise UserError(
            f"{override} can't be given with model=endpoint: the server decides it. Leave it out; how many "
            "questions are asked at the same time is model.concurrency."
        )
