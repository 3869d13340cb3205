"""A model over several GPUs, through accelerate's hooks: decoder layers are spread, all else is on the first.

What passes between layers is on the first GPU, too: whatever looks at it, such as a strategy that drops
tokens, finds all of it in one place. A layer's own tensors, and its part of the cache, stay with the layer.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_whole

_CACHES = ("past_key_values", "past_key_value")  # each layer's part is where the layer is


def check_devices(devices: int | None, device: str) -> None:
    """Refuse a number of GPUs that can't be, without importing torch.

    Args:
        devices: `model.devices`; None and 1 are the one of `device`.
        device: the run's.

    Raises:
        UserError: with the fix.
    """
    if devices is None:
        return
    check_whole("model.devices", devices, 1, "Use null for one.")
    if devices == 1:
        return
    if device != "cuda":
        raise UserError(
            f"model.devices={devices} spreads a model over the first {devices} GPUs, and device={device} is "
            "none of them. Use device=cuda, or model.devices=null."
        )
    if find_spec("accelerate") is None:
        raise UserError(
            f"model.devices={devices} needs the package accelerate. Install it: pip install accelerate."
        )


def check_there(devices: int | None) -> None:
    """Refuse more GPUs than torch can use here.

    Raises:
        UserError: with their number.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices is not None and devices > max(1, there):
        raise UserError(
            f"model.devices={devices} asks for {devices} GPUs, and torch can use {there} here. Use fewer, or "
            "null for one."
        )


def spread(model: Any, layers: Sequence[Any], devices: Sequence[Any]) -> Any:
    """Place a model on several devices and return it; each gets about as many bytes.

    Args:
        model: the model, on the CPU.
        layers: its decoder layers, in order.
        devices: the first one gets all else, and what passes between layers.
    """
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    places = _places(model, layers, len(devices))
    inner = {id(module) for layer in layers for module in layer.modules()}
    for module in model.modules():
        if id(module) not in inner:
            _move_own(module, devices[0])
    for layer, place in zip(layers, places, strict=True):
        layer.to(devices[place])
        for module in layer.modules() if place else ():
            # also inside of the layer: scoring calls its projections alone, with what is on the first device
            hook = AlignDevicesHook(devices[place], io_same_device=True, skip_keys=list(_CACHES))
            add_hook_to_module(module, hook)
    return model


def _places(model: Any, layers: Sequence[Any], count: int) -> list[int]:
    """The device of each layer: as soon as one has its share of the bytes, the next one's turn comes."""
    sizes = [_size(layer) for layer in layers]
    share = _size(model) / count
    filled = _size(model) - sum(sizes)
    places = []
    for size in sizes:
        places.append(min(int((filled + size / 2) / share), count - 1))
        filled += size
    return places


def _size(module: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.parameters())


def _move_own(module: Any, device: Any) -> None:
    """Move the tensors that a module has itself; those that are tied stay so."""
    for tensor in module.parameters(recurse=False):
        tensor.data = tensor.data.to(device)
    for name, tensor in module.named_buffers(recurse=False):
        setattr(module, name, tensor.to(device))
