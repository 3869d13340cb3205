"""Records, samples, checkpoints, task files and overrides with random damage: is each one refused in words?

    make fuzz                              2,000 cases of each kind, some minutes
    python -m tools.robustness.fuzz --cases 200 --seed 3 --only overrides

A case is good if it is read and shown, or refused with a UserError. Any other exception, or more than
SECONDS, is a fault: it is printed with its seed (`--seed N --cases 1` repeats it) and the exit status is 1.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tqdm import tqdm

from pdrop_eval.benchmarks.task_files import read_chain
from pdrop_eval.efficiency.architecture import nominal_image_tokens
from pdrop_eval.models.loading.checkpoint import check_anyres, check_checkpoint
from pdrop_eval.records.rows.frame import to_frame
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.compare import groups
from pdrop_eval.report.figures.flops.chart import make_charts
from pdrop_eval.report.figures.flops.text import figure_csv, figure_markdown
from pdrop_eval.report.findings.page import findings_page
from pdrop_eval.report.findings.questions import find
from pdrop_eval.report.formats.html import page
from pdrop_eval.report.formats.terminal import terminal
from pdrop_eval.report.paired import effect, pairing
from pdrop_eval.report.readme.reports import make_reports
from pdrop_eval.report.tables.summary import summary
from pdrop_eval.run.config import checks, compose
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.header import _read_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, MINI_CHECKPOINT, TASKS, options
from tools.robustness.fuzzing import BENCHMARKS, ODD, TEXT, damaged_bytes, damaged_value, make_runs

SECONDS = 60


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def show(root: Path) -> None:
    """Reads all records beneath a folder, and makes of them all that is made of records."""
    records = load_records(root)
    runs = to_runs(records)
    for report in make_reports(runs, "all"):
        report.files()
        terminal(report.sections, 80)
        page(report.title, report.sections)
    summary(runs, root, 80)
    for chart in make_charts("figure4", runs):
        figure_csv(chart)
        figure_markdown(chart)
    findings_page(find(runs))
    to_frame(records)


def compare(root: Path) -> None:
    """Compares the two runs beneath a folder question by question."""
    runs = {run.strategy: run for run in to_runs(load_records(root))}
    found = [pairing.pair(runs["vanilla"], runs["pdrop"], key, "leave_out") for key in BENCHMARKS]
    effect.overall(effect.measure_all(found, effect.Settings(permutations=50)))
    for one in found:
        groups.groups(one, one.samples[0])


class Fuzz:
    """The kinds of cases; each makes one from a random number generator, and tries it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs = make_runs(folder / "runs")
        self.record = self.runs[1] / "record.json"
        self.content = self.record.read_bytes()
        self.samples = [path for run in self.runs for path in sorted((run / "samples").iterdir())]
        self.texts = {path: path.read_bytes() for path in self.samples}
        self.checkpoint = folder / "checkpoint"
        self.checkpoint.mkdir()
        (self.checkpoint / "model.safetensors").write_bytes(b"")
        compose_spec().strategy.build()  # its imports take time
        self.keys = list(_keys(compose.compose_config()))
        self.words = {group: options(group) for group in compose.ENTRIES["evaluate"]}

    def record_bytes(self, luck: random.Random) -> None:
        """A record with damaged bytes."""
        self._record(damaged_bytes(self.content, luck))

    def record_fields(self, luck: random.Random) -> None:
        """A record with odd values."""
        self._record(json.dumps(damaged_value(json.loads(self.content), luck)).encode())

    def _record(self, content: bytes) -> None:
        self.record.write_bytes(content)
        try:
            show(self.folder / "runs")
        finally:
            self.record.write_bytes(self.content)

    def sample_bytes(self, luck: random.Random) -> None:
        """A file of samples with damaged bytes."""
        path = luck.choice(self.samples)
        self._samples(path, damaged_bytes(self.texts[path], luck))

    def sample_fields(self, luck: random.Random) -> None:
        """Samples with odd values."""
        path = luck.choice(self.samples)
        lines = damaged_value([json.loads(line) for line in self.texts[path].splitlines()], luck)
        lines = lines if isinstance(lines, list) else [lines]
        self._samples(path, "\n".join(map(json.dumps, lines)).encode())

    def _samples(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        try:
            compare(self.folder / "runs")
        finally:
            path.write_bytes(self.texts[path])

    def overrides(self, luck: random.Random) -> None:
        """A command line of odd settings."""
        given = [f"{self._key(luck)}={self._value(luck)}" for _ in range(luck.choice((1, 1, 2, 3)))]
        compose.check_command_line(given)
        config = compose_spec(given)
        checks.check_settings(config)
        checks.check_tasks(config.tasks, list(config.suite.tasks), config.suite.name, config.limit)
        config.strategy.build().schedule(8, 144)

    def _key(self, luck: random.Random) -> str:
        key = luck.choice([*self.keys, *self.words])
        return key if luck.random() < 0.9 else damaged_bytes(key.encode(), luck).decode("utf-8", "replace")

    def _value(self, luck: random.Random) -> str:
        value = luck.choice([*ODD, *TEXT, *(name for names in self.words.values() for name in names)])
        text = value if isinstance(value, str) else json.dumps(value)
        return text.encode("utf-8", "replace").decode() + (luck.choice(TEXT) if luck.random() < 0.2 else "")

    def task_file(self, luck: random.Random) -> None:
        """A YAML file with damaged bytes."""
        original = luck.choice(sorted(TASKS.rglob("*.yaml")) + sorted(CONF.glob("strategy/*.yaml")))
        content = damaged_bytes(original.read_bytes(), luck).replace(b"[" * 99, b"")  # YAML has no limit
        if luck.random() < 0.3:
            content += f"\nx: {luck.choice(TEXT)}\n".encode()
        path = self.folder / "task.yaml"
        path.write_bytes(content)
        read_chain(path)

    def checkpoint_config(self, luck: random.Random) -> None:
        """A checkpoint's config.json with odd values."""
        content = json.loads((MINI_CHECKPOINT / "config.json").read_bytes())
        text = json.dumps(damaged_value(content, luck)).encode()
        if luck.random() < 0.3:
            text = damaged_bytes(text, luck)
        (self.checkpoint / "config.json").write_bytes(text)
        config = compose_spec([f"model.pretrained={self.checkpoint}"])
        found = check_checkpoint(str(self.checkpoint), None)
        check_anyres(config.model.anyres, found.config)
        plan: Any = SimpleNamespace(config=config, commit=None, checkpoint=found)
        nominal_image_tokens(_read_config(str(self.checkpoint), plan))


KINDS = ("record_bytes", "record_fields", "sample_bytes", "sample_fields", "overrides", "task_file",
         "checkpoint_config")  # fmt: skip


def _keys(config: Any, parents: str = "") -> Iterator[str]:
    for key in config:
        value = config._get_node(key)
        yield f"{parents}{key}"
        if hasattr(value, "keys"):
            yield from _keys(value, f"{parents}{key}.")


def fuzz(kind: str, cases: int, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """How the cases of a kind ended, and the faults in words."""
    made = Fuzz(folder)
    attempt: Callable[[random.Random], None] = getattr(made, kind)
    ends: Counter = Counter()
    faults: list[str] = []
    for number in tqdm(range(seed, seed + cases), desc=kind, unit="case", disable=None):
        try:
            with warnings.catch_warnings(), limit(SECONDS):
                warnings.simplefilter("ignore")
                attempt(random.Random(f"{kind} {number}"))
            ends["taken"] += 1
        except UserError:
            ends["refused"] += 1
        except Exception as error:
            ends["faults"] += 1
            where = traceback.extract_tb(error.__traceback__)
            place = [frame for frame in where if "pdrop_eval" in frame.filename] or where
            faults.append(
                f"{kind}, seed {number}: {type(error).__name__}: {str(error)[:200]!r} in "
                f"{place[-1].name}, line {place[-1].lineno} of {Path(place[-1].filename).name}"
            )
    return ends, faults


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1, help="of the first case; each has its own")
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    every: list[str] = []
    print(f"{'kind':<20}{'cases':>8}{'taken':>8}{'refused':>9}{'faults':>8}")
    for kind in [options.only] if options.only else KINDS:
        with tempfile.TemporaryDirectory() as folder:
            ends, faults = fuzz(kind, options.cases, options.seed, Path(folder))
        counts = f"{ends['taken']:>8}{ends['refused']:>9}{ends['faults']:>8}"
        print(f"{kind:<20}{sum(ends.values()):>8}{counts}", flush=True)
        every += faults
    print("taken: what the damage left was valid, and was read and shown. refused: with one message.")
    print(f"{len(every)} faults", *every, sep="\n")
    sys.exit(bool(every))


if __name__ == "__main__":
    main()
