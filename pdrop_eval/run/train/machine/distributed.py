"""How processes share a model: the choices of `conf/distributed`, for the Trainer. Needs no torch."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pdrop_eval.run.train.config.spec import DistributedSpec
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text
from pdrop_eval.utils.paths import CONF

_FOLDER = CONF / "distributed"


def arguments(distributed: DistributedSpec, on_gpu: bool = True) -> dict[str, Any]:
    """Return the Trainer's arguments `deepspeed`, `fsdp` and `fsdp_config`.

    Raises:
        UserError: what can't be there: no package, no GPU, no torchrun, a file that is none.
    """
    if distributed.deepspeed and distributed.fsdp:
        raise UserError(
            "distributed.deepspeed and distributed.fsdp are two ways to share a model: use one of "
            "distributed=none, zero2, zero3, fsdp."
        )
    if distributed.deepspeed and find_spec("deepspeed") is None:
        raise UserError(
            f"distributed={distributed.name} needs the package deepspeed. Install it: pip install "
            "'pdrop-eval[deepspeed]'. Or use distributed=fsdp, which needs nothing more."
        )
    if distributed.sharded and not on_gpu:
        # accelerate would say nothing and give every process the whole model
        raise UserError(
            f"distributed={distributed.name} needs GPUs: on the CPU nothing is shared out. Use "
            "distributed=none."
        )
    if distributed.sharded and "RANK" not in os.environ:
        raise UserError(
            f"distributed={distributed.name} shares a model among processes, and this is one alone. Start "
            "them: torchrun --nproc_per_node=8 --no-python pdrop-eval-train ..."
        )
    return {
        "deepspeed": deepspeed_config(distributed.deepspeed) if distributed.deepspeed else None,
        "fsdp": distributed.fsdp,
        "fsdp_config": dict(distributed.fsdp_config) if distributed.fsdp else None,
    }


def deepspeed_config(name: str) -> dict[str, Any]:
    """Read a DeepSpeed JSON file: a path, or the name of one in `conf/distributed`. Raises UserError."""
    own = Path(name).expanduser()
    path = own if own.is_file() else _FOLDER / name
    if not path.is_file():
        known = ", ".join(sorted(file.name for file in _FOLDER.glob("*.json")))
        raise UserError(
            f"distributed.deepspeed={name} is no file. Give a path to a DeepSpeed JSON file, or one "
            f"of {known}."
        )
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is no valid JSON ({error}). Fix it, or use zero2.json or zero3.json."
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object, which a DeepSpeed configuration is.")
    return found


def sharding(distributed: DistributedSpec) -> tuple[bool, bool, bool]:
    """Return whether weights, gradients and optimizer states are sharded over the devices."""
    if distributed.fsdp:
        return True, True, True
    if not distributed.deepspeed:
        return False, False, False
    stage = int(deepspeed_config(distributed.deepspeed).get("zero_optimization", {}).get("stage", 0))
    return stage >= 3, stage >= 2, stage >= 1
