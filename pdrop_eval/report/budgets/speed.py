"""What a prefill takes, from the records of pdrop-eval-bench: of the same model and tokens a layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.run import Run
from pdrop_eval.run.bench.record import read
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Prefill:
    """A measured prefill.

    Attributes:
        seconds: The median.
        where: The machine, type and batch size, in words.
    """

    seconds: float
    where: str


_Key = tuple[str, str, tuple[float, ...]]


class Prefills:
    """The prefills of benchmarks beneath a folder; of several of one kind, of the smallest batch the newest.

    A run's is that of the same model and strategy with the same image tokens in every layer by the schedule.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._found: dict[_Key, tuple[tuple, Prefill]] = {}
        paths = sorted(folder.rglob("record.json")) if folder is not None and folder.is_dir() else []
        for path in paths:
            try:
                self._take(read(path))
            except (UserError, KeyError, TypeError, ValueError, IndexError, AttributeError):
                continue  # of another version, or damaged: pdrop-eval-page says so

    def of(self, run: Run) -> Prefill | None:
        """Return the prefill of a run's model and strategy; None where none was measured."""
        layers = run.of("efficiency", "image_tokens_per_layer")
        if not isinstance(layers, list):
            return None
        found = self._found.get((run.model, run.strategy, tuple(layers)))
        return found[1] if found else None

    def _take(self, record: Mapping[str, Any]) -> None:
        """Keep the prefills of a record."""
        machine, settings = record["hardware"], record["settings"]
        named = machine["cpu"] if settings["device"] == "cpu" else ", ".join(machine["gpus"][:1])
        known = {one["label"]: one for one in record["strategies"]}
        for batch in record["batches"].values():
            where = f"{named}, {settings['dtype']}, batch {batch['batch_size']}"
            rank = (-int(batch["batch_size"]), str(record["created"]))
            for one in batch["variants"]:
                key = str(record["model"]["name"]), *_kind(record, known[one["label"]])
                _, middle, _ = one["prefill"]["seconds"]
                if key not in self._found or rank > self._found[key][0]:
                    self._found[key] = rank, Prefill(float(middle), where)


def _kind(record: Mapping[str, Any], strategy: Mapping[str, Any]) -> tuple[str, tuple[float, ...]]:
    """A variant's strategy and the image tokens of its layers; plain transformers drop none."""
    if strategy["strategy"] is None:
        return VANILLA, (record["sample"]["image_tokens"],) * record["model"]["layers"]
    return str(strategy["strategy"]), tuple(strategy["schedule"])
