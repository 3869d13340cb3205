"""The values of a training config, checked one by one. Needs no torch."""

from typing import Any

from pdrop_eval.models.family import PARTS
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.named import check_named
from pdrop_eval.run.train.config.spec import PhaseSpec, TrainSpec
from pdrop_eval.utils.distributed import world_size
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, check_whole

PHASES = ("pretrain", "instruct")
TEMPLATES = ("plain", "checkpoint", "vicuna")
ON_LONG = ("stop", "skip", "truncate")
SCHEDULES = ("cosine", "linear", "constant")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LARGEST_SEED = 2**32 - 1


def check_settings(config: TrainSpec) -> None:
    """Raises UserError with the value, what is allowed and the fix."""
    check_named(config.model, config.strategy, trained=True)
    names = list(config.phases)
    if not names or names != [name for name in PHASES if name in names]:
        raise UserError(
            f"phases={names} is not allowed. Use [pretrain,instruct], in this order, or one of them alone."
        )
    check_choice("device", config.device, ("auto", "cpu", "cuda"), "One GPU: CUDA_VISIBLE_DEVICES=1.")
    check_choice("dtype", config.dtype, ("bfloat16", "float32"))
    check_choice("save_dtype", config.save_dtype, ("bfloat16", "float32"))
    check_choice("attention", config.attention, checks.ATTENTIONS)
    check_choice("on_error", config.on_error, ("stop", "skip"))
    if config.on_long is not None:
        check_choice("on_long", config.on_long, ON_LONG, "Use null for what on_error says.")
    for name, least in (("seed", 0), ("workers", 0), ("save_every", 1), ("keep", 2), ("log_every", 1)):
        check_whole(name, getattr(config, name), least)
    if config.seed > _LARGEST_SEED:
        raise UserError(f"seed={config.seed} is not allowed: it must be at most {_LARGEST_SEED}.")
    if config.threads is not None:
        check_whole("threads", config.threads, 1, "Use null for the model's setting.")
    config.strategy.check()
    config.strategy.check_trains()
    _check_lora(config)
    _check_adapter(config)
    for name in names:
        _check_phase(f"recipe.{name}", config.phase(name))


def _check_lora(config: TrainSpec) -> None:
    lora = config.lora
    if lora.rank is None:
        return
    check_whole("lora.rank", lora.rank, 1, "Use null to train the decoder's own weights.")
    _check_number("lora.alpha", lora.alpha, 0, None, open_low=True)
    _check_number("lora.dropout", lora.dropout, 0, 1)
    if not lora.target:
        raise UserError(f"lora.target=[] adapts nothing. Name some of {', '.join(_PROJECTIONS)}.")
    for name in lora.target:
        check_choice("lora.target", name, _PROJECTIONS)
    if config.distributed.sharded:
        raise UserError(
            f"lora.rank={lora.rank} with distributed={config.distributed.name} is not supported: adapters "
            "can't be merged into weights that are shared out. Use distributed=none, for which LoRA leaves "
            "enough memory, or lora.rank=null."
        )


def _check_adapter(config: TrainSpec) -> None:
    """A training starts from whole weights, with an adapter merged into them while they are read."""
    model = config.model
    if model.adapter is None:
        return
    if not model.merge_adapter:
        raise UserError(
            f"model.merge_adapter=false leaves model.adapter={model.adapter} beside the weights, where a "
            "training would keep it as it is. Use model.merge_adapter=true: the training then starts from "
            "the merged weights. To train a new adapter on them, add lora.rank=128."
        )
    if config.distributed.sharded:
        raise UserError(
            f"model.adapter={model.adapter} with distributed={config.distributed.name} is not supported: it "
            "can't be merged into weights that are shared out while they are read. Merge it into its base "
            "model with peft first, and give the result as model.pretrained=<folder>, or use "
            "distributed=none."
        )


def _check_phase(where: str, settings: PhaseSpec) -> None:
    if not settings.files:
        raise UserError(f"{where}.files=[] names no data. Give files in LLaVA's format.")
    check_choice(f"{where}.template", settings.template, TEMPLATES)
    check_choice(f"{where}.schedule", settings.schedule, SCHEDULES)
    for part in settings.train:
        check_choice(f"part in {where}.train", part, PARTS)
    if not settings.train:
        raise UserError(f"{where}.train=[] trains nothing. Name some parts: {', '.join(PARTS)}.")
    for name in ("batch_size", "per_device_batch", "max_length"):
        check_whole(f"{where}.{name}", getattr(settings, name), 1)
    if settings.steps is not None:
        check_whole(f"{where}.steps", settings.steps, 1, "Use null to train for `epochs`.")
    share = settings.per_device_batch * world_size()
    if settings.batch_size % share:
        raise UserError(
            f"{where}.batch_size={settings.batch_size} samples a step can't be shared by {world_size()} "
            f"process(es) in batches of {settings.per_device_batch}. Use a multiple of {share}, or another "
            f"{where}.per_device_batch."
        )
    _check_number(f"{where}.learning_rate", settings.learning_rate, 0, 1, open_low=True)
    for name in ("projector_learning_rate", "vision_learning_rate"):
        if getattr(settings, name) is not None:
            _check_number(f"{where}.{name}", getattr(settings, name), 0, 1, open_low=True)
    _check_number(f"{where}.epochs", settings.epochs, 0, None, open_low=True)
    _check_number(f"{where}.warmup_ratio", settings.warmup_ratio, 0, 1)
    _check_number(f"{where}.weight_decay", settings.weight_decay, 0, None)
    _check_number(f"{where}.max_grad_norm", settings.max_grad_norm, 0, None)
    if len(settings.betas) != 2:
        raise UserError(f"{where}.betas={list(settings.betas)} is not allowed. Give two: [0.9,0.999].")
    for beta in settings.betas:
        _check_number(f"{where}.betas", beta, 0, 1)


def _check_number(name: str, value: Any, low: float, high: float | None, open_low: bool = False) -> None:
    """Raises UserError unless low <= value < high; low itself is out with `open_low`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (low < value if open_low else low <= value) and (high is None or value < high):
        return
    bound = f"{'above' if open_low else 'at least'} {low}" + ("" if high is None else f" and below {high}")
    raise UserError(f"{name}={value} is not allowed: it must be a number {bound}.")
