"""Tensors between the host and a GPU, without waiting for the GPU: copies from and to pinned memory."""

from typing import Any

import torch
from torch import Tensor


def upload(tensor: Tensor, device: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on a device; what is copied to a GPU is queued there, behind what it computes.

    Args:
        tensor: on any device.
        device: where it is to be.
        dtype: which it is to have; None: its own.
    """
    device = torch.device(device)
    if copies_by_itself(device) and tensor.device.type == "cpu":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device, dtype)


def download(tensor: Tensor) -> Tensor:
    """Return a copy in the host's memory; one from a GPU is whole only when the GPU has come to it."""
    if not copies_by_itself(tensor.device):
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def copies_by_itself(device: torch.device) -> bool:
    """Tell whether a device copies from and to pinned memory while the host goes on."""
    return device.type == "cuda" and torch.cuda.is_available()
