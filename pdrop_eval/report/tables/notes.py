"""What has to be said beneath a measured table: which runs fill it, what differs, and what is missing."""

from collections import defaultdict
from collections.abc import Iterable

from pdrop_eval.benchmarks.registry import benchmark_of, names
from pdrop_eval.records.rows.alike import kind_words, nearest, told
from pdrop_eval.records.rows.overrides import own_data
from pdrop_eval.records.rows.row_key import family_name
from pdrop_eval.records.rows.run import Run, pick, unlike
from pdrop_eval.report.formats.grid import CHANGED, DELTA, Note
from pdrop_eval.report.tables.cells import Cell, other_questions
from pdrop_eval.report.tables.fill import Group, Part, Row
from pdrop_eval.report.tables.missing import can_be_filled, fill_row, missing_notes
from pdrop_eval.report.tables.spec import HOURS
from pdrop_eval.report.tables.training_part import training_notes
from pdrop_eval.strategies.registry import VANILLA

MME_CATEGORIES = 10  # behind the perception score
# In captions, which stay the same to the byte from version to version.
RENDERED = (
    "rendered by this project in the form of the benchmarks; not the benchmarks themselves, so no score here "
    "can be compared with a published one."
)
LISTED = 8  # the runs that a note names; of more, the number is enough


def part_notes(part: Part) -> list[Note]:
    """Everything to be said of a measured part, the missing rows with their commands last."""
    cells = [cell for row in part.rows for cell in row.cells.values()]
    notes = [*deviation_notes(part), *alike_notes(cells, part.table.average)]
    notes += [*training_notes(part), *question_notes(part)]
    notes += imported_notes(part.runs)
    notes += [*_records(part), *_not_shown(part), *kind_notes(part), *_comparison(part)]
    if any(group.beyond for group in part.groups):
        notes.append(Note("Rows of a model that the paper doesn't have in this table are marked as such."))
    notes += [*_cropped(part.runs), *_fewer_categories(part)]
    if HOURS in part.table.facts and any(row.hours is None for row in part.rows if row.run):
        notes.append(Note("No hours where the checkpoint has no record of its training."))
    return notes + missing_notes(part)


def _cropped(runs: list[Run]) -> list[Note]:
    if "centre_crop" not in values(runs, "inputs", "images"):
        return []
    return [
        Note(
            "Images were cropped to their centre, as the checkpoint's processor does; LLaVA's own "
            "evaluation, and so the published numbers, pad them to a square: model.image_processing=pad."
        )
    ]


def _fewer_categories(part: Part) -> list[Note]:
    """MME's points are a sum over categories: with fewer of them the most is less, and so is an average's."""
    if "mme" not in part.table.benchmarks:
        return []
    found = {len(run.results["mme"].get("parts") or ()) for run in part.runs if "mme" in run.results}
    few = min((number for number in found if number), default=MME_CATEGORIES)
    if few >= MME_CATEGORIES:
        return []
    most = 200 * few
    average = (most / benchmark_of("mme").divisor + 100 * (len(part.table.benchmarks) - 1)) / len(
        part.table.benchmarks
    )
    return [
        Note(
            f"MME has {few} of its {MME_CATEGORIES} perception categories here: {most:,} points at most, and "
            f"{average:.1f} for {part.table.average}."
        )
    ]


def imported_notes(runs: Iterable[Run]) -> list[Note]:
    """Which rows other programs have made, and whose scores they are."""
    found = []
    for run in runs:
        if run.imported:
            entries = [entry.get("imported") or {} for entry in run.results.values()]
            by = sorted({str(entry.get("scored_by")) for entry in entries if entry.get("scored_by")})
            found.append(f"{run.strategy_label()} (scored by {', '.join(by) or 'unknown'})")
    if not found:
        return []
    return [
        Note(
            f"Imported, not run here: {'; '.join(found)}. FLOPs, retained tokens and time of these rows are "
            "unknown, and left empty."
        )
    ]


def deviation_notes(part: Part) -> list[Note]:
    """What of each row's run is not the default: the footnotes of its mark."""
    alike: dict[str, list[str]] = defaultdict(list)
    for row in part.rows:
        if row.run and row.run.deviations:
            first = " (the first questions of each benchmark)" if row.run.limit else ""
            alike[f"{' '.join(row.run.deviations)}{first}"].append(_name(row))
    return [Note(f"{CHANGED} {', '.join(rows)}: {words}.") for words, rows in alike.items()]


def alike_notes(cells: Iterable[Cell], average: str = "") -> list[Note]:
    """What a missing interval means, if one is missing because nothing varied."""
    if not any(cell.alike for cell in cells):
        return []
    mean = f" The interval of {average} leaves this out, and is too narrow." if average else ""
    return [
        Note(
            "No interval where all questions (or images; for MME within each category) came out alike: a "
            "bootstrap can't see what didn't vary. By the rule of three the true score may be up to about "
            f"300/n points away, n being the number of questions, on the 0-to-100 scale.{mean}"
        )
    ]


def question_notes(part: Part) -> list[Note]:
    """Which rows didn't answer the same questions, so that their scores and averages don't compare."""
    return [note for group in part.groups for note in _among_rows(part, group)] + _among_models(part)


def _among_rows(part: Part, group: Group) -> list[Note]:
    alike: list[list[Row]] = []
    differ: set[str] = set()
    for row in group.rows:
        if row.run is None:
            continue
        unlike_it = [{k for one in rows for k in other_questions(one.cells, row.cells)} for rows in alike]
        differ |= set().union(*unlike_it)
        homes = [rows for rows, found in zip(alike, unlike_it, strict=True) if not found]
        if homes:
            homes[0].append(row)
        else:
            alike.append([row])
    if len(alike) < 2:
        return []
    keys = [name for name in part.table.benchmarks if name in differ]
    which = "" if len(keys) == len(part.table.benchmarks) else f" (of {', '.join(names(keys).values())})"
    asked = [f"{', '.join(map(_name, rows))}: {_asked(rows, keys)}" for rows in alike]
    other = ", but of other data" if len({_asked(rows, keys) for rows in alike}) < len(alike) else ""
    delta = f" {DELTA} is formed only where both rows answered the same ones." if part.table.delta else ""
    shown = [one for one in part.groups if any(row.run for row in one.rows)]
    of = f" in {group.name}" if len(shown) > 1 else ""
    return [
        Note(
            f"Not the same questions{of}{which}; don't compare these rows, nor their averages. "
            f"{'; '.join(asked)}{other}.{delta}"
        )
    ]


def _among_models(part: Part) -> list[Note]:
    """Which blocks of a table were asked other questions, so that only rows of one block compare."""
    blocks = {group.name: [row for row in group.rows if row.run] for group in part.groups}
    blocks = {name: rows for name, rows in blocks.items() if rows}
    keys = [name for name in part.table.benchmarks if _differ(name, list(blocks.values()))]
    if not keys:
        return []
    which = "" if len(keys) == len(part.table.benchmarks) else f" (of {', '.join(names(keys).values())})"
    asked = [_asked(rows, keys) for rows in blocks.values()]
    listed = "; ".join(f"{name}: {words}" for name, words in zip(blocks, asked, strict=True))
    other = ", but of other data" if len({*asked}) < len(asked) else ""
    return [
        Note(
            f"Not the same questions in all blocks{which}; compare rows of one block alone. {listed}{other}."
        )
    ]


def _differ(name: str, blocks: list[list[Row]]) -> bool:
    """Whether blocks that have a benchmark were asked other questions of it."""
    asked = [{row.cells[name].questions for row in rows if row.cells[name].n is not None} for rows in blocks]
    asked = [found for found in asked if found]
    return any(found != asked[0] for found in asked)


def settings(runs: list[Run]) -> str:
    """What the runs were made with, in one line."""
    parts = {
        "dtype": values(runs, "model", "dtype"),
        "batch": _listed({str(run.record.get("batch_size")) for run in runs}),
        "seed": _listed({str(run.record.get("seed")) for run in runs}),
        "images": values(runs, "inputs", "images") or values(runs, "model", "image_processing"),
        "downsample": values(runs, "inputs", "downsample"),
        "prompt": values(runs, "model", "chat_template"),
        "OCR tokens for TextVQA": values(runs, "suite", "textvqa_ocr"),
        "code": codes(runs),
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items() if value) + "."


def codes(runs: Iterable[Run]) -> str:
    """The versions and commits of this package that the runs were made with."""
    return _listed({_code(run) for run in runs})


def questions(runs: list[Run]) -> str:
    """Where the questions are from, and what that means."""
    sources = {run.of("suite", "source") for run in runs}
    if sources == {"rendered"}:
        own = {own_data(run.record.get("config") or {}) for run in runs} - {None}
        made = f"partly the user's own, in {_listed(set(map(str, own)))}, else " if own else ""
        return made + RENDERED
    if sources == {"hub"}:
        return "those of the benchmarks."
    if sources == {"own"}:
        folders = {str((run.of("config", "data") or {}).get("folder")) for run in runs}
        return f"the user's own, in {_listed(folders)}."
    return f"from {values(runs, 'suite', 'source') or 'an unknown source'}."


def values(runs: Iterable[Run], part: str, name: str) -> str:
    """The values of a record's field, where it has one."""
    found = {run.of(part, name) for run in runs}
    return _listed({str(value) for value in found if value is not None})


def _records(part: Part) -> list[Note]:
    filled = [f"{_name(row)} {row.run.id}" for row in part.rows if row.run]
    models = sorted({f"{run.model} {str(run.checkpoint)[:12]}" for run in part.runs if run.checkpoint})
    notes = [Note(f"Records: {'; '.join(filled)}.")] if filled else []
    return notes + ([Note(f"Checkpoints: {', '.join(models)}.")] if models else [])


def _not_shown(part: Part) -> list[Note]:
    notes = []
    for row in part.rows:
        if row.others and row.run:
            reasons = [f"{run.id} ({unlike(run, row.run)})" for run in row.others]
            more = f" and {len(reasons) - LISTED} more" if len(reasons) > LISTED else ""
            past = (
                "" if row.run.is_current else " The shown one was made by other code than is installed now."
            )
            is_nearest = pick([row.run, *row.others], part.table.benchmarks)[0] is row.run
            why = (
                "the nearest to the default configuration" if is_nearest else "of the kind of the other rows"
            )
            notes.append(
                Note(
                    f"{_name(row)}: several runs fit this row. Shown is {row.run.id}, {why}; "
                    f"not {', '.join(reasons[:LISTED])}{more}.{past}"
                )
            )
    return notes


def kind_notes(part: Part) -> list[Note]:
    """Rows that were measured otherwise than those that are shown, with the commands that mend it."""
    if not part.runs:
        return []
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in [*part.rows, *part.left_out]:
        if row.apart and not row.run:
            rows[row.key.architecture].append(row)
    return [_kind_note(part, architecture, found) for architecture, found in rows.items()]


def _kind_note(part: Part, architecture: str, rows: list[Row]) -> Note:
    """Of the rows of one architecture."""
    like, named = nearest(architecture, part.runs), []
    for row in rows:
        runs = ", ".join(f"{run.id} ({told(run, like)})" for run in row.apart[:LISTED])
        more = f" and {len(row.apart) - LISTED} more" if len(row.apart) > LISTED else ""
        named.append(f"{_name(row)}: {runs}{more}")
    commands = [fill_row(part, row).command for row in rows] if can_be_filled(part) else []
    above = len({run.key.architecture for run in part.runs if run.key})
    of = f" of {family_name(like.key.architecture, part.size)}" if above > 1 and like.key else ""
    return Note(
        f"Measured otherwise than the rows{of} above ({kind_words(like) or 'all questions'}), so not "
        f"beside them: {'; '.join(named)}.{' As the others:' if any(commands) else ''}",
        [command for command in commands if command],
    )


def _comparison(part: Part) -> list[Note]:
    notes = []
    for group in part.groups:
        by_model: dict[str, list[Row]] = defaultdict(list)
        for row in group.rows:
            if row.run:
                by_model[row.run.model].append(row)
        for rows in by_model.values():
            notes += _within_model(rows)
    return notes


def _asked(rows: list[Row], keys: list[str]) -> str:
    counts = sorted({str(row.cells[name].n) for row in rows for name in keys if row.cells[name].n}, key=int)
    return f"{' to '.join(counts[:: max(len(counts) - 1, 1)])} questions a benchmark"


def _within_model(rows: list[Row]) -> list[Note]:
    runs = [row.run for row in rows if row.run and not row.run.imported]
    if not runs:
        return []
    seen = {
        "checkpoint": {run.checkpoint for run in runs},
        "dtype": {run.of("model", "dtype") for run in runs},
        "batch size": {run.record.get("batch_size") for run in runs},
        "seed": {run.record.get("seed") for run in runs},
        "commit": {run.of("code", "commit") for run in runs},
    }
    differ = [name for name, found in seen.items() if len(found) > 1]
    if not differ:
        return []
    return [Note(f"The rows of {runs[0].model} differ in {', '.join(differ)}: compare them with care.")]


def _name(row: Row) -> str:
    key = row.key
    patches = f" p{key.patches}" if key.patches > 1 else ""
    ratio = f" λ={key.train_ratio}" if key.train_ratio is not None else ""
    trained = "" if key.train == VANILLA else f"{key.trained}-trained{ratio} "
    return f"{trained}{key.inferred}{patches}"


def _listed(found: set[str]) -> str:
    return ", ".join(sorted(found - {"None"}))


def _code(run: Run) -> str:
    commit = f" at {run.of('code', 'commit')[:10]}" if run.of("code", "commit") else ""
    changed = " with changes" if run.of("code", "dirty") else ""
    return f"{run.of('code', 'version') or 'unknown version'}{commit}{changed}"
