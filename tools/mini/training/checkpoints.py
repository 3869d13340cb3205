"""Training checkpoints: tensors in safetensors, the rest in JSON, replaced as one by renaming a folder."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def save_state(folder: Path, progress: dict, modules: dict, optimizers: list[torch.optim.Optimizer]) -> None:
    """Write the checkpoint `<folder>/last`; the one before stays until the new one is whole."""
    new, last, old = (folder / name for name in ("last.new", "last", "last.old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name, module in modules.items():
        save_file(
            {k: v.contiguous().clone() for k, v in module.state_dict().items()}, new / f"{name}.safetensors"
        )
    for i, optimizer in enumerate(optimizers):
        tensors: dict[str, torch.Tensor] = {}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{index}.{key}": torch.as_tensor(value).clone() for key, value in state.items()}
        save_file(tensors, new / f"optimizer{i}.safetensors")
    (new / "progress.json").write_text(json.dumps(progress))
    shutil.rmtree(old, ignore_errors=True)
    if last.exists():
        os.replace(last, old)
    os.replace(new, last)


def load_state(folder: Path) -> dict | None:
    """The last whole checkpoint: its progress, `modules` and `optimizers`; None if there is none."""
    found = [folder / name for name in ("last", "last.old") if (folder / name / "progress.json").exists()]
    if not found:
        return None
    state = json.loads((found[0] / "progress.json").read_text())
    state["modules"] = {name: load_file(found[0] / f"{name}.safetensors") for name in ("model", "heads")}
    state["optimizers"] = []
    for path in sorted(found[0].glob("optimizer*.safetensors")):
        per_weight: dict[int, dict] = {}
        for key, tensor in load_file(path).items():
            index, name = key.split(".", 1)
            per_weight.setdefault(int(index), {})[name] = tensor
        state["optimizers"].append(per_weight)
    return state
