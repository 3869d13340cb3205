"""A run's model, ready to be opened: one that runs here, or one behind a server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pdrop_eval.utils.terminal.log import log_rank_zero

if TYPE_CHECKING:
    from pdrop_eval.run.evaluate.models import Models
    from pdrop_eval.run.evaluate.plan import Plan


@dataclass(frozen=True)
class Ready:
    """What a run begins with.

    Attributes:
        header: Of its record.
        open: Loads the model.
        tflops: Of given image tokens per layer.
    """

    header: dict[str, Any]
    open: Callable[[], Any]
    tflops: Callable[[Sequence[int]], float]


def make_ready(plan: "Plan", models: "Models", command: str) -> Ready:
    """Return what a run begins with.

    Args:
        plan: The run's.
        models: Where a model that runs here is from.
        command: That makes it, for the record.

    Raises:
        UserError: A strategy that doesn't fit the model, a device or a server that isn't there.
    """
    return _served(plan, command) if plan.config.endpoint else _here(plan, models, command)


def _here(plan: "Plan", models: "Models", command: str) -> Ready:
    from pdrop_eval.models.loading.checkpoint import check_device, check_not_absent

    check_not_absent(plan.config.device)
    log_rank_zero("Loading torch and transformers")
    from pdrop_eval.run.evaluate.header import make_header

    check_device(plan.config.device)
    strategy, header, tflops = make_header(plan, command)
    return Ready(header, lambda: models.open(plan, strategy), tflops)


def _served(plan: "Plan", command: str) -> Ready:
    """The server is asked what it has before anything is loaded: lmms-eval, which scores, imports torch."""
    from pdrop_eval.run.endpoint.header import make_header
    from pdrop_eval.run.endpoint.server import ask_offer, make_server

    spec = plan.config.endpoint
    assert spec is not None
    server = make_server(spec)
    header = make_header(plan, command, ask_offer(server, spec))

    def open_model() -> Any:
        from pdrop_eval.run.endpoint.model import EndpointModel

        return EndpointModel(spec, server, plan.config.downsample)

    def unknown(tokens: Sequence[int]) -> float:
        raise RuntimeError("the image tokens of a model behind a server aren't known")

    return Ready(header, open_model, unknown)
