"""Runs a sweep with `engine=local` and with `engine=ray`, and compares all that they write.

    make sweep-equal      sweep=mini with 16 questions, 15 minutes or more; results/sweep_equal.md
    make sweep-equal ARGS='--limit 4 --out equal.md'

Files are compared byte for byte; records but for the fields that tell of time and place, and the page says
which of these differ. It ends with 1 if anything else does.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdrop_eval.utils.files import write_atomically
from tools.robustness.compared import TIMED, TIMED_TASK, content, differences
from tools.robustness.sweep_disturbed import started

PAGE = Path("results/sweep_equal.md")
ENGINES = {"local": ["engine=local"], "ray": ["engine=ray", "actors=2"]}
_WHY = {
    "created": "time", "updated": "time", "command": "names the folder of the results",
    "config.results": "the folder of the results", "resumed": "time", "hardware": "the machine",
    "code": "the commit", "wall_seconds": "time", "usage": "time, and which images another cell had encoded",
}  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """What two sweeps have written.

    Attributes:
        cells: Tasks in the records of the first.
        runs: Its records.
        files: Files of both, by what they hold.
        differ: Those that differ in more than time and place.
        fields: Of how many records a field of time and place differs.
    """

    cells: int
    runs: int
    files: Counter[str]
    differ: list[str]
    fields: Counter[str]


def compare(first: Path, second: Path) -> Compared:
    """Compare two folders of results."""
    found = content(first)
    records = [name for name in found if name.endswith("/record.json")]
    kinds = Counter(_kind(name) for name in found)
    fields: Counter[str] = Counter()
    cells = 0
    for name in records:
        if not (second / name).is_file():
            continue
        one, other = (json.loads((root / name).read_text(encoding="utf-8")) for root in (first, second))
        cells += len(one["tasks"])
        fields.update(_differing(one, other))
    return Compared(cells, len(records), kinds, differences(content(second), found), fields)


def _kind(name: str) -> str:
    """What a file holds, by its place in its run's folder."""
    inner = name.split("/")[2:]
    return "record" if inner == ["record.json"] else inner[0]


def _differing(one: dict, other: dict) -> set[str]:
    """The fields of time and place that differ between two records of a run."""
    names = {name for name in TIMED if one.get(name) != other.get(name)}
    if one["config"]["results"] != other["config"]["results"]:
        names.add("config.results")
    for task, entry in one["tasks"].items():
        told = other["tasks"].get(task, {})
        names |= {name for name in TIMED_TASK if entry.get(name) != told.get(name)}
    return names


def run(arguments: Sequence[str], work: Path) -> dict[str, float]:
    """Run the sweep with each engine; returns the seconds that each took."""
    seconds = {}
    for engine, chosen in ENGINES.items():
        began = time.monotonic()
        log = work / f"{engine}.log"
        print(f"engine={engine}: {log}", file=sys.stderr, flush=True)
        status = started([*arguments, *chosen], work / engine, log).wait()
        if status:
            sys.exit(f"the sweep with engine={engine} ended with {status}, see {log}")
        seconds[engine] = time.monotonic() - began
    return seconds


def page(compared: Compared, arguments: Sequence[str], seconds: dict[str, float]) -> str:
    """The figures as Markdown."""
    from pdrop_eval.utils.code.provenance import code_identity

    code = code_identity()
    changed = ", with changes" if code["dirty"] else ""
    others = sum(compared.files.values()) - compared.files["record"]
    lines = [
        "# One sweep on two engines: the same bytes", "",
        f"**{compared.cells} cells of {compared.runs} runs with `engine=local` and with `engine=ray`: "
        f"{sum(compared.files.values())} files compared, {len(compared.differ)} differ** "
        f"(`make sweep-equal`, code {code['version']} at {str(code['commit'])[:10]}{changed}).", "",
        "```sh",
        *(f"pdrop-eval-sweep {' '.join([*arguments, *chosen])}" for chosen in ENGINES.values()),
        "```", "",
        "| files | number | compared |",
        "|:--|--:|:--|",
        *(
            f"| {kind} | {number} | {'all but the fields below' if kind == 'record' else 'byte for byte'} |"
            for kind, number in sorted(compared.files.items())
        ), "",
        f"{others} of the files are the same bytes. Of the records, all but these fields, which tell of time "
        "and place, is the same text in the same order:", "",
        "| field | differs in records | tells of |",
        "|:--|--:|:--|",
        *(f"| `{name}` | {number} | {_WHY[name]} |" for name, number in sorted(compared.fields.items())), "",
        *(f"- WRONG: {name} differs." for name in compared.differ),
        "Seconds, loading and planning included: "
        + ", ".join(f"`engine={engine}` {value:.0f}" for engine, value in seconds.items())
        + ". Other programs ran beside them: they say nothing of an engine's speed.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs both sweeps, prints what was compared and writes it; exits with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sweep", default="mini", help="a name of conf/sweep")
    parser.add_argument("--limit", type=int, default=16, help="questions of each cell")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument(
        "--keep", type=Path, help="a folder for the records, to go on after a kill; else removed"
    )
    asked = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    from pdrop_eval.benchmarks.rendered.suite import ensure_suite

    ensure_suite()
    with contextlib.ExitStack() as stack:
        work = Path(asked.keep or stack.enter_context(tempfile.TemporaryDirectory())).absolute()
        work.mkdir(parents=True, exist_ok=True)
        settings = [f"sweep={asked.sweep}", f"limit={asked.limit}"]
        seconds = run(settings, work)
        compared = compare(*(work / engine for engine in ENGINES))
    text = page(compared, settings, seconds)
    print(text, end="")
    write_atomically(asked.out, text)
    sys.exit(1 if compared.differ else 0)


if __name__ == "__main__":
    main()
