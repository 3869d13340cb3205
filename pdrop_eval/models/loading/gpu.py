"""What torch is told before a model runs on a GPU, in one place for evaluations, benchmarks and trainings."""

from importlib.util import find_spec
from typing import Any

import torch


def settle_attention() -> None:
    """Turn cuDNN's attention off, which torch 2.11 and newer put first on H100, H200 and B200.

    It makes a plan for each new shape, and keys grow by one with each decode step; for some lengths with
    padded rows its backward gives NaN. What torch takes then is its flash or memory-efficient kernel.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def attention_backends() -> list[str]:
    """Return the kernels that torch's SDPA may take on a GPU, by name."""
    cuda = torch.backends.cuda
    allowed = {
        "flash": cuda.flash_sdp_enabled(),
        "mem_efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }
    return [name for name, is_on in allowed.items() if is_on]


def recorded_backends(device: str) -> dict[str, Any]:
    """Settle the kernels and return what a record says of them: nothing where there is no GPU to run on."""
    settle_attention()
    return {"attention_backends": attention_backends()} if device.startswith("cuda") else {}


def take_device(device: str) -> None:
    """Make a GPU this process's current one.

    What names no GPU, such as pinned memory, would open a context on the first one from every process.
    """
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)


def straight_to(device: str) -> dict[str, Any]:
    """Return the arguments with which transformers reads weights onto a GPU, not into the host's memory.

    Without accelerate there are none: the model is moved when it is whole.
    """
    if not device.startswith("cuda") or find_spec("accelerate") is None:
        return {}
    return {"device_map": {"": device}}
