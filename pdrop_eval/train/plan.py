"""What a training command asks for, checked before torch is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pdrop_eval import checks
from pdrop_eval.anyres import check_anyres
from pdrop_eval.configs import check_choice
from pdrop_eval.errors import UserError
from pdrop_eval.identity import checkpoint_sha256, file_sha256
from pdrop_eval.parallel import world_size
from pdrop_eval.train.conversations import Conversation, read_conversations

PHASES = ("pretrain", "instruct")
PARTS = ("vision", "projector", "decoder")
TEMPLATES = ("plain", "checkpoint", "vicuna")
SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class Phase:
    """One phase: its settings, and its data as far as they can be read without a tokenizer."""

    name: str
    settings: Any
    folder: Path
    conversations: list[Conversation]
    skipped: dict[str, int]
    data: list[dict[str, Any]]

    @property
    def done(self) -> bool:
        """Whether the phase's model and its record are there."""
        return (self.folder / "phase_record.json").is_file()


@dataclass(frozen=True)
class TrainingPlan:
    """A validated training config, and what was found out on the way."""

    config: DictConfig
    strategy: str
    output: Path
    start_sha256: str
    phases: list[Phase]

    def identity(self, phase: Phase) -> dict[str, Any]:
        """What decides a phase's weights, as far as it is known before torch: held against a checkpoint."""
        config = self.config
        return {
            "strategy": {"name": self.strategy, **plain(config.strategy)},
            "start": self.start_sha256,
            "phase": phase.name,
            "phases_before": [p.name for p in self.phases[: self.phases.index(phase)]],
            "settings": {k: v for k, v in plain(phase.settings).items() if k not in _ELSEWHERE},
            "data": [{k: entry[k] for k in ("file", "sha256")} for entry in phase.data],
            "seed": config.seed,
            "dtype": config.dtype,
            "lora": plain(config.lora),
            "anyres": plain(config.model.anyres),
            "on_error": config.on_error,
        }


_ELSEWHERE = ("files", "images", "per_device_batch")


def make_plan(config: DictConfig, strategy: str, read: bool = True) -> TrainingPlan:
    """Check a config and read its data. Raises UserError for what can't be right."""
    check_settings(config)
    output = Path(config.output or f"checkpoints/{config.recipe.name}_{strategy}")
    checks.check_results_folder(output)
    source = checks.resolve_checkpoint(config.model.pretrained)
    checkpoint = checks.check_checkpoint(config.model.pretrained, config.model.revision)
    check_anyres(config.model.anyres, checkpoint.config)
    start = checkpoint_sha256(source, config.model.revision)
    phases = [_phase(config, name, output, read) for name in config.phases]
    return TrainingPlan(config, strategy, output, start, phases)


def check_settings(config: DictConfig) -> None:
    """The plain values. Raises UserError with the value, what is allowed and the fix."""
    names = [config.phases] if isinstance(config.phases, str) else list(config.phases)
    if not names or names != [name for name in PHASES if name in names]:
        raise UserError(
            f"phases={names} is not allowed. Use [pretrain,instruct], in this order, or one of them alone."
        )
    config.phases = names
    check_choice("device", str(config.device).split(":")[0], ("auto", "cpu", "cuda"))
    check_choice("dtype", config.dtype, ("bfloat16", "float32"))
    check_choice("save_dtype", config.save_dtype, ("bfloat16", "float32"))
    check_choice("attention", config.attention, checks.ATTENTIONS)
    check_choice("on_error", config.on_error, ("stop", "skip"))
    for name, least in (("seed", 0), ("workers", 0), ("save_every", 1), ("keep", 2), ("log_every", 1)):
        checks.check_whole(name, config[name], least)
    if config.lora.rank is not None:
        checks.check_whole("lora.rank", config.lora.rank, 1, "Use null to train the decoder's own weights.")
    for name in names:
        _check_phase(f"recipe.{name}", config.recipe[name])


def _check_phase(where: str, settings: Any) -> None:
    check_choice(f"{where}.template", settings.template, TEMPLATES)
    check_choice(f"{where}.schedule", settings.schedule, SCHEDULES)
    for part in settings.train:
        check_choice(f"part in {where}.train", part, PARTS)
    if not settings.train:
        raise UserError(f"{where}.train=[] trains nothing. Name some parts: {', '.join(PARTS)}.")
    for name in ("batch_size", "per_device_batch", "max_length"):
        checks.check_whole(f"{where}.{name}", settings[name], 1)
    if settings.steps is not None:
        checks.check_whole(f"{where}.steps", settings.steps, 1, "Use null to train for `epochs`.")
    share = settings.per_device_batch * world_size()
    if settings.batch_size % share:
        raise UserError(
            f"{where}.batch_size={settings.batch_size} samples a step can't be shared by {world_size()} "
            f"process(es) in batches of {settings.per_device_batch}. Use a multiple of {share}, or another "
            f"{where}.per_device_batch."
        )
    for name in ("learning_rate", "projector_learning_rate", "vision_learning_rate"):
        rate = settings[name]
        if rate is not None and not (isinstance(rate, int | float) and 0 < rate < 1):
            raise UserError(
                f"{where}.{name}={rate} is not allowed. Use a number between 0 and 1, such as 2e-5."
            )


def _phase(config: DictConfig, name: str, output: Path, read: bool) -> Phase:
    settings = config.recipe[name]
    files = [Path(file) for file in settings.files]
    images = None if settings.images is None else Path(settings.images)
    conversations: list[Conversation] = []
    skipped: dict[str, int] = {}
    data: list[dict[str, Any]] = []
    if read:
        conversations, skipped = read_conversations(files, images, config.on_error)
        if not conversations:
            raise UserError(
                f"No conversation of {', '.join(map(str, files))} can be used for the phase {name}. "
                f"Give files that have some: recipe.{name}.files=[...]."
            )
        data = [
            {
                "file": file.name,
                "sha256": file_sha256(file),
                "conversations": sum(c.file == file for c in conversations),
            }
            for file in files
        ]
    return Phase(name, settings, output / name, conversations, skipped, data)


def plain(config: Any) -> Any:
    """A part of a config as plain lists and dicts; a plain value as it is."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
