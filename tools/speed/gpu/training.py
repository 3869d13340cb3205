"""Training steps at 7B width: time and peak beside what the dry run estimates; FSDP2 in a world of one."""

import gc
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pdrop_eval.run.bench.work import Work
from pdrop_eval.run.train.estimate.cost import architecture_of
from pdrop_eval.run.train.estimate.memory import Sharing, step_memory
from pdrop_eval.run.train.trainer import choose_parts
from tools.speed.gpu.ground import Ground

_STEPS = 3
_TRAIN = ("projector", "decoder")


def training(ground: Ground) -> dict[str, Any]:
    """Three steps in bfloat16 autocast with weights in float32, with gradient checkpointing and without."""
    work = ground.small(layers=2, strategies=("vanilla", "pdrop"))
    found: dict[str, Any] = {"layers": 2, "steps": _STEPS, "ways": {}}
    for checkpointing in (True, False):
        for label in work.strategies:
            way = f"{label}, {'with' if checkpointing else 'without'} gradient checkpointing"
            found["ways"][way] = _steps(ground, work, label, checkpointing)
            ground.keep(found)
    found["fsdp"] = _sharded(ground, work)
    return found


def _model(ground: Ground, work: Work, checkpointing: bool) -> Any:
    model = ground.build(work).float().train()
    choose_parts(model, _TRAIN)
    if checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.disable_input_require_grads()
    return model


def _batch(ground: Ground, work: Work) -> dict[str, Any]:
    batch, mask = ground.padded(work, 2)
    labels = torch.full_like(batch.whole["input_ids"], -100)
    labels[:, -4:] = batch.whole["input_ids"][:, -4:]
    return {**batch.whole, "attention_mask": mask, "labels": labels}


def _steps(ground: Ground, work: Work, label: str, checkpointing: bool) -> dict[str, Any]:
    gc.collect()  # the model before this one
    ground.cuda.empty_cache()
    model, batch = _model(ground, work, checkpointing), _batch(ground, work)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5)
    seconds, losses = [], []
    ground.cuda.reset_peak_memory_stats()
    with work.strategies[label](model):
        for _ in range(_STEPS):
            start = time.perf_counter()
            losses.append(_step(ground, model, batch, optimizer))
            seconds.append(time.perf_counter() - start)
    return {
        "seconds": min(seconds),
        "losses": losses,
        "peak_bytes": ground.cuda.max_memory_allocated(),
        "estimated_bytes": _estimated(work, label, model, checkpointing),
    }


def _step(ground: Ground, model: Any, batch: dict[str, Any], optimizer: Any) -> float:
    with torch.autocast(ground.device, torch.bfloat16):
        loss = model(**batch, use_cache=False).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    ground.cuda.synchronize()
    return float(loss.detach())


def _estimated(work: Work, label: str, model: Any, checkpointing: bool) -> float:
    """What the dry run says of such a step."""
    strategy, sample = work.strategies[label], work.sample
    layers = work.config.get_text_config().num_hidden_layers
    tokens = strategy.schedule(layers, sample.image_tokens)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    memory = step_memory(
        architecture_of(work.config), Sharing("none", 1),
        sum(n for n, learns in sizes if learns), sum(n for n, learns in sizes if not learns),
        tokens=[2 * (n + sample.text_tokens) for n in tokens], tiles=2 * sample.tiles, train=_TRAIN,
        checkpointing=checkpointing, dtype="bfloat16",
    )  # fmt: skip
    return memory.total


def _sharded(ground: Ground, work: Work) -> dict[str, Any]:
    """One step of PDrop with FSDP2, whose hooks are on the same layers, against one without it."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    batch, losses = _batch(ground, work), {}
    with TemporaryDirectory() as scratch:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        distributed.init_process_group(
            "gloo" if ground.tiny else "nccl", init_method=f"file://{Path(scratch) / 'meeting'}",
            rank=0, world_size=1,
        )  # fmt: skip
        try:
            for way in ("plain", "fsdp2"):
                model = _model(ground, work, checkpointing=False)
                if way == "fsdp2":
                    mesh = init_device_mesh(ground.device, (1,))
                    for layer in model.get_decoder().layers:
                        fully_shard(layer, mesh=mesh)
                    fully_shard(model, mesh=mesh)
                optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
                with work.strategies["pdrop"](model):
                    losses[way] = [_step(ground, model, batch, optimizer) for _ in range(2)]
        finally:
            distributed.destroy_process_group()
    return {"losses": losses}
