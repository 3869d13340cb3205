"""One training from its plan to the model on disk."""

import gc
import hashlib
import json
from pathlib import Path
from typing import Any

from pdrop_eval.engine.interface import check_trains
from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.run.train.machine import distributed
from pdrop_eval.run.train.machine.agreement import in_common
from pdrop_eval.run.train.machine.disk import writing_to_disk
from pdrop_eval.run.train.plan import PHASE_RECORD, Phase, TrainingPlan, read_phase
from pdrop_eval.utils.distributed import check_same, rank, world_size
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import Lock, write_atomically
from pdrop_eval.utils.terminal.log import log_rank_zero


def train(plan: TrainingPlan) -> dict[str, Any]:
    """Run what is left of a training; returns its record. Raises UserError."""
    with writing_to_disk(plan.output):
        lock = Lock(plan.output) if rank() == 0 else None
        try:
            return _train(plan)
        finally:
            if lock is not None:
                lock.release()


def _train(plan: TrainingPlan) -> dict[str, Any]:
    from pdrop_eval.run.train.progress import check_identity
    from pdrop_eval.run.train.record import write_record

    if world_size() > 1:
        _arguments(plan, plan.phases[0])  # the Trainer's own way to connect the processes
        check_same(in_common(plan))
    strategy = plan.config.strategy.build()
    _check_strategy(plan, strategy)
    source: str | Path = plan.config.model.pretrained
    for phase in plan.phases:
        if phase.done:
            check_identity(read_phase(phase)["identity"], plan.identity(phase), phase.folder)
            log_rank_zero(f"Phase {phase.name}: done already.")
        else:
            _train_phase(plan, phase, strategy, source)
        source = phase.folder / "model"
    return write_record(plan, [read_phase(phase) for phase in plan.phases], strategy) if rank() == 0 else {}


def _check_strategy(plan: TrainingPlan, strategy: Any) -> None:
    """Refuse, before weights are read, a strategy that can't train or that the model's config rules out."""
    from transformers import AutoConfig

    from pdrop_eval.engine.before_decoder.fits import check_fits
    from pdrop_eval.models import families

    model = plan.config.model
    check_trains(strategy.name, getattr(strategy, "trains", True))
    config = AutoConfig.from_pretrained(
        str(resolve_checkpoint(model.pretrained)), revision=model.revision or "main",
        trust_remote_code=model.trust_remote_code,
    )  # fmt: skip
    family = families.multimodal_of(config)
    family.set_anyres(model.anyres, config)
    with plan.config.strategy.named():
        check_fits(family, config, strategy)


def _train_phase(plan: TrainingPlan, phase: Phase, strategy: Any, source: str | Path) -> None:
    import torch

    from pdrop_eval.run.train import models
    from pdrop_eval.run.train.data.phase_samples import phase_samples
    from pdrop_eval.run.train.progress import Clock, Lines, last_checkpoint
    from pdrop_eval.run.train.record import phase_record

    config = plan.config
    threads = config.threads or config.model.threads
    if threads and not _on_gpu(config):
        torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    arguments = _arguments(plan, phase)  # before the model: ZeRO-3 then shares it out while it is read
    adapter = None if plan.before(phase) else plan.adapter  # each later phase starts from a whole model
    start = models.load_start(source, config, phase.settings.template, adapter)
    samples, skipped = phase_samples(
        config, phase.name, phase.conversations, start.processor, start.fixed_tokens
    )
    skipped = {**phase.skipped, **skipped}
    # Text alone leaves the projector out, and the tower's last layers are mostly not used.
    text = any(not sample.image_tokens for sample in samples)
    arguments.ddp_find_unused_parameters = text or "vision" in phase.settings.train
    models.prepare(start.model, phase.settings, config)
    identity = {**plan.identity(phase), "samples": _samples_sha256(samples)}
    checkpoint, mark = last_checkpoint(phase.folder, identity)
    check_same({**identity, "checkpoint": checkpoint and checkpoint.name})
    clock = Clock(identity, mark)
    trainer = _trainer(phase, arguments, start, samples)
    trainer.add_callback(clock)
    trainer.add_callback(Lines(phase.name, clock))
    log_rank_zero(_opening(phase, samples, skipped, start.model, checkpoint))
    with writing_to_disk(phase.folder, _space(start.model, plan.config.save_dtype)):
        if checkpoint and trainer.is_last(checkpoint) and not config.distributed.sharded:
            clock.pause()  # nothing is left but to write the model
            trainer.take_up(checkpoint)
        else:
            with strategy(start.model):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        record = phase_record(plan, phase, strategy, samples, skipped, trainer, clock, start.model.config)
        _save(plan, phase, start, trainer)
    if rank() == 0:
        record["model_sha256"] = checkpoint_sha256(phase.folder / "model", None)
        text_of = json.dumps(record, indent=1, ensure_ascii=False)
        write_atomically(phase.folder / PHASE_RECORD, text_of)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.free_memory()
    del trainer
    gc.collect()


def _space(model: Any, save_dtype: str) -> int:
    """Bytes that a phase writes at once at most.

    A checkpoint has the weights in float32 and two states of Adam for each that learns; at the end, the
    phase's model in float32 and the training's are written.
    """
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    whole, learning = sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)
    return 4 * whole + max(8 * learning, (2 if save_dtype == "bfloat16" else 4) * whole)


def _samples_sha256(samples: list[Any]) -> str:
    """Of what is left of the data after skipping: with on_error=skip, a repaired image changes it."""
    whole = hashlib.sha256()
    for sample in samples:
        whole.update(f"{sample.conversation.file.name}:{sample.conversation.line}:{sample.length}\n".encode())
    return whole.hexdigest()


def _arguments(plan: TrainingPlan, phase: Phase) -> Any:
    from transformers import TrainingArguments
    from transformers.utils import logging

    config, settings = plan.config, phase.settings
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    arguments = TrainingArguments(
        output_dir=str(phase.folder),
        max_steps=settings.steps or -1,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.per_device_batch,
        gradient_accumulation_steps=settings.batch_size // (settings.per_device_batch * world_size()),
        learning_rate=settings.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        bf16=config.dtype == "bfloat16",
        use_cpu=not _on_gpu(config),
        seed=config.seed,
        save_steps=config.save_every,
        save_total_limit=config.keep,
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=config.workers,
        dataloader_drop_last=True,
        dataloader_pin_memory=_on_gpu(config),
        remove_unused_columns=False,
        label_names=["labels"],
        **distributed.arguments(config.distributed, _on_gpu(config)),
    )
    arguments._n_gpu = 1  # a process has one GPU: several without torchrun would change the batch
    return arguments


def _trainer(phase: Phase, arguments: Any, start: Any, samples: list[Any]) -> Any:
    from transformers.trainer_callback import PrinterCallback

    from pdrop_eval.run.train.data.loader import Collator, Samples
    from pdrop_eval.run.train.trainer import StrategyTrainer

    settings = phase.settings
    rates = {
        part: rate
        for part in ("projector", "vision")
        if (rate := getattr(settings, f"{part}_learning_rate")) is not None
    }
    trainer = StrategyTrainer(
        start.model,
        arguments,
        data_collator=Collator(start.processor),
        train_dataset=Samples(samples),
        rates=rates,
        global_batch=settings.batch_size,
        callbacks=[_tensorboard(phase.folder / "logs")],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _tensorboard(folder: Path) -> Any:
    from transformers.integrations import TensorBoardCallback

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "The package tensorboard is missing. Install: pip install 'pdrop-eval[train]'."
        ) from None
    return TensorBoardCallback(SummaryWriter(str(folder)) if rank() == 0 else None)


def _on_gpu(config: Any) -> bool:
    import torch

    if config.device == "auto":
        return torch.cuda.is_available()
    return str(config.device).startswith("cuda")


def _save(plan: TrainingPlan, phase: Phase, start: Any, trainer: Any) -> None:
    """Write the phase's model, and the last one's as the training's."""
    from pdrop_eval.run.train import models

    config, folder, last = plan.config, phase.folder / "model", phase is plan.phases[-1]
    if config.distributed.sharded:
        trainer.save_model(str(folder))  # by all processes: it gathers what is shared out
    if rank() == 0:
        whole = start
        if not config.distributed.sharded:
            if config.lora.rank is not None and "decoder" in phase.settings.train:
                models.merge_lora(start.model)
            models.save_model(start.model, start.processor, folder, "float32")
        else:
            models.save_processor(start.processor, folder)
            if last and config.distributed.deepspeed:
                from transformers.integrations.deepspeed import unset_hf_deepspeed_config

                unset_hf_deepspeed_config()  # else ZeRO-3 would share out what this process alone reads
            whole = models.load_start(folder, config) if last else start
        if last:
            models.save_model(whole.model, whole.processor, plan.output, config.save_dtype)
    trainer.accelerator.wait_for_everyone()


def _opening(phase: Phase, samples: list[Any], skipped: dict[str, int], model: Any, checkpoint: Any) -> str:
    learning = sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad)
    from pdrop_eval.run.train.data.loader import GroupedSampler

    left_out = f", {sum(skipped.values())} skipped ({skipped})" if skipped else ""
    cut = sum(sample.cut > 0 for sample in samples)
    left_out += f", {cut} cut at max_length={phase.settings.max_length}" if cut else ""
    rest = len(samples) - len(GroupedSampler(samples, phase.settings.batch_size, 0))
    left_out += f", {rest} of each epoch left out because they fill no batch" if rest else ""
    going_on = f"; going on from {checkpoint.name}" if checkpoint else ""
    return (
        f"Phase {phase.name}: {len(samples)} conversations{left_out}, {learning / 1e6:.2f}M parameters learn "
        f"({', '.join(phase.settings.train)}){going_on}"
    )
