"""How the models of a table were trained: a grid with what it took, and notes on whether they compare."""

from collections import defaultdict

from pdrop_eval.records.rows.training_info import Training, differences
from pdrop_eval.report.formats.grid import Band, Grid, Line, Note, plain
from pdrop_eval.report.tables.fill import Group, Part, Row
from pdrop_eval.report.tables.spec import HOURS
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.text import numbers

WORKED = "Processor hours"
HEADS = ["Trained", "#patches", "Start", "Steps", "Samples", "Seed", "Loss"]


def training_grid(part: Part) -> Grid | None:
    """A line a model: where its training started, how long it was, and what it cost. None without records."""
    unit, all_unit = training_unit(part), numbers.total_flops_unit([t.all_flops for t in trainings(part)])
    bands = []
    for group in part.groups:
        lines = [_line(row, unit, all_unit) for row in _models(group) if _known(row)]
        if lines:
            bands.append(Band(group.name, lines))
    if not bands:
        return None
    conventions = sorted({t.convention for t in trainings(part) if t.convention})
    title = (
        "Training: hours are devices x wall time, processor hours the time that these worked on it; loss is "
        "the last one, per answer token. Theoretical FLOPs of the whole training: "
        f"{'; '.join(conventions) or 'convention not recorded'}."
    )
    heads = [*HEADS, _hours_head(part), WORKED, f"{unit} image tokens", f"{all_unit} all tokens"]
    return Grid(title, heads, bands)


def training_notes(part: Part) -> list[Note]:
    """Whether rows of one architecture are a fair pair, on what they were trained, and what contradicts."""
    notes = [Note(f"{_where(run)} is not in this table: {why}.") for run, why in part.refused]
    for group in part.groups:
        by_patches: dict[int, list[Row]] = defaultdict(list)
        for row in _models(group):
            by_patches[row.key.patches].append(row)
        for patches, rows in by_patches.items():
            if len({(row.key.train, row.key.train_ratio) for row in rows}) > 1:
                name = group.name + (f" p{patches}" if patches > 1 else "")
                notes.append(_fairness(name, [of_row(row) for row in rows]))
    shown = HOURS in part.table.facts  # what is said of hours belongs to a table that has them
    places = {training.hardware for training in trainings(part) if training.hardware and shown}
    if len(places) > 1:
        notes.append(
            Note(f"Trained on different hardware ({'; '.join(sorted(places))}): hours don't compare.")
        )
    elif places:
        notes.append(
            Note(f"Trained on {places.pop()}. Hours depend on what else a machine does, FLOPs don't.")
        )
    return notes


def unfair_notes(part: Part) -> list[Note]:
    """Of these notes, the warnings alone."""
    return [
        note for note in training_notes(part) if note.text.startswith(WARNING) or " is not in " in note.text
    ]


def trainings(part: Part) -> list[Training]:
    """What is known of the models of a part."""
    return [of_row(row) for row in part.rows if _known(row)]


def training_unit(part: Part) -> str:
    """The unit of its theoretical training FLOPs."""
    return numbers.total_flops_unit([training.flops for training in trainings(part)])


def of_row(row: Row) -> Training:
    """The training of a row's model; empty where nothing is known."""
    return row.run.training if row.run else Training({})


WARNING = "NOT A FAIR COMPARISON"


def _fairness(name: str, found: list[Training]) -> Note:
    if not any(training.phases for training in found):
        return Note(
            f"{WARNING}, as far as is known: no record says on which data, for how many steps and with which "
            f"seed the models of {name} were trained."
        )
    if wrong := differences(found):
        return Note(
            f"{WARNING}: beside their strategy, the trainings of {name} differ in {'; '.join(wrong)}. "
            "What their scores differ in is not the strategy's alone."
        )
    first = found[0]
    start = f"all from the start {first.start}" if first.start else "all from one start"
    if len({training.start for training in found}) > 1:
        start = "each from a model that was trained with its own strategy before, else in the same way"
    more = (
        " Hours and FLOPs are of the last training, without that of its start." if first.before.phases else ""
    )
    return Note(
        f"The models of {name} are a fair comparison: {start}, with the same data, settings, steps "
        f"({first.steps}) and seed ({first.seed}); only the strategy differs. What another seed would change "
        f"isn't known.{more}"
    )


def _line(row: Row, unit: str, all_unit: str) -> Line:
    training = of_row(row)
    return plain(
        [
            row.key.lam if row.key.train == VANILLA else f"{row.key.trained} λ={row.key.train_ratio}",
            str(row.key.patches),
            training.start or numbers.NONE,
            training.steps or numbers.NONE,
            numbers.NONE if training.samples is None else f"{training.samples:,.0f}",
            numbers.NONE if training.seed is None else str(training.seed),
            numbers.NONE if training.loss is None else f"{training.loss:.3f}",
            numbers.NONE if training.hours is None else numbers.hours(training.hours[0]),
            numbers.NONE if training.processor_hours is None else numbers.hours(training.processor_hours),
            numbers.total_flops(training.flops, unit),
            numbers.total_flops(training.all_flops, all_unit),
        ]
    )


def _hours_head(part: Part) -> str:
    units = {training.hours[1] for training in trainings(part) if training.hours}
    return " or ".join(sorted(units)) or "GPU hours"


def _models(group: Group) -> list[Row]:
    """The first measured row of each model, for a model may have several rows."""
    found: dict[tuple, Row] = {}
    for row in group.rows:
        if row.run:
            found.setdefault((row.key.patches, row.key.train, row.key.train_ratio), row)
    return list(found.values())


def _known(row: Row) -> bool:
    return bool(of_row(row).record)


def _where(run) -> str:
    return f"{run.id} ({run.model})"
