"""A golden case: settings and tensors of one run of official code, and how ours are compared with them."""

import hashlib
import json
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


class MismatchError(AssertionError):
    """A case that can't be read, or whose values are not ours; the message is all that is printed."""


class Case:
    """One case, NAME.json and NAME.safetensors in a folder.

    Attributes:
        name: NAME.
        data: the JSON.
        checked: the names of the values that were compared.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.checked = folder, name, []
        try:
            self.data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MismatchError(f"{name}.json can't be read: {error}") from error
        if not isinstance(self.data, dict) or not isinstance(self.data.get("method"), str):
            raise MismatchError(f"{name}.json names no method")

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        path = self.folder / f"{self.name}.safetensors"
        try:
            found = load_file(path)
        except Exception as error:  # missing, cut off, or no such file at all
            raise MismatchError(f"{path.name} can't be read: {error}") from error
        stated = self.data.get("tensors_sha256")
        if stated and stated not in (hashlib.sha256(path.read_bytes()).hexdigest(), _hash(found)):
            raise MismatchError(f"{path.name} isn't the file that the JSON's tensors_sha256 names")
        return found

    def tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise MismatchError(f"there is no tensor {name}")
        return self.tensors[name]

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix/`, without it."""
        start = f"{prefix}/"
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}

    def value(self, *path: str):
        """A value of the JSON, by the names that lead to it."""
        found = self.data
        for key in path:
            if not isinstance(found, dict) or key not in found:
                raise MismatchError(f"the JSON has no {'.'.join(path)}")
            found = found[key]
        return found

    def params(self, *known: str) -> dict:
        """The hyperparameters; one that the check doesn't know would change nothing, so it fails."""
        params = self.value("params")
        unknown = sorted(set(params) - set(known))
        if unknown:
            raise MismatchError(f"unknown params: {', '.join(unknown)} (known: {', '.join(known)})")
        return params

    def equal(self, what: str, ours, theirs=None) -> None:
        """Ids, counts and tokens: exactly those of the tensor `what`, or `theirs`."""
        self.checked.append(what)
        theirs = self.tensor(what) if theirs is None else theirs
        ours, theirs = (x.tolist() if isinstance(x, Tensor) else x for x in (ours, theirs))
        if ours != theirs:
            raise MismatchError(f"{what} differ: {_short(ours)} is not the official {_short(theirs)}")

    def close(self, what: str, ours: Tensor, theirs: Tensor | None = None, atol=1e-4, rtol=0.0) -> None:
        """Scores, tokens and logits: within `atol` of the tensor `what`, or of `theirs`."""
        self.checked.append(what)
        theirs = self.tensor(what) if theirs is None else theirs
        if ours.shape != theirs.shape:
            raise MismatchError(
                f"{what} have the shape {list(ours.shape)}, the official ones {list(theirs.shape)}"
            )
        if not torch.allclose(ours.detach().float(), theirs.float(), rtol=rtol, atol=atol):
            gap = (ours.detach().float() - theirs.float()).abs().max()
            raise MismatchError(f"{what} differ by up to {gap:.3g}, more than {atol:g}")

    def close_if_told(self, what: str, ours: Tensor, **tolerance) -> None:
        """As `close`, of a tensor that a case may leave out."""
        if what in self.tensors:
            self.close(what, ours, **tolerance)


def _hash(tensors: dict[str, Tensor]) -> str:
    """The hash of the names and contents by name, as the first cases state it."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _short(value, most: int = 90) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."
