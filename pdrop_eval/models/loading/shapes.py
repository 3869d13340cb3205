"""The weights of a checkpoint's files against its config.json, from the files' headers: nothing is loaded."""

import copy
import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_utils import set_zero3_state

from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.utils.errors import UserError

Shape = tuple[int, ...]
_MOST = 100 * 2**20  # bytes of a header, as the format has it
_DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
# Between releases of transformers these parts of a weight's name came, went and changed places.
_WRAPPERS = frozenset({"model", "language_model", "text_model", "vision_model"})


def outline(family: MultimodalFamily, config: Any) -> Any:
    """Return the model without weights, on the device that knows only shapes.

    DeepSpeed's ZeRO-3 may be waiting for the model of a training, to share it out among processes; not this.
    """
    plain = copy.deepcopy(config)
    plain._attn_implementation = (
        "eager"  # a config may name one that this machine hasn't; shapes are the same
    )
    with torch.random.fork_rng(devices=[]), torch.device("meta"), set_zero3_state():
        return family.load_class()(plain).eval()


def check_shapes(pretrained: str, files: Iterable[Path], family: MultimodalFamily, config: Any) -> None:
    """Refuse files whose weights aren't those of the model that config.json describes.

    transformers would first build that model, of whatever size, and then fill what is missing with random
    numbers, or leave out what is too much.

    Args:
        pretrained: the checkpoint as the user named it.
        files: those with its weights.
        family: its model family.
        config: its transformers config.

    Raises:
        UserError: with a weight that differs.
    """
    found = {_plain(name): shape for file in files for name, shape in read_shapes(file).items()}
    wanted = {_plain(name): tuple(part.shape) for name, part in outline(family, config).state_dict().items()}
    if not found.keys() & wanted.keys():
        raise UserError(
            f"None of the {len(found):,} weights of {pretrained} belongs to {family.display_name}; one is "
            f"called {min(found, default='nothing')}. They are not in transformers' own format: convert them "
            "(docs/checkpoints.md)."
        )
    wrong = [name for name in sorted(found.keys() & wanted.keys()) if found[name] != wanted[name]]
    if wrong:
        one = wrong[0]
        raise UserError(
            f"{len(wrong)} weights of {pretrained} have other sizes than its config.json says: {one} is "
            f"{_words(found[one])}, by config.json {_words(wanted[one])}. Use the config.json that was "
            "saved with these weights."
        )
    _check_layers(pretrained, found, wanted)


def _check_layers(pretrained: str, found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
    """Refuse layers too few or too many: weights that are there under another number only.

    What the files don't have under any number may be tied to another weight, or have had another name.
    """
    for some, others, said in (
        (wanted, found, "lacks {n} weights of its model, such as {one}. Is it complete?"),
        (found, wanted, "has {n} weights more than its config.json has a place for, such as {one}."),
    ):
        numbered = {_pattern(name) for name in others}
        left = sorted(name for name in some.keys() - others.keys() if _pattern(name) in numbered)
        if left:
            what = said.format(n=len(left), one=left[0])
            raise UserError(
                f"The checkpoint {pretrained} {what} Use the config.json and all files that were saved with "
                "these weights (num_hidden_layers says how many layers there are)."
            )


def read_shapes(path: Path) -> dict[str, Shape]:
    """Return the shapes of a safetensors file's weights by name, from its header.

    Raises:
        UserError: a file that is no such file, or not whole.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_MOST, path.stat().st_size - 8):
                raise ValueError("it has no header of a safetensors file")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        if path.stat().st_size < 8 + length + end:
            raise ValueError(f"it ends early, {8 + length + end:,} bytes are due")
        return {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
    except (*_DAMAGED, struct.error) as error:
        raise UserError(
            f"{path} can't be read as safetensors: {error}. Copy or download it again; a file of a few lines "
            "is a pointer of Git LFS (git lfs pull)."
        ) from error


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _pattern(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name)


def _words(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"
