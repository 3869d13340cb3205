"""`pdrop-eval-train dry_run=true`: what a training would take, without training or downloading anything.

The model is built on the meta device, from its checkpoint's config.json where there is one and else from the
published sizes. Data that are there are read and checked as for training.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from pdrop_eval.efficiency.schedules import schedule_of
from pdrop_eval.engine.before_decoder.fits import check_fits
from pdrop_eval.engine.interface import check_trains
from pdrop_eval.models import families
from pdrop_eval.models.loading.adapter import check_adapter, is_on_hub
from pdrop_eval.models.loading.checkpoint import (
    MissingCheckpointError,
    check_checkpoint,
    check_trainable,
    resolve_checkpoint,
)
from pdrop_eval.models.loading.load import prepare
from pdrop_eval.run.evaluate.header import nominal_image_tokens
from pdrop_eval.run.train.config.settings import PARTS, check_settings
from pdrop_eval.run.train.config.spec import LoraSpec, TrainSpec
from pdrop_eval.run.train.data.conversations import read_conversations
from pdrop_eval.run.train.data.loader import GroupedSampler
from pdrop_eval.run.train.data.phase_samples import phase_samples
from pdrop_eval.run.train.estimate.cost import Architecture, Cost, architecture_of, training_flops
from pdrop_eval.run.train.estimate.memory import Sharing, step_memory
from pdrop_eval.run.train.estimate.phase import Data, DryRun, PhaseEstimate
from pdrop_eval.run.train.machine.distributed import sharding
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.strategies.vanilla import Vanilla
from pdrop_eval.utils.distributed import world_size
from pdrop_eval.utils.errors import UserError

# Conversations of published files, to count steps where a file isn't there. The last is a round number.
PUBLISHED_COUNTS = {
    "blip_laion_cc_sbu_558k.json": 558_128,
    "llava_v1_5_mix665k.json": 665_298,
    "open-llava-next_instruct_mix1M.json": 1_000_000,
}
# Text tokens of a sample where there is no tokenizer to count them: a caption, a conversation.
ASSUMED_TEXT = {"plain": 20}
ASSUMED_CONVERSATION = 250
_LONGEST_CAPTION = 64


def dry_run(config: TrainSpec) -> DryRun:
    """Estimate what a training takes, and check its data.

    Raises:
        UserError: wrong settings, a strategy that doesn't fit the model, data that are there and wrong.
    """
    check_settings(config)
    if not is_on_hub(config.model.adapter):  # merged into the weights, it changes no estimate
        check_adapter(config.model.adapter, config.model.adapter_revision)
    chosen = config.strategy.build()
    check_trains(chosen.name, getattr(chosen, "trains", True))
    source, model_config = _model_config(config.model, config.strategy.name != VANILLA)
    with config.strategy.named():
        check_fits(families.multimodal_of(model_config), model_config, chosen)
    sizes = architecture_of(model_config)
    nominal = nominal_image_tokens(model_config)
    parts, adapters = count_parameters(model_config, config.lora)
    weights, gradients, optimizer = sharding(config.distributed)
    kind = "fsdp" if config.distributed.fsdp else "deepspeed" if config.distributed.deepspeed else "none"
    devices = world_size() if world_size() > 1 else config.recipe.devices or 1
    sharing = Sharing(kind, devices, weights, gradients, optimizer)
    processor = _processor(config) if isinstance(source, Path) else None
    fixed = families.multimodal_of(model_config).fixed_image_tokens(model_config)
    phases = []
    for name in config.phases:
        data = _data(config, name, processor, fixed, nominal)
        phases.append(_estimate(config, name, chosen, sizes, parts, adapters, sharing, data))
    where = f"the checkpoint {source}" if isinstance(source, Path) else f"the published sizes of {source}"
    return DryRun(
        where,
        parts,
        config.strategy.preset,
        schedule_of(chosen, sizes.layers, nominal, sizes.tile_tokens),
        sharing,
        config.gradient_checkpointing,
        config.dtype,
        tuple(phases),
    )


def count_parameters(model_config: Any, lora: LoraSpec | None = None) -> tuple[dict[str, int], int]:
    """Return the parameters of each part of a model, and those of LoRA adapters on it; loads nothing."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(model_config)
    family, parts = families.multimodal_of(model_config), dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        parts[family.part_of(name)] += parameter.numel()
    adapters = 0
    if lora is not None and lora.rank is not None:
        for name, module in model.get_decoder().named_modules():
            if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in lora.target:
                adapters += lora.rank * (module.in_features + module.out_features)
    return parts, adapters


def _model_config(model: Any, drops: bool) -> tuple[Path | str, Any]:
    """The checkpoint's folder and its config; where it isn't here, the published model's name and sizes."""
    published = families.published_name(model.architecture, model.size)
    try:
        source = resolve_checkpoint(model.pretrained)
    except MissingCheckpointError:
        if published is None:
            raise
        source = model.pretrained
    if isinstance(source, Path):
        check_checkpoint(model.pretrained, None, model.trust_remote_code, drops)
        found = AutoConfig.from_pretrained(source)
        check_trainable(families.type_of(found))
    elif published is not None:
        found = families.published_config(published)
        source = model.architecture
    else:
        raise UserError(
            f"The sizes of {model.pretrained} aren't known without loading it. Give a folder with its "
            "config.json as model.pretrained=<folder>."
        )
    families.multimodal_of(found).set_anyres(model.anyres, found)
    return source, found


def _processor(config: TrainSpec) -> Any:
    """The checkpoint's processor, tried as for training."""
    model = config.model
    templates = [config.phase(name).template for name in config.phases]
    template = "checkpoint" if "checkpoint" in templates else None
    return prepare(
        model.pretrained, model.revision, model.trust_remote_code, model.anyres, template
    ).processor


def _data(config: TrainSpec, name: str, processor: Any, fixed: int | None, nominal: int) -> Data:
    """Read and check the data of a phase, as far as they are there."""
    settings = config.phase(name)
    files = [Path(file) for file in settings.files]
    images = None if settings.images is None else Path(settings.images)
    missing = [str(path) for path in (*files, images) if path is not None and not path.exists()]
    if missing:
        known = [PUBLISHED_COUNTS.get(file.name) for file in files]
        count = None if None in known else sum(n for n in known if n is not None)
        return _unread(settings, count, "as published", {}, nominal, tuple(missing))
    conversations, skipped = read_conversations(files, images, config.on_error)
    if processor is None:
        if len(conversations) < settings.batch_size:
            raise UserError(
                f"The phase {name} has {len(conversations)} conversations, which don't fill one batch of "
                f"{settings.batch_size}. Give more data, or set a smaller recipe.{name}.batch_size."
            )
        return _unread(settings, len(conversations), "read", skipped, nominal, ())
    samples, more = phase_samples(config, name, conversations, processor, fixed)
    shapes = Counter((sum(s.image_tokens), s.length - sum(s.image_tokens)) for s in samples)
    steps = len(GroupedSampler(samples, settings.batch_size, config.seed)) // settings.batch_size
    left_out, cut = skipped | more, sum(sample.cut > 0 for sample in samples)
    return Data((), len(conversations), "read", left_out, steps, shapes, max(shapes, key=sum), cut)


def _unread(
    settings: Any,
    count: int | None,
    counted: str,
    skipped: Mapping[str, int],
    nominal: int,
    missing: tuple[str, ...],
) -> Data:
    """What is assumed of samples where there is no tokenizer or no file."""
    text = ASSUMED_TEXT.get(settings.template, ASSUMED_CONVERSATION)
    longest = _LONGEST_CAPTION if settings.template == "plain" else max(settings.max_length - nominal, text)
    steps = None if count is None else count // settings.batch_size
    return Data(missing, count, counted, skipped, steps, Counter({(nominal, text): 1}), (nominal, longest))


def _estimate(
    config: TrainSpec,
    name: str,
    strategy: Any,
    sizes: Architecture,
    parts: Mapping[str, int],
    adapters: int,
    sharing: Sharing,
    data: Data,
) -> PhaseEstimate:
    settings = config.phase(name)
    train = tuple(settings.train)
    lora = config.lora.rank if "decoder" in train else None
    learning = sum(adapters if part == "decoder" and lora else parts[part] for part in train)
    whole = sum(parts.values()) + (adapters if lora else 0)
    checkpointing = config.gradient_checkpointing
    own, vanilla = (
        _mean_cost(sizes, s, data.shapes, train, checkpointing, lora) for s in (strategy, Vanilla())
    )
    rows, (image, text) = settings.per_device_batch, data.longest
    memory = step_memory(
        sizes,
        sharing,
        learning,
        whole - learning,
        tokens=[rows * (n + text) for n in schedule_of(strategy, sizes.layers, image, sizes.tile_tokens)],
        tiles=rows * max(1, round(image / sizes.tile_tokens)) if image else 0,
        train=train,
        checkpointing=checkpointing,
        dtype=config.dtype,
    )
    steps = settings.steps
    if steps is None and data.steps is not None:
        steps = int(data.steps * settings.epochs)
    batch = (settings.batch_size, settings.per_device_batch)
    return PhaseEstimate(name, train, lora, learning, batch, steps, data, own, vanilla, memory)


def _mean_cost(
    sizes: Architecture,
    strategy: Any,
    shapes: Counter[tuple[int, int]],
    train: tuple[str, ...],
    checkpointing: bool,
    lora: int | None,
) -> Cost:
    total = Cost(0, 0, "")
    for (image, text), count in shapes.items():
        one = training_flops(
            sizes, strategy, image, text, train=train, checkpointing=checkpointing, lora_rank=lora
        )
        total = Cost(0, 0, one.convention) + total + one * count
    n = shapes.total()
    return Cost(round(total.image_tokens / n), round(total.all_tokens / n), total.convention)
