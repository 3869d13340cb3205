"""The record of a training: what made a checkpoint and what it cost. Tables read their hours from it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pdrop_eval.models.loading.adapter import recorded
from pdrop_eval.models.loading.gpu import recorded_backends
from pdrop_eval.run.train.data.loader import GroupedSampler
from pdrop_eval.run.train.data.samples import Sample
from pdrop_eval.run.train.estimate.cost import architecture_of, training_flops
from pdrop_eval.run.train.plan import RECORD, Phase, TrainingPlan
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.distributed import world_size
from pdrop_eval.utils.files import write_atomically

SCHEMA = 1


def phase_record(
    plan: TrainingPlan, phase: Phase, strategy: Any, samples: Sequence[Sample], skipped: dict[str, int],
    trainer: Any, clock: Any, model_config: Any,
) -> dict[str, Any]:  # fmt: skip
    """What one finished phase did and cost. device_hours: devices x wall time, over all interruptions."""
    seen = trainer.state.global_step * phase.settings.batch_size
    an_epoch = len(GroupedSampler(samples, phase.settings.batch_size, plan.config.seed))
    devices = world_size()
    on_gpu = trainer.args.device.type == "cuda"
    machine = provenance.hardware()
    return {
        "name": phase.name,
        "identity": plan.identity(phase),
        "steps": trainer.state.global_step,
        "epochs": round(seen / an_epoch, 4),
        "samples": seen,
        "left_out_of_an_epoch": len(samples) - an_epoch,
        "skipped": skipped,
        "truncated": sum(sample.cut > 0 for sample in samples),
        "data": phase.data,
        "hyperparameters": phase.settings.to_dict(),
        "seed": plan.config.seed,
        "loss": last_loss(trainer.state.log_history),
        "losses": [[e["step"], e["loss"]] for e in trainer.state.log_history if "loss" in e],
        "devices": devices,
        "device": "GPU" if on_gpu else "CPU",
        "hardware": machine["gpus"][0]
        if on_gpu
        else f"{machine['cpu']}, {trainer_threads()} thread(s) a process",
        "wall_hours": clock.seconds["wall"] / 3600,
        "device_hours": clock.seconds["devices"] / 3600,
        "cpu_hours": clock.seconds["cpu"] / 3600,
        "resumed": clock.resumed,
        "flops": mean_cost(model_config, strategy, samples, phase.settings, plan.config, seen),
        "versions": provenance.package_versions(),
        "code": provenance.code_identity(),
        "dtype": plan.config.dtype,
        **recorded_backends(trainer.args.device.type),
    }


def trainer_threads() -> int:
    """The threads that torch computes with."""
    import torch

    return torch.get_num_threads()


def last_loss(history: Sequence[dict[str, Any]], entries: int = 5) -> float:
    """The mean of the last logged losses, per answer token."""
    losses = [entry["loss"] for entry in history if "loss" in entry][-entries:]
    return sum(losses) / len(losses)


def mean_cost(
    model_config: Any, strategy: Any, samples: Sequence[Sample], settings: Any, config: Any, seen: int
) -> dict[str, Any]:
    """Theoretical FLOPs of the phase: the mean of its samples times how many were seen."""
    sizes = architecture_of(model_config)
    shapes = Counter((sum(s.image_tokens), s.length - sum(s.image_tokens)) for s in samples)
    totals: dict[str, float] = {}
    words = {}
    for (image, text), count in shapes.items():
        cost = asdict(
            training_flops(
                sizes, strategy, image, text,
                train=list(settings.train), checkpointing=bool(config.gradient_checkpointing),
                lora_rank=config.lora.rank or 0,
            )
        )  # fmt: skip
        for key, value in cost.items():
            if isinstance(value, int | float):
                totals[key] = totals.get(key, 0) + value * count
            else:
                words[key] = value
    return {**{key: value / len(samples) * seen for key, value in totals.items()}, **words}


def write_record(plan: TrainingPlan, records: Sequence[dict[str, Any]], strategy: Any) -> dict[str, Any]:
    """Write the record of all phases beside the model; returns it."""
    gpu = any(record["device"] == "GPU" for record in records)
    record = {
        "schema": SCHEMA,
        "name": plan.output.name,
        "strategy": {"name": plan.strategy, **strategy.settings()},
        "base": {
            "pretrained": plan.config.model.pretrained,
            "sha256": plan.start_sha256,
            "adapter": recorded(plan.adapter),
        },
        "phases": list(records),
        "device_hours": sum(r["device_hours"] for r in records),
        "device_label": "GPU hours" if gpu else "CPU hours",
        "training_flops": sum(r["flops"]["image_tokens"] for r in records),
        "seed": plan.config.seed,
    }
    write_atomically(plan.output / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record
