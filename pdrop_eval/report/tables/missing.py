"""What a measured table lacks, and the commands that fill it."""

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.records.rows.overrides import override, own_data, own_folder
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.formats.grid import Note
from pdrop_eval.report.tables.commands import (
    FOLDER,
    Fill,
    experiment,
    fill,
    find_model,
    is_elsewhere,
    usual_limit,
)
from pdrop_eval.report.tables.fill import Part, Row
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.presets import DEFAULT_SIZE

Found = TypeVar("Found")

# The suite of a shipped experiment, by the size of its models.
EXPERIMENTS = {DEFAULT_SIZE: "mini", "7b": "paper"}
# Where a run is, and its record, if its command doesn't say.
DEVICE, RESULTS = "cpu", "results/runs"


def missing_notes(part: Part) -> list[Note]:
    """A note for rows that lack the same, a command for each, and the experiment that does them all."""
    if not any(row.missing for row in part.rows):
        return []
    if not can_be_filled(part):
        return [Note(f"What is missing can't be measured: there is no suite {part.suite} in conf/suite.")]
    grouped: dict[tuple[str, str], list[tuple[Row, Fill]]] = defaultdict(list)
    for row in part.rows:
        if row.missing and not (row.apart and not row.run):  # those are named with their own command
            found = fill_row(part, row)
            what = f" ({', '.join(names(row.missing).values())})" if row.run else ""
            grouped[found.needs, what].append((row, found))
    notes = [_note(needs, what, rows) for (needs, what), rows in grouped.items()]
    command = experiment_of(part)
    if command:
        notes.append(Note("One command for all rows whose checkpoint is there:", [command]))
    return notes


def experiment_of(part: Part) -> str | None:
    """The command that measures all that is missing; None if nothing is, or if no experiment does it."""
    if EXPERIMENTS.get(part.size) != part.suite or not any(row.missing for row in part.rows):
        return None
    return experiment(part.table.name, part.size, _shared_by_choice(part))


def can_be_filled(part: Part) -> bool:
    """Whether there still is such a suite."""
    return part.suite in options("suite")


def fill_row(part: Part, row: Row) -> Fill:
    """What fills a row, with the settings of its own run, or else with those that all other rows share."""
    fills: dict[int, Fill] = part.found.setdefault("fills", {})
    if id(row) not in fills:  # a row's note, cell and line in a sheet ask for it
        fills[id(row)] = _fill_row(part, row)
    return fills[id(row)]


def _fill_row(part: Part, row: Row) -> Fill:
    runs = [row.run] if row.run else row.apart
    if runs and runs[0].imported:
        return Fill(None, needs="another import: it was made elsewhere")
    model = runs[0].model if runs else None
    kept = _settings(row.run) if row.run else _shared_with(part, row)
    return fill(part.size, str(part.suite), row.key, model, kept, _once(part, "folders", _folders))


def _shared_with(part: Part, row: Row) -> list[str]:
    """The settings that all rows of its architecture share: another may be asked fewer questions."""
    architecture = row.key.architecture
    shared: dict[str, list[str]] = part.found.setdefault("shared", {})
    if architecture not in shared:
        runs = [run for run in part.runs if run.key and run.key.architecture == architecture]
        shared[architecture] = _shared(runs) if runs else _shared_by_others(part, row)
    return shared[architecture]


def _shared_by_others(part: Part, row: Row) -> list[str]:
    """For the first row of an architecture: the others' settings, and the limit that is usual for it."""
    chosen = _shared_by_choice(part)
    if any(setting.startswith("limit=") for setting in chosen):
        return chosen
    return [*chosen, *usual_limit(part.table.name, find_model(part.size, row.key))]


def _shared_by_choice(part: Part) -> list[str]:
    """The settings that all rows share, without a limit that the table's experiment gives each of them."""
    usual = [{*usual_limit(part.table.name, run.model)} for run in part.runs]
    return [one for one in _shared(part.runs) if not (usual and all(one in limits for limits in usual))]


def _once(part: Part, name: str, find: Callable[[list[Run]], Found]) -> Found:
    """What all rows of a part have in common, found once: a table of a large sweep has thousands."""
    if name not in part.found:
        part.found[name] = find(part.runs)
    found: Found = part.found[name]
    return found


def _note(needs: str, what: str, rows: list[tuple[Row, Fill]]) -> Note:
    by_model: dict[str, list[str]] = defaultdict(list)
    for row, _ in rows:
        by_model[row.key.model].append(row.key.inferred)
    which = "; ".join(f"{model}: {', '.join(found)}" for model, found in by_model.items())
    why = f" Needs {needs}." if needs else ""
    return Note(
        f"Not measured yet{what}: {which}.{why}", [found.command for _, found in rows if found.command]
    )


def _shared(runs: list[Run]) -> list[str]:
    """Settings that all runs have, so that a new row can be compared; those of a model are its own."""
    common = [_settings(run) for run in runs]
    first = common[0] if common else []
    return [
        setting
        for setting in first
        if not setting.startswith("model.") and all(setting in other for other in common)
    ]


def _settings(run: Run) -> list[str]:
    """What another run needs to stand beside this one; of a record that was shared, folders are left open."""
    config = run.record.get("config") or {}
    kept = list(run.deviations)
    if config.get("device") not in (None, DEVICE):
        kept.append(override("device", config["device"]))
    if config.get("results") not in (None, RESULTS) and not is_elsewhere(config["results"]):
        kept.append(override("results", config["results"]))
    data = own_data(config)
    if data and override("data.root", data) not in kept:
        kept.append(override("data.root", data))
    return [_open(one) for one in [*kept, *own_folder(config)]]


def _open(setting: str) -> str:
    name, _, value = setting.partition("=")
    return f"{name}={FOLDER}" if is_elsewhere(value) else setting


def _folders(runs: list[Run]) -> dict[str, str]:
    """Where the runs had the checkpoints of their models."""
    configs = [(run.model, (run.of("config", "model") or {}).get("pretrained")) for run in runs]
    return {
        model: str(pretrained) for model, pretrained in configs if pretrained and not is_elsewhere(pretrained)
    }
