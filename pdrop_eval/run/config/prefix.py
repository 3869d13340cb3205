"""Whether `prefix_cache` and `prefix_memory` fit strategy, model and machine: before torch."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pdrop_eval.engine.prefix.fits import unshared_by_model, unshared_by_strategy
from pdrop_eval.models import families
from pdrop_eval.models.text_model import check_window
from pdrop_eval.strategies.make import without_torch
from pdrop_eval.utils.prefix_setting import ON, check_memory, refuse, setting_of

if TYPE_CHECKING:
    from pdrop_eval.models.loading.checkpoint import Checkpoint
    from pdrop_eval.run.config.spec import StrategySpec


def check_device_memory(gib: Any, device: str) -> None:
    """Refuse more than a device's memory; a GPU's is known only to torch, so it is asked later.

    Raises:
        UserError: with what there is.
    """
    import psutil

    on_gpu = str(device).split(":")[0] == "cuda"
    check_memory(gib, None if on_gpu else int(psutil.virtual_memory().total))


def check_prefixes(choice: Any, spec: "StrategySpec", checkpoint: "Checkpoint") -> None:
    """Refuse `prefix_cache=on` where questions can't share prefixes, as far as config.json says it.

    Args:
        choice: the setting.
        spec: the strategy.
        checkpoint: the model's.

    Raises:
        UserError: with the reason.
    """
    if setting_of(choice) != ON:
        return
    from pdrop_eval.run.config.fits import view_of

    family, text = families.multimodal(checkpoint.family), view_of(checkpoint).text_config
    raw = family.text_settings(checkpoint.config)
    reason = unshared_by_model(family, text, lambda _: check_window("the checkpoint", raw, family.text_types))
    strategy = without_torch(spec.build)
    with suppress(AttributeError):  # the depth may be transformers' default: it is asked again
        if not reason and strategy is not None:
            reason = unshared_by_strategy(strategy, int(text.num_hidden_layers))
    refuse(reason)
