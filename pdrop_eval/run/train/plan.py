"""What a training command asks for, checked before torch is imported."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.adapter import Adapter, check_adapter, is_on_hub, model_sha256
from pdrop_eval.models.loading.checkpoint import (
    check_anyres,
    check_checkpoint,
    check_device,
    check_trainable,
    resolve_checkpoint,
)
from pdrop_eval.models.loading.hub import hub_commit, set_offline
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.fits import check_model
from pdrop_eval.run.train.config.settings import check_settings
from pdrop_eval.run.train.config.spec import PhaseSpec, TrainSpec
from pdrop_eval.run.train.data.conversations import Conversation, read_conversations
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.code.versions import COMPUTE, check_versions
from pdrop_eval.utils.errors import UserError

RECORD = "training_record.json"
PHASE_RECORD = "phase_record.json"


@dataclass(frozen=True)
class Phase:
    """One phase: its settings, and its data as far as they can be read without a tokenizer."""

    name: str
    settings: PhaseSpec
    folder: Path
    conversations: list[Conversation]
    skipped: dict[str, int]
    data: list[dict[str, Any]]

    @property
    def done(self) -> bool:
        """Whether the phase's model and its record are there."""
        return (self.folder / PHASE_RECORD).is_file()


@dataclass(frozen=True)
class TrainingPlan:
    """Validated settings, and what was found out on the way.

    Attributes:
        start_sha256: of the weights that the training starts from, an adapter on them included.
        family: the name of the checkpoint's model family.
        adapter: what is merged into the checkpoint before the first phase.
    """

    config: TrainSpec
    output: Path
    start_sha256: str
    phases: list[Phase]
    family: str
    adapter: Adapter | None = None

    @property
    def strategy(self) -> str:
        """The strategy's name: that of its file."""
        return self.config.strategy.preset

    def before(self, phase: Phase) -> list[Phase]:
        """The phases that come before this one; they must be done when it begins."""
        return self.phases[: self.phases.index(phase)]

    def identity(self, phase: Phase) -> dict[str, Any]:
        """What decides a phase's weights, as far as it is known before torch: held against a checkpoint."""
        config, strategy = self.config, self.config.strategy
        return {
            "strategy": {"name": self.strategy, "_target_": strategy.target, **strategy.settings},
            "start": self.start_sha256,
            "phase": phase.name,
            "phases_before": [read_phase(p)["model_sha256"] for p in self.before(phase)],
            "settings": {k: v for k, v in phase.settings.to_dict().items() if k not in _ELSEWHERE},
            "data": [{k: entry[k] for k in ("file", "sha256")} for entry in phase.data],
            "seed": config.seed,
            "dtype": config.dtype,
            "lora": config.lora.to_dict(),
            "anyres": config.model.anyres,
            "on_error": config.on_error,
            "on_long": config.on_long,
        }


_ELSEWHERE = ("files", "images", "per_device_batch")


def make_plan(config: TrainSpec) -> TrainingPlan:
    """Check settings and read their data. Raises UserError for what can't be right."""
    check_versions(config.untested_packages, COMPUTE)
    check_settings(config)
    if config.device == "cuda":
        check_device("cuda")
    output = Path(config.output or f"checkpoints/{config.recipe.name}_{config.strategy.preset}")
    source = resolve_checkpoint(config.model.pretrained)
    _check_output(output, source, list(config.phases))
    set_offline(isinstance(source, Path) and not is_on_hub(config.model.adapter))
    checkpoint = check_checkpoint(
        config.model.pretrained, config.model.revision, config.model.trust_remote_code,
        config.strategy.name != VANILLA,
    )  # fmt: skip
    check_trainable(checkpoint.family)
    check_anyres(config.model.anyres, checkpoint.config)
    check_model(config.strategy, checkpoint, config.model.anyres)
    if not isinstance(source, Path):  # a branch may move while a training is interrupted
        commit = hub_commit(source, "model", config.model.revision)
        config = replace(config, model=replace(config.model, revision=commit))
    adapter = check_adapter(config.model.adapter, config.model.adapter_revision)
    start = model_sha256(checkpoint_sha256(source, config.model.revision), adapter)
    phases = [_phase(config, name, output) for name in config.phases]
    return TrainingPlan(config, output, start, phases, checkpoint.family, adapter)


def read_phase(phase: Phase) -> dict[str, Any]:
    """The record of a finished phase."""
    return json.loads((phase.folder / PHASE_RECORD).read_text(encoding="utf-8"))


def _check_output(output: Path, source: Path | str, phases: list[str]) -> None:
    """Nothing that another command has made is written over. Raises UserError."""
    own = "Give this training a folder of its own with output=<folder>"
    if isinstance(source, Path) and output.resolve() == source.resolve():
        raise UserError(
            f"output={output} is where the training starts from, which it would overwrite. {own}."
        )
    record = output / RECORD
    if record.is_file():
        phases_there = json.loads(record.read_text(encoding="utf-8")).get("phases", [])
        there = [phase["name"] for phase in phases_there]
        done = [name for name in there if (output / name / PHASE_RECORD).is_file()]
        if not there or done != there or phases[: len(there)] != there:
            raise UserError(
                f"{output} holds a model that was trained in phases={there}, which phases={phases} would "
                f"overwrite. {own}. Or continue it: phases begin with those, and their folders are there."
            )
    elif not any((output / name).is_dir() for name in phases) and (
        (output / "config.json").exists() or list(output.glob("*.safetensors"))
    ):
        raise UserError(f"{output} holds a model of another origin, which would be overwritten. {own}.")
    if "pretrain" not in phases and (output / "pretrain" / PHASE_RECORD).is_file():
        raise UserError(
            f"{output} holds a finished phase pretrain, which phases={phases} would not use. Use "
            f"phases=[pretrain,instruct] to go on from it. Or: {own[0].lower()}{own[1:]}."
        )
    try:
        checks.check_results_folder(output)
    except UserError as error:
        raise UserError(str(error).replace("results=<folder>", "output=<folder>")) from error


def _phase(config: TrainSpec, name: str, output: Path) -> Phase:
    settings = config.phase(name)
    files = [Path(file) for file in settings.files]
    images = None if settings.images is None else Path(settings.images)
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
