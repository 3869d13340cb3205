"""Builds the page from the records: reads every run, and writes what the page opens, file by file."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdrop_eval import __version__
from pdrop_eval.benchmarks.registry import benchmark_of, columns
from pdrop_eval.records.rows.left_out import read_left_out
from pdrop_eval.report.site.data.compared import Compared, comparisons
from pdrop_eval.report.site.data.curves import curves
from pdrop_eval.report.site.data.downloads import copy_comparisons, overview_sheet, sample_sheet
from pdrop_eval.report.site.data.efficiency import efficiency
from pdrop_eval.report.site.data.index import (
    benchmark_entries,
    known_benchmarks,
    run_entry,
    strategy_entries,
    unknown_benchmarks,
)
from pdrop_eval.report.site.data.pictures import Pictures
from pdrop_eval.report.site.data.records import Recorded, newest, read_runs, unrecorded
from pdrop_eval.report.site.data.samples import (
    CHUNK,
    SHORT,
    Asked,
    Question,
    QuestionSet,
    Stored,
    answer_chunks,
    read_asked,
    set_name,
    take_in,
)
from pdrop_eval.report.site.data.scores import apart
from pdrop_eval.report.site.data.spool import Spools
from pdrop_eval.report.site.data.tables import tables
from pdrop_eval.report.site.folder import PICTURES, Site, opened
from pdrop_eval.report.site.names import public, put
from pdrop_eval.report.site.notices import Notices
from pdrop_eval.report.site.progress import progress
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.console import in_checkout, script

FORMAT = 2
OVERVIEW = "downloads/runs.csv"
ASSETS = Path(__file__).with_name("assets")


@dataclass(frozen=True)
class Sources:
    """Where a page comes from: folders of records, benchmarks and comparisons, and of the user's own data.

    Attributes:
        pictures: How many images of a benchmark are copied at most.
    """

    root: Path
    bench: Path
    compare: Path
    pictures: int = 1000
    data: Path | None = None


@dataclass
class _Build:
    """A build at work: what it writes to, and what it has found out."""

    site: Site
    pictures: Pictures
    spools: Spools
    notices: Notices = field(default_factory=Notices)
    stored: dict[str, dict[str, Stored]] = field(default_factory=lambda: defaultdict(dict))
    compared: Compared = field(default_factory=dict)


def make_page(sources: Sources, out: Path) -> str:
    """Builds the page in `out`; returns what to tell the user.

    Raises:
        UserError: There is no record, one can't be read, two contradict each other, or `out` is no place for
            a page.
    """
    recorded = read_runs(sources.root)
    with opened(out) as site, site.scratch() as scratch, closing(Spools(scratch)) as spools:
        notices = Notices()
        notices.unrecorded(unrecorded(sources.root))
        notices.copies({one.place: one.copies for one in recorded if one.copies})
        pictures = Pictures(site, sources.pictures, sources.data, notices)
        build = _Build(site, pictures, spools, notices)
        groups = _groups(recorded)
        with progress("Reading answers", sum(map(len, groups.values()))) as bar:
            for (benchmark, _, _), group in groups.items():
                _write_group(build, benchmark, group, bar)
        index = _index(sources, build, recorded)
        _write_runs(build, recorded)
        first, scores = apart(index)
        site.write("data/scores.js", put("scores", scores))
        site.write("data/index.js", put("index", first))
        _write_assets(site)
        site.publish()
    return _told(index, out)


def _groups(recorded: Sequence[Recorded]) -> dict[tuple[str, str, str], list[tuple[Recorded, str]]]:
    """Runs and their tasks by benchmark, suite and data: those that may share questions."""
    found: dict[tuple[str, str, str], list[tuple[Recorded, str]]] = defaultdict(list)
    for one in recorded:
        tasks = {entry["benchmark"]: task for task, entry in one.run.record["tasks"].items()}
        for benchmark in known_benchmarks(one):
            data = str(one.run.results[benchmark].get("data_sha256") or "")
            found[benchmark, one.run.suite, data].append((one, tasks[benchmark]))
    order = columns(one.run.results for one in recorded)
    return {key: found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), *key[1:]))}


def _write_group(build: _Build, benchmark: str, group: Iterable[tuple[Recorded, str]], bar: Any) -> None:
    """The questions of runs on the same data, with the answers of all of them."""
    sets: list[QuestionSet] = []
    named = benchmark_of(benchmark).task
    for one, task in group:
        try:
            asked = read_asked(one, task, benchmark, build.spools)
        except UserError as error:
            build.notices.unread(one, benchmark, error)
        else:
            data = one.run.results[benchmark].get("data_sha256")
            take_in(sets, asked, set_name(one.run.suite, named, data), named)
        bar.update()
    for found in sets:
        _write_set(build, found)


def _write_set(build: _Build, found: QuestionSet) -> None:
    ordered = found.ordered
    shown = build.pictures.of(found, ordered)
    for chunk, first in enumerate(range(0, len(ordered), CHUNK)):
        lines = [_question(one, *shown[one.id]) for one in ordered[first : first + CHUNK]]
        name = f"{found.name}-{chunk}"
        build.site.write(f"data/questions/{name}.js", put(f"questions/{found.name}/{chunk}", lines))
    for asked in found.members:
        _write_answers(build, found, ordered, asked)


def _write_answers(build: _Build, found: QuestionSet, ordered: Sequence[Question], asked: Asked) -> None:
    key, chunks = asked.one.key, 0
    for chunk, lines in enumerate(answer_chunks(ordered, asked)):
        name = f"{key}/{found.task}"
        build.site.write(f"data/answers/{name}-{chunk}.js", put(f"answers/{name}/{chunk}", lines))
        chunks += 1
    build.stored[key][found.benchmark] = Stored(found.name, chunks, asked.overlays)
    if not asked.fits:
        build.notices.misfit(asked.one, found.benchmark)
    path = f"downloads/{key}.csv"
    for text in sample_sheet(asked, head=not build.site.has(path)):
        build.site.append(path, text)
    asked.answers.remove()
    asked.sheet.remove()


def _question(one: Question, files: list[str | None], missing: str | None) -> dict[str, Any]:
    return {
        "id": one.id,
        "prompt": one.prompt,
        "target": one.target,
        "hash": one.content[:SHORT],
        "pictures": [name and f"{PICTURES}/{name}" for name in files],
        "sizes": one.sizes,
        "grids": one.grids,
        "missing": missing,
    }


def _write_runs(build: _Build, recorded: Iterable[Recorded]) -> None:
    for one in recorded:
        json_file, csv_file = f"downloads/{one.key}.json", f"downloads/{one.key}.csv"
        files = {"json": json_file, "csv": csv_file if build.site.has(csv_file) else None}
        build.site.write(json_file, json.dumps(one.record, ensure_ascii=False, indent=2) + "\n")
        shown = {"record": one.record, "files": files, "compared": build.compared.get(one.key, {})}
        build.site.write(f"data/runs/{one.key}.js", put(f"run/{one.key}", shown))


def _index(sources: Sources, build: _Build, recorded: Sequence[Recorded]) -> dict[str, Any]:
    from pdrop_eval.utils.code.provenance import code_identity

    shown, sheets, later = tables(recorded, read_left_out(sources.root), sources.bench)
    for name, whole in later.items():
        build.site.write(f"data/tables/{name}.js", put(f"tables/{name}", public(whole)))
    for name, text in sheets.items():
        build.site.write(name, text)
    build.site.write(OVERVIEW, overview_sheet(recorded))
    code = code_identity()
    build.notices.unknown(unknown_benchmarks(recorded))
    speed = efficiency(sources.bench, build.notices)
    benched = {
        str(variant["strategy"])
        for record in speed["records"]
        for batch in record["batches"]
        for variant in batch["variants"]
        if variant["strategy"]
    }
    compared = comparisons(recorded, sources.compare, build.spools.samples)
    build.compared = public(compared)
    index = {
        "format": FORMAT,
        "version": __version__,
        "built": newest(recorded),
        "code": {name: code[name] for name in ("commit", "dirty")} if code["commit"] else None,
        "benchmarks": benchmark_entries(recorded),
        "reference": VANILLA,
        "commands": _commands(),
        "strategies": strategy_entries(recorded, sorted(benched)),
        "runs": [run_entry(one, build.stored[one.key], [*compared[one.key]]) for one in recorded],
        "tables": shown,
        "curves": curves(recorded),
        "efficiency": speed,
        "downloads": {"runs": OVERVIEW},
        "comparisons": copy_comparisons(sources.compare, build.site, build.notices),
    }
    return public({**index, "notices": build.notices.lines()})


def _commands() -> dict[str, str]:
    """What the page's own commands begin with, or are."""
    there = in_checkout()
    return {
        "compare": script("pdrop-eval-compare"),
        "show": script("pdrop-eval-show"),
        "bench": "make bench" if there else "pdrop-eval-bench model=mini576",
        "eval": "make eval" if there else "pdrop-eval",
    }


def _write_assets(site: Site) -> None:
    """The page itself, and the library of its charts."""
    for path in sorted(ASSETS.rglob("*")) if ASSETS.is_dir() else ():
        name = path.relative_to(ASSETS).as_posix()
        if path.is_file() and not any(part.startswith((".", "__")) for part in path.parts[-2:]):
            site.write(name if name == "index.html" else f"assets/{name}", path.read_bytes())
    site.write("assets/plotly.min.js", _plotly())


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _told(index: dict[str, Any], out: Path) -> str:
    answered = sum(entry["n"] or 0 for run in index["runs"] for entry in run["scores"].values())
    lines = [
        f"Built {out / 'index.html'}: {len(index['runs'])} runs, {answered:,} answers. Open it in a browser.",
        *(f"  {notice}" for notice in index["notices"]),
    ]
    return "\n".join(lines) + "\n"
