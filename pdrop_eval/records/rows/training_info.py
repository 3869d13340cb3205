"""What a checkpoint's training_record.json says of its training, and whether two trainings make a fair pair.

A record of another program may have `device_hours` and `device_label` only: whatever is missing, or isn't
what it should be, is None here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pdrop_eval.strategies.registry import VANILLA, display_name
from pdrop_eval.utils.validation import is_finite_number

# Where the data lie and how a step is divided doesn't change what is learned.
_ELSEWHERE = ("files", "images", "per_device_batch")
HEX = 12  # digits of a hash that are shown


@dataclass(frozen=True)
class Training:
    """One checkpoint's record; empty if it has none."""

    record: Mapping[str, Any]

    @classmethod
    def of(cls, record: Any) -> "Training":
        """The record as it was found, or an empty one in the place of anything else."""
        return cls(record if isinstance(record, Mapping) else {})

    @property
    def phases(self) -> list[Mapping[str, Any]]:
        """What it says of its phases, in their order."""
        found = self.record.get("phases")
        return [phase for phase in found if isinstance(phase, Mapping)] if isinstance(found, list) else []

    @property
    def hours(self) -> tuple[float, str] | None:
        """Device hours with their unit."""
        hours = _number(self.record.get("device_hours"))
        return None if hours is None else (hours, str(self.record.get("device_label") or "GPU hours"))

    @property
    def processor_hours(self) -> float | None:
        """The time that processors worked on it; what else a busy machine did isn't in it. None on GPUs."""
        if self.hours is None or self.hours[1] != "CPU hours":
            return None
        return self._sum([_number(phase.get("cpu_hours")) for phase in self.phases])

    @property
    def flops(self) -> float | None:
        """Theoretical multiply-adds for the image tokens in the decoder, forward and backward."""
        return _number(self.record.get("training_flops"))

    @property
    def all_flops(self) -> float | None:
        """The same for all tokens and the vision tower."""
        return self._sum([_number((_dict(phase, "flops")).get("all_tokens")) for phase in self.phases])

    @property
    def convention(self) -> str | None:
        """What the FLOPs count."""
        words = {str(_dict(phase, "flops").get("convention") or "") for phase in self.phases} - {""}
        return "; ".join(sorted(words)) or None

    @property
    def steps(self) -> str:
        """The steps of each phase: `700`, or `pretrain 60, instruct 700`."""
        return self._by_phase("steps")

    @property
    def samples(self) -> float | None:
        """How many samples its steps saw."""
        return self._sum([_number(phase.get("samples")) for phase in self.phases])

    @property
    def seed(self) -> Any:
        """The random seed."""
        return self.record.get("seed")

    @property
    def loss(self) -> float | None:
        """The last phase's last loss."""
        return _number(self.phases[-1].get("loss")) if self.phases else None

    @property
    def start(self) -> str:
        """The checkpoint that it began with: its name and the beginning of its hash."""
        base = _dict(self.record, "base")
        shape = f"as {base['as']}" if base.get("as") else ""
        adapter = _dict(base, "adapter").get("adapter")
        merged = f"with the adapter {adapter}" if adapter else ""
        parts = (base.get("name") or base.get("pretrained"), shape, merged, _short(base.get("sha256")))
        return " ".join(str(part) for part in parts if part)

    @property
    def before(self) -> "Training":
        """The training of the checkpoint that it began with, where the record tells; else an empty one."""
        return Training.of(_dict(self.record, "base").get("training"))

    @property
    def hardware(self) -> str:
        """On what it ran."""
        return ", ".join(sorted({str(phase["hardware"]) for phase in self.phases if phase.get("hardware")}))

    @property
    def strategy(self) -> tuple[str, float | None] | None:
        """The strategy that it was trained with, and its `ratio` where it has one: PyramidDrop's λ."""
        found = _dict(self.record, "strategy")
        if not found.get("name"):
            return None
        return str(found["name"]), _number(found.get("ratio"))

    def contradiction(self, train: Any, ratio: Any) -> str | None:
        """What the record says, if it isn't the training that a configuration names; None if they agree."""
        if self.strategy is None or not train:
            return None
        if self.strategy == (str(train), _number(ratio)):
            return None
        one, other = (_words(name, lam) for name, lam in ((train, ratio), self.strategy))
        return f"configured as {one}, and its training_record.json says {other}"

    def _sum(self, values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None

    def _by_phase(self, name: str) -> str:
        values = [(str(phase.get("name")), phase.get(name)) for phase in self.phases]
        known = [(phase, value) for phase, value in values if value is not None]
        if len(known) == 1:
            return f"{known[0][1]:,}" if isinstance(known[0][1], int) else str(known[0][1])
        return ", ".join(f"{phase} {value}" for phase, value in known)


def differences(trainings: Iterable[Training]) -> list[str]:
    """In what trainings differ beside their strategy, in words with the values; empty for a fair pair.

    Where one says too little to know, that is a difference, too.
    """
    found = list(trainings)
    if len(found) < 2:
        return []
    if not all(training.phases for training in found):
        return ["what their records say: not all of them name data, steps and seed"]
    aspects = [_aspects(training) for training in found]
    words = []
    if started_alike(found):
        aspects = [{**aspect, "start": ""} for aspect in aspects]
    for name in aspects[0]:
        values = [aspect[name] for aspect in aspects]
        if any(value != values[0] for value in values):
            shown = list(dict.fromkeys(_shown(value) for value in values))
            words.append(f"{name} ({' / '.join(shown)})" if len(shown) > 1 else name)
    return words


def started_alike(trainings: Sequence[Training]) -> bool:
    """Whether each began with a model that had been trained likewise, and with its own strategy before."""
    before = [training.before for training in trainings]
    own = all(start.strategy == training.strategy for start, training in zip(before, trainings, strict=True))
    return own and all(start.phases for start in before) and not differences(before)


def _aspects(training: Training) -> dict[str, Any]:
    """What has to be the same for a difference of the scores to be the strategy's."""
    phases = training.phases
    settings = [dict(_dict(phase, "hyperparameters")) for phase in phases]
    return {
        "start": _short(_dict(training.record, "base").get("sha256")) or training.start,
        "phases": [phase.get("name") for phase in phases],
        "data": [[_short(entry.get("sha256")) for entry in _entries(phase)] for phase in phases],
        "steps": [phase.get("steps") for phase in phases],
        "samples": [phase.get("samples") for phase in phases],
        "seed": [training.seed, *(phase.get("seed", training.seed) for phase in phases)],
        "dtype": [phase.get("dtype") for phase in phases],
        "hyperparameters": [{k: v for k, v in one.items() if k not in _ELSEWHERE} for one in settings],
    }


def _entries(phase: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = phase.get("data")
    return [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []


def _shown(value: Any) -> str:
    """Values in short; settings are too many to be shown."""
    if isinstance(value, list):
        if any(isinstance(part, dict) for part in value):
            return "other values"
        flat = list(dict.fromkeys(str(part) for part in _flat(value)))
        return " ".join(flat) or "none"
    return str(value or "none")


def _flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, list) else [value]


def _words(name: Any, lam: Any) -> str:
    if name == VANILLA:
        return "trained without dropping"
    return f"trained with {display_name(str(name))}" + (f" λ={lam:g}" if lam is not None else "")


def _dict(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> float | None:
    return float(value) if is_finite_number(value) else None


def _short(digest: Any) -> str:
    return str(digest or "")[:HEX]
