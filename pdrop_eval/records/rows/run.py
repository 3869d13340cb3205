"""Records as runs: what each one is in the tables' terms, and which run stands for a row.

Of several runs that could fill a row, the one nearest to the default configuration does, for all of its
cells: all questions before a limit and a higher limit before a lower one, then the fewest changes of the
configuration, then the most finished benchmarks, then the code that is installed now, then the newest. The
others are named beneath the table, with what is different.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from pdrop_eval.records.imported import is_imported
from pdrop_eval.records.rows.overrides import SCHEDULE
from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.records.run_identity import code_sha256
from pdrop_eval.strategies.registry import StrategyInfo, info_of
from pdrop_eval.utils import definitions
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.validation import is_finite_number

SCORED, NEEDS_JUDGE = "scored", "needs_judge"
_RATIO = "strategy.ratio="
# In a record's JSON: what may be unprintable, a message of which one line is told, and what `_run` settles.
_UNPLAIN = (b"\\", b"\x7f", b'"error"', b'"definition"')
_NO_TEXT = frozenset({float, int, bool, type(None)})
# What decides a run's numbers beside its configuration, in the words of a note.
_CODE = ("sha256", "strategy", "family")  # of a record's `identity.code`
_IDENTITY = {"model_sha256": "checkpoint", "packages": "packages"}


@dataclass
class Run:
    """One record. `results` holds the entries of its finished tasks by benchmark."""

    record: dict[str, Any]
    strategy: str
    changes: list[str]
    key: RowKey | None  # None: the record doesn't say enough of the model
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The run's name: the strategy and the hash of what decides its numbers."""
        return self.record["run_id"]

    @property
    def folder(self) -> str:
        """Where the record is."""
        return str(self.record.get("folder") or self.id)

    @property
    def model(self) -> str:
        """The model's name, as in `conf/model`."""
        return str(self.record["model"].get("name"))

    @property
    def size(self) -> str:
        """The family of checkpoints that the model belongs to; the model's name where none is recorded."""
        return str(self.record["model"].get("size") or self.model)

    @property
    def suite(self) -> str:
        """The suite's name."""
        return str(self.of("suite", "name"))

    @property
    def limit(self) -> int | None:
        """How many questions of each benchmark were asked at most; None for all."""
        limit = self.record.get("limit")
        return None if limit is None else int(limit)

    @property
    def part(self) -> str:
        """Which questions were asked, where not all were: `limit=64`, `subset=ci64`."""
        subset = self.record.get("subset")
        return f"subset={subset}" if subset else f"limit={self.limit}" if self.limit else ""

    @property
    def checkpoint(self) -> str | None:
        """What identifies the weights: their hash, or else the commit."""
        model = self.record["model"]
        return model.get("sha256") or model.get("commit") or model.get("revision")

    @property
    def source(self) -> str | None:
        """The hash of the code that made it, the strategy's own apart; None where it isn't recorded."""
        return self.code[0]

    @property
    def code(self) -> tuple[str | None, ...]:
        """The hashes of the code that all strategies share, of the strategy's own and the model family's."""
        code = self.of("identity", "code") or {}
        return tuple(code.get(name) for name in _CODE)

    @property
    def imported(self) -> bool:
        """Whether another program made its results: of what it cost nothing is known."""
        return is_imported(self.record)

    @cached_property
    def is_current(self) -> bool:
        """Whether the code that is installed now would make it."""
        target, family = self.of("strategy", "target"), self.of("model", "family")
        return self.code == installed_code(str(target), family)

    @property
    def data(self) -> dict[str, str]:
        """The hash of the data of each finished task, by benchmark."""
        return {name: str(result.get("data_sha256")) for name, result in self.results.items()}

    @property
    def hours(self) -> tuple[float, str] | None:
        """The device hours of its training with their unit, if the checkpoint came with a record of it."""
        return self.training.hours

    @property
    def training(self) -> Training:
        """What the checkpoint's training_record.json says; empty without one."""
        return Training.of(self.of("model", "training"))

    @property
    def contradiction(self) -> str | None:
        """Why the model isn't what its configuration says, by the record of its training."""
        model = self.record["model"]
        return self.training.contradiction(model.get("train"), model.get("train_ratio"))

    def of(self, part: str, name: str) -> Any:
        """A field of one of the record's dicts; None if either is missing."""
        return (self.record.get(part) or {}).get(name)

    def mean(self, name: str, benchmarks: Iterable[str]) -> float | None:
        """The mean of a per-question figure over all questions of some benchmarks."""
        known = [r for b, r in self.results.items() if b in set(benchmarks) and r.get(name) is not None]
        questions = sum(result["n"] for result in known)
        return sum(result[name] * result["n"] for result in known) / questions if questions else None

    def most(self, name: str, benchmarks: Iterable[str]) -> float | None:
        """The largest of a per-question figure."""
        wanted = set(benchmarks)
        return max((r[name] for b, r in self.results.items() if b in wanted and r.get(name)), default=None)

    @cached_property
    def deviations(self) -> list[str]:
        """What is not the default, beside the strategy's settings and budget: those say which row it is."""
        limit = [f"limit={self.limit}"] if self.limit else []
        return [*limit, *(change for change in self.changes if not change.startswith(SCHEDULE))]

    @property
    def info(self) -> StrategyInfo:
        """What is known of the strategy: its name in words, its style."""
        return info_of(self.strategy, self.record["strategy"])

    @property
    def settings(self) -> dict[str, Any]:
        """The strategy's settings, as they were used."""
        return dict(self.of("strategy", "fields") or {})

    def strategy_label(self, whole: bool = False) -> str:
        """Return the strategy with what isn't its default: `PDrop`, `PDrop λ=0.4`, `FastV share=0.5`.

        Args:
            whole: Also the settings that a label names which are the default, unless a budget solved them; of
                a strategy that names none, all.
        """
        changed = [change.partition("=") for change in self.schedule]
        own = [name.removeprefix("strategy.") for name, *_ in changed if name.startswith("strategy.")]
        budget = [f"{name[7:]}={value}" for name, _, value in changed if name.startswith("budget.")]
        plain = [name for name, value in self.settings.items() if isinstance(value, int | float | str)]
        named = (self.info.labelled or plain) if whole and not budget else ()
        words = self.info.label(self.settings, dict.fromkeys([*named, *own]))
        return " ".join([self.info.display_name, *words, *budget])

    @property
    def schedule(self) -> list[str]:
        """The settings of the strategy, and its budget, that are not the default."""
        return [change for change in self.changes if change.startswith(SCHEDULE)]


def to_runs(records: Iterable[dict[str, Any]], unfinished: bool = False) -> list[Run]:
    """The records that have a finished task; unfinished: all of them, in order.

    Raises:
        UserError: Two of one run contradict each other.
    """
    runs = [_run({**record} if _is_plain(record) else _visible(record)) for record in records]
    found = [run for run in runs if run.results or unfinished]
    _check_contradictions(found)
    return found


def pick(runs: Iterable[Run], benchmarks: Iterable[str]) -> tuple[Run | None, list[Run]]:
    """The run that stands for a row with these benchmarks, and those that it was preferred to, best first."""
    wanted = set(benchmarks)
    able = [run for run in runs if wanted & run.results.keys()]
    ordered = sorted(able, key=lambda run: _preference(run, wanted)) if len(able) > 1 else able
    return (ordered[0], ordered[1:]) if ordered else (None, [])


def unlike(run: Run, chosen: Run) -> str:
    """What tells a run from the one that it stood back for, in words."""
    if run.id == chosen.id:
        return f"the same run in {run.folder}"
    words = [f"model={run.model}"] if run.model != chosen.model else []
    words += ["all questions"] if chosen.limit and not run.limit else []
    words += [change for change in run.deviations if change not in chosen.deviations]
    back = [change for change in chosen.deviations if change not in run.deviations]
    words += [f"without {change}" for change in back if not change.startswith("limit=")]
    if run.code != chosen.code:
        words.append("the code that is installed now" if run.is_current else "other code")
    for name, word in _IDENTITY.items():
        one, other = run.of("identity", name), chosen.of("identity", name)
        if one and other and one != other:
            words.append(f"other {word}")
    data = run.data.keys() & chosen.data.keys()
    words += ["other data"] if any(run.data[one] != chosen.data[one] for one in data) else []
    words += ["less complete"] if len(run.results) < len(chosen.results) else []
    return ", ".join(words) or f"older: {run.record['created'][:10]}"


@cache
def installed_code(target: str, family: str | None) -> tuple[str | None, ...] | None:
    """The hashes of the code that a run would have now; None if strategy or family aren't installed."""
    try:
        code = code_sha256(target, family)
    except UserError:
        return None
    return tuple(code[name] for name in _CODE)


def _preference(run: Run, wanted: set[str]) -> tuple:
    limit = float("inf") if run.limit is None else run.limit
    newest = -datetime.fromisoformat(run.record["created"]).timestamp()
    return (
        -limit,
        len(run.deviations),
        -len(wanted & run.results.keys()),
        not run.is_current,
        newest,
        run.folder,
    )


def _is_plain(record: dict[str, Any]) -> bool:
    """Whether nothing of a record is to be made visible, nor told otherwise: so it is with nearly all.

    In JSON, whatever isn't printable is escaped, isn't ASCII, or is DEL. Of its folder nothing is changed.
    """
    try:
        text = to_json({name: part for name, part in record.items() if name != "folder"})
    except PydanticSerializationError:  # half a character, as paths have it whose bytes are no UTF-8
        return False
    return text.isascii() and not any(one in text for one in _UNPLAIN)


def _visible(value: Any, name: str = "") -> Any:
    """A record whose texts are each a line without control characters; its folder's path stays."""
    if type(value) in _NO_TEXT:
        return value
    if isinstance(value, str):
        text = value.strip().split("\n")[0] if name == "error" else value
        return text if text.isprintable() or name == "folder" else visible(text)
    if isinstance(value, dict):
        return {
            key if key.isprintable() else visible(key): _visible(part, key) for key, part in value.items()
        }
    return [_visible(part) for part in value] if isinstance(value, list) else value


def _run(record: dict[str, Any]) -> Run:
    changes = [str(change) for change in record.get("changes") or ()]
    for task, entry in record["tasks"].items():
        if entry.get("definition") is not None:  # a benchmark that isn't in the registry
            said = {"task": task, "metric": entry.get("metric"), **entry["definition"]}
            entry["benchmark"] = definitions.remember(str(entry["benchmark"]), said)
    results = {str(entry["benchmark"]): entry for entry in record["tasks"].values() if entry.get("benchmark")}
    found = Run(record, str(record["strategy"].get("name")), changes, None, results)
    return replace(found, key=_key(found))


def _key(run: Run) -> RowKey | None:
    """The row of a run, if its record says enough of the model."""
    model, ratio = run.record["model"], run.settings.get("ratio")
    if not model.get("architecture") or not model.get("patches") or not model.get("train"):
        return None
    if model.get("train_patches", model["patches"]) != model["patches"]:
        return None  # another grid of patches than it was trained with: the paper has no such row
    budget = any(change.startswith("budget.") for change in run.schedule)
    lam = float(ratio) if ratio is not None and is_finite_number(ratio) and not budget else None
    return RowKey(
        architecture=str(model["architecture"]),
        patches=int(model["patches"]),
        train=str(model["train"]),
        train_ratio=model.get("train_ratio"),
        strategy=run.strategy,
        ratio=lam,
        settings=tuple(sorted(c for c in run.schedule if lam is None or not c.startswith(_RATIO))),
        shown=run.strategy_label(),
    )


def _check_contradictions(runs: list[Run]) -> None:
    """A run's id stands for all that decides its numbers: with one id, the numbers must be the same."""
    seen: dict[tuple[str, str], Run] = {}
    for run in runs:
        first = seen.setdefault((run.model, run.id), run)
        for benchmark in first.results.keys() & run.results.keys():
            one, other = first.results[benchmark].get("score"), run.results[benchmark].get("score")
            if one is not None and other is not None and one != other:
                raise UserError(
                    f"Two records of the run {run.id} contradict each other in {benchmark}: {first.folder} "
                    f"says {one}, {run.folder} says {other}. Move the one that you don't trust elsewhere."
                )
