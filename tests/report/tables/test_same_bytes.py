"""The paper's five tables from records of schema 2 are those that version 0.1 made of them, byte for byte.

The files in `golden/` were made by commit 8e8d794 from `golden/records.jsonl`. Compared are the grid of
scores in every format and the CSV, but for intervals, of which the method has changed since. Commands name
the models that conf/model had then.
"""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from pdrop_eval.report.tables import commands
from pdrop_eval.utils.presets import presets

GOLDEN = Path(__file__).with_name("golden")
GRID = {  # what begins a line of a grid, and what ends the first one
    "md": (re.compile(r"\|"), re.compile("95% intervals")),
    "tex": (re.compile(r".*\\\\$|\\midrule"), re.compile(r"\\end\{tabular\}")),
    "html": (re.compile(r"<(thead|tr)"), re.compile("</table>")),
}


def grid(text, kind):
    """The lines of the first grid of each section; what is shown on a hover has intervals, too."""
    row, end = GRID[kind]
    lines, inside = [], True
    for line in text.split("\n"):
        if re.match(r"### |% Table|<h2>", line):
            inside = True
        elif end.search(line):
            inside = False
        if inside and row.match(line):
            lines.append(re.sub(' title="[^"]*"', "", line))
    return "\n".join(lines) + "\n"


def without_intervals(text):
    """A CSV without the columns of intervals."""
    rows = [
        {name: value for name, value in row.items() if not name.endswith(("_low", "_high", "_stderr"))}
        for row in csv.DictReader(io.StringIO(text))
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def compared(name, text):
    """What is compared of a file."""
    return without_intervals(text) if name.endswith(".csv") else grid(text, name.rpartition(".")[2])


def miniatures():
    """The miniatures of that commit, by name."""
    plain = {**presets("model")["mini"], "pretrained": "embedded"}
    tiled = {**plain, "architecture": "llava-next"}
    starts = {
        "mini": plain, "mini_next_p5": {**tiled, "patches": 5}, "mini_next_p9": {**tiled, "patches": 9},
    }  # fmt: skip
    found = dict(starts)
    for name, start in starts.items():
        for ratio in (0.5,) if name == "mini_next_p9" else (0.4, 0.5, 0.6):
            found[f"{name}_pdrop_0{10 * ratio:g}"] = {**start, "train": "pdrop", "train_ratio": ratio}
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of all tables by name."""
    from pdrop_eval.records.rows.run import to_runs
    from pdrop_eval.records.store import load_records
    from pdrop_eval.report.readme.reports import make_reports

    root = tmp_path_factory.mktemp("runs")
    for line in (GOLDEN / "records.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        folder = root / record["model"]["name"] / record["run_id"]
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(line, encoding="utf-8")
    groups = {"model": {**presets("model"), **miniatures()}, "strategy": presets("strategy")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "presets", groups.get)
        reports = make_reports(to_runs(load_records(root)), "all")
    return {name: text for report in reports for name, text in report.files().items()}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("table*.*")), ids=lambda path: path.name)
def test_the_papers_tables_are_the_same_bytes(files, path):
    golden = path.read_text(encoding="utf-8")
    assert golden.count("\n") > 5
    assert compared(path.name, files[path.name]) == golden
