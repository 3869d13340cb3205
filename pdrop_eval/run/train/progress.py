"""What happens beside the steps of a training: lines of progress, the time it took, marks on checkpoints."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pdrop_eval.utils.distributed import rank, world_size
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text, write_atomically

MARK = "whole.json"  # in a checkpoint that was written to its end


class Clock(TrainerCallback):
    """Counts the time of a phase over all its interruptions; marks each checkpoint that is whole.

    What was lost with a killed process isn't counted.
    """

    def __init__(self, identity: dict[str, Any], before: dict[str, Any]):
        self.identity = identity
        self.before = {key: before.get(key, 0.0) for key in ("wall", "devices", "cpu")}
        self.resumed: int = before.get("resumed", -1) + 1
        self.began = (time.monotonic(), time.process_time())
        self.ended: tuple[float, float] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Start the clock."""
        self.began = (time.monotonic(), time.process_time())

    def pause(self) -> None:
        """Count nothing of this process."""
        self.ended = self.began

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Stop the clock."""
        self.ended = (time.monotonic(), time.process_time())

    @property
    def seconds(self) -> dict[str, float]:
        """Since the phase began, without pauses: `wall`, `devices` x wall, and `cpu` time of all processes.

        Processor time is this process's, taken for that of each.
        """
        wall, cpu = self.ended or (time.monotonic(), time.process_time())
        now = {
            "wall": wall - self.began[0],
            "devices": world_size() * (wall - self.began[0]),
            "cpu": world_size() * (cpu - self.began[1]),
        }
        return {key: before + now[key] for key, before in self.before.items()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Log at the end, and at every checkpoint, so that a logged mean never spans an interruption."""
        if state.global_step % args.save_steps == 0 or state.global_step >= state.max_steps:
            control.should_log = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Mark the checkpoint as whole, once all processes have written their part."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            facts = {"identity": self.identity, "resumed": self.resumed, **self.seconds}
            write_atomically(folder / MARK, json.dumps(facts, indent=1))


class Lines(TrainerCallback):
    """A line of progress at every log entry, with the time that remains."""

    def __init__(self, phase: str, clock: Clock):
        self.phase, self.clock = phase, clock
        self.first = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any):
        """Remember where this process started."""
        self.first = state.global_step

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: Any
    ):
        """Print the line."""
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        done = state.global_step - self.first
        since = time.monotonic() - self.clock.began[0]
        left = since / max(done, 1) * (state.max_steps - state.global_step) / 60
        print(
            f"{self.phase}: step {state.global_step}/{state.max_steps}, loss {logs['loss']:.4f}, "
            f"learning rate {logs['learning_rate']:.2e}, {left:.1f} min left",
            file=sys.stderr,
            flush=True,
        )


def last_checkpoint(folder: Path, identity: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The newest whole checkpoint of a phase and its mark; what was not written to its end is removed.

    Raises:
        UserError: It belongs to another training: another strategy, start, data or recipe.
    """
    found = {int(p.name.split("-")[1]): p for p in folder.glob("checkpoint-*") if p.name[11:].isdigit()}
    for step in sorted(found, reverse=True):
        mark = found[step] / MARK
        if mark.is_file():
            facts = json.loads(read_text(mark))
            check_identity(facts["identity"], identity, found[step])
            return found[step], facts
        if rank() == 0:
            shutil.rmtree(found[step], ignore_errors=True)
    return None, {}


def check_identity(theirs: dict[str, Any], ours: dict[str, Any], where: Path) -> None:
    """Raises UserError with what is different, if a checkpoint is of another training."""
    ours = json.loads(json.dumps(ours))
    different = [
        f"{key}: {_show(theirs.get(key))} there, {_show(ours[key])} here"
        for key in ours
        if theirs.get(key) != ours[key]
    ]
    if different:
        raise UserError(
            f"{where} belongs to another training ({'; '.join(different)}). Give this one a folder of its "
            f"own with output=<folder>, repeat the command of that one, or delete {where.parent}."
        )


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:157] + "..."
