"""A GPU that isn't there: tensors that say they are on `cuda:0` and compute on the CPU, and what would wait.

Within `PretendedGpu`, every operator of torch is noted that gets tensors of two devices, which a GPU refuses,
and every copy or number for which the host would wait. What torch computes inside of an operator isn't seen.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

GPU = torch.device("cuda", 0)
_TORCH = str(Path(torch.__file__).parent)
_DEVICE, _IS_CUDA, _IS_CPU = (getattr(Tensor, name).__get__ for name in ("device", "is_cuda", "is_cpu"))
# What a number, or a length, is read for.
_READS = {
    "item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__contains__", "numpy", "nonzero",
    "equal", "is_nonzero", "allclose", "unique", "masked_select", "bincount", "argwhere",
}  # fmt: skip
_UPLOADS = {"tensor", "as_tensor", "asarray", "new_tensor"}
_ACROSS = {"copy_", "__setitem__", "__getitem__", "index_put_", "set_"}  # take tensors of two devices
_ASKS = {"_has_compatible_shallow_copy_type"}  # computes nothing


class OnGpu(Tensor):
    """A tensor of the CPU that says that it is on the GPU."""


@dataclass(frozen=True)
class Note:
    """What was noted: the operator, and the nearest function that isn't torch's."""

    what: str
    file: str
    function: str

    @property
    def ours(self) -> bool:
        """Whether it is this package's own."""
        return "/pdrop_eval/" in self.file


def place(module: nn.Module) -> nn.Module:
    """Move a module's tensors there, in place."""
    for part in module.modules():
        for kept in (part._parameters, part._buffers):
            for name, tensor in kept.items():
                if tensor is not None:
                    kept[name] = tensor.detach().as_subclass(OnGpu)
    return module


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _placed(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result if isinstance(result, OnGpu) else result.as_subclass(OnGpu)
    if isinstance(result, (list, tuple)):
        found = [_placed(one) for one in result]
        return type(result)(*found) if hasattr(result, "_fields") else type(result)(found)
    return result


class PretendedGpu(TorchFunctionMode):
    """Notes while it is entered.

    Attributes:
        mixed: operators that got tensors of two devices.
        waits: what the host waits for: values that are read, uploads that aren't pinned, and lengths.
        uploads: uploads without a wait: of pinned memory, non-blocking.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[Note] = []
        self.waits: list[Note] = []
        self.uploads: list[Note] = []
        self._pinned: set[int] = set()

    def __enter__(self) -> "PretendedGpu":
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # else modules stay where they are
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        torch.__future__.set_overwrite_module_params_on_conversion(False)

    def forget(self) -> None:
        """Begin anew."""
        for notes in (self.mixed, self.waits, self.uploads):
            notes.clear()

    def ours(self, notes: list[Note]) -> list[Note]:
        """Return those of this package's own code."""
        return [note for note in notes if note.ours]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        there = isinstance(first, OnGpu)
        if func == _DEVICE:
            return GPU if there else func(*args)
        if func in (_IS_CUDA, _IS_CPU):
            return there == (func == _IS_CUDA)
        name = getattr(func, "__name__", "")
        with torch._C.DisableTorchFunctionSubclass():
            if name in ("to", "cpu", "cuda") and isinstance(first, Tensor):
                return self._moved(name, args, kwargs)
            if name == "get_device" and there:
                return 0
            if name == "pin_memory":
                pinned = first.clone()
                self._pinned.add(id(pinned))
                self._kept = pinned
                return pinned
            return self._run(name, func, args, kwargs)

    def _run(self, name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        asked = kwargs.get("device")
        makes = asked is not None and torch.device(asked).type == "cuda"
        if makes:
            kwargs["device"] = "cpu"
        tensors = list(_tensors([args, kwargs]))
        on = [one for one in tensors if isinstance(one, OnGpu)]
        off = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
        if name in _UPLOADS and (makes or on):
            self._note(self.waits, f"upload by {name}")
        elif on and off and name not in _ASKS:
            self._note(self.waits if name in _ACROSS else self.mixed, name)
        elif on and (name in _READS or (name == "__getitem__" and _by_mask(args[1]))):
            self._note(self.waits, name)
        elif on and name == "repeat_interleave" and kwargs.get("output_size") is None:
            self._note(self.waits, name) if isinstance((args[1:] or [None])[0], Tensor) else None
        result = func(*args, **kwargs)
        return _placed(result) if makes or (on and asked is None) else result

    def _moved(self, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        tensor, others = args[0], list(args[1:])
        target: Any = {"cpu": "cpu", "cuda": GPU}.get(name, kwargs.pop("device", None))
        if name != "to":
            others = []
        elif others and not isinstance(others[0], (torch.dtype, bool, type(None))):
            given = others.pop(0)
            target = (GPU if isinstance(given, OnGpu) else "cpu") if isinstance(given, Tensor) else given
            if isinstance(given, Tensor):
                kwargs.setdefault("dtype", given.dtype)
        if others and others[0] is None:
            others.pop(0)
        if others and isinstance(others[-1], bool):
            kwargs["non_blocking"] = others.pop()
        waits = not kwargs.pop("non_blocking", False)
        found = tensor.to(*others, **kwargs) if others or kwargs else tensor
        there = isinstance(tensor, OnGpu)
        if target is None or (torch.device(target).type == "cuda") == there:
            return _placed(found) if there else found
        if there:
            self._note(self.waits, name)
            return found.as_subclass(Tensor)
        pinned = id(tensor) in self._pinned
        self._note(self.waits if waits or not pinned else self.uploads, f"upload by {name}")
        return _placed(found)

    def _note(self, notes: list[Note], what: str) -> None:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename.startswith((_TORCH, __file__)):
            frame = frame.f_back
        notes.append(Note(what, frame.f_code.co_filename, frame.f_code.co_name))


def _by_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool and part.dim() for part in parts)
