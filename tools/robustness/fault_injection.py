"""Kills evaluations, sweeps and table builds, fills the disk, damages files: is anything lost?

    make fault-injection   25 faults of each kind, some minutes; results/fault_injection.md
    python -m tools.robustness.fault_injection --faults 3

Each fault has a results folder of its own. The command is run in a process, the fault is injected at a
random moment of it (SIGKILL) or at a random write (a full disk), the same command is run again, and what it
leaves is compared with an undisturbed run: samples byte for byte, records but for times, tables byte for
byte. All processes are forks of one that has imported the libraries, so that the moments fall into the work
and not into imports. Meanwhile the records are read over and over, as a second person would.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tools.robustness.faults import (
    Counter,
    damage_journals,
    evaluation,
    fork,
    full_disk,
    kill_at,
    kill_when,
    sweep,
    table_build,
    wait,
)

BATCH = 8
EVALUATION = ["model=mini", "strategy=pdrop", "tasks=[gqa,mme,chartqa]", "limit=32", f"batch_size={BATCH}"]
SWEEP = ["models=[mini]", "strategies=[vanilla,pdrop]", "tasks=[gqa]", "limit=32", f"batch_size={BATCH}"]
PROGRAMS = {"evaluation": ("pdrop-eval", evaluation), "sweep": ("pdrop-eval-sweep", sweep)}
TIMED = ("created", "updated", "command", "config", "resumed", "error", "code")  # of a record: may differ
TIMED_TASK = ("wall_seconds", "usage")
PAGE = Path("results/fault_injection.md")


@dataclass
class Tally:
    """What happened to one kind of fault. answered: by the model before the fault; kept: of these, on disk.

    Attributes:
        recalled: Not computed again.
        most_lost: Answers of one fault that were given and not kept, at most.
    """

    kind: str
    what: str
    faults: int = 0
    hit: int = 0
    answered: int = 0
    kept: int = 0
    recalled: int = 0
    most_lost: int = 0
    reads: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, right: bool, what: str) -> None:
        """Notes what went wrong."""
        if not right:
            self.wrong.append(what)


def records(root: Path) -> dict[str, Any]:
    """All records beneath a folder by run, without times, and the bytes of their samples."""
    found: dict[str, Any] = {}
    for path in sorted(root.glob("*/*/record.json")):
        record = {k: v for k, v in json.loads(path.read_text()).items() if k not in TIMED}
        for task, entry in record["tasks"].items():
            record["tasks"][task] = {k: v for k, v in entry.items() if k not in TIMED_TASK}
        record["samples"] = {p.name: p.read_bytes() for p in sorted(path.parent.glob("samples/*"))}
        record["left over"] = [
            str(p) for p in path.parent.rglob("*") if p.match("*.tmp") or "journal/" in str(p)
        ]
        found[path.parent.name] = record
    return found


def kept_answers(root: Path) -> int:
    """How many answers are on disk: those of finished tasks, and those in journals of the others."""
    from pdrop_eval.records.journal import read_answers
    from pdrop_eval.records.store import read_record

    total = 0
    for folder in root.glob("*/*"):
        path = folder / "record.json"  # a sweep writes it with the first task that is finished
        done = read_record(path)["tasks"] if path.is_file() else {}
        total += sum(entry["n"] for entry in done.values())
        for journal in folder.glob("journal/*.jsonl"):
            if journal.name.split(".")[0] not in done:
                total += len(read_answers(journal))
    return total


def read_all(root: Path, tally: Tally) -> None:
    """Reads every record and the samples of its finished tasks, as the tables do while a run goes on."""
    from pdrop_eval.records.store import load_records, load_samples
    from pdrop_eval.utils.errors import UserError

    try:
        for record in load_records(root):
            for task, entry in record["tasks"].items():
                tally.check(
                    len(load_samples(Path(record["folder"]), task)) == entry["n"], f"samples of {task}"
                )
    except UserError as error:
        tally.wrong.append(f"half-written file read: {error}")
    tally.reads += 1


def inject_into_runs(
    kind: str, arguments: list[str], faults: int, work: Path, chance: random.Random
) -> Tally:
    """Kills one of PROGRAMS with these arguments."""
    program, action = PROGRAMS[kind]
    counted = kind == "sweep"  # what comes before the first answer is long, and not at stake
    moment = "after a random number of answers" if counted else "at a random moment"
    tally = Tally(kind, f"{program} {' '.join(arguments)}: SIGKILL {moment}")
    whole, length = undisturbed(arguments, work / kind, action)
    total = sum(entry["n"] for run in whole.values() for entry in run["tasks"].values())
    for number in bar(range(faults), kind):
        root, log = work / f"{kind}-{number}", work / f"{kind}-{number}.log"
        before, after = Counter(), Counter()
        process = fork(action(arguments, root, before), log)
        watch = partial(read_all, root, tally)
        if counted:
            killed = kill_when(process, before, chance.randrange(1, total), watch)
        else:
            killed = kill_at(process, chance.uniform(0, length), watch)
        kept = kept_answers(root)
        if chance.random() < 0.5:
            damage_journals(root, chance)
        intact = kept_answers(root)
        status = wait(fork(action(arguments, root, after), log))
        lost = before.value - kept
        tally.faults += 1
        tally.hit += killed
        tally.answered += before.value
        tally.kept += kept
        tally.recalled += sum(entry["n"] for run in records(root).values() for entry in run["tasks"].values())
        tally.recalled -= after.value
        tally.most_lost = max(tally.most_lost, lost)
        tally.check(status == 0, f"fault {number}: the second command ended with {status}, see {log}")
        tally.check(lost <= BATCH, f"fault {number}: {lost} answers lost")
        # what is damaged afterwards costs the batches that it was part of
        tally.check(
            after.value <= total - intact + (kept - intact) * (BATCH - 1), f"fault {number}: asked again"
        )
        tally.check(records(root) == whole, f"fault {number}: other results, see {root}")
    return tally


def undisturbed(
    arguments: list[str], root: Path, action: Callable[..., Callable[[], None]] = evaluation
) -> tuple[dict[str, Any], float]:
    """What the command leaves without a fault, and how long it takes when the system has read its files."""
    length = 0.0
    for place in (root.with_name(f"{root.name}-warm"), root):
        started = time.monotonic()
        status = wait(fork(action(arguments, place, Counter()), root.with_suffix(".log")))
        length = time.monotonic() - started
        if status:
            sys.exit(f"the undisturbed run failed with {status}: {root.with_suffix('.log').read_text()}")
    return records(root), length


def inject_into_disk(faults: int, work: Path, chance: random.Random) -> Tally:
    """Fills the disk at a random write of an evaluation."""
    tally = Tally("full disk", f"pdrop-eval {' '.join(EVALUATION)}: no space left from a random write on")
    whole, _ = undisturbed(EVALUATION, work / "disk")
    writes = Counter()
    action = evaluation(EVALUATION, work / "disk-count", Counter())
    wait(fork(full_disk(action, 0, writes), work / "disk-count.log"))
    for number in bar(range(faults), "full disk"):
        root, log = work / f"disk-{number}", work / f"disk-{number}.log"
        before, after = Counter(), Counter()
        at = chance.randint(1, writes.value)
        status = wait(fork(full_disk(evaluation(EVALUATION, root, before), at, Counter()), log))
        said = log.read_text()
        kept = kept_answers(root)
        again = wait(fork(evaluation(EVALUATION, root, after), log))
        tally.faults += 1
        tally.hit += status != 0
        tally.answered += before.value
        tally.kept += kept
        tally.recalled += kept
        tally.most_lost = max(tally.most_lost, before.value - kept)
        tally.check(
            status == 2 and "disk or the quota is full" in said, f"fault {number}: {status}, see {log}"
        )
        tally.check("Traceback" not in said, f"fault {number}: a traceback, see {log}")
        tally.check(again == 0 and records(root) == whole, f"fault {number}: other results, see {root}")
    return tally


def inject_into_pairs(faults: int, work: Path) -> Tally:
    """Starts the same command twice at the same time."""
    tally = Tally("two at once", f"pdrop-eval {' '.join(EVALUATION)}: two processes, the same run")
    whole, _ = undisturbed(EVALUATION, work / "pairs")
    total = sum(entry["n"] for run in whole.values() for entry in run["tasks"].values())
    for number in bar(range(faults), "two at once"):
        root, answered = work / f"pairs-{number}", Counter()
        logs = [work / f"pairs-{number}-{which}.log" for which in "ab"]
        both = [fork(evaluation(EVALUATION, root, answered), log) for log in logs]
        statuses = sorted(wait(process) for process in both)
        refused = "is being written by" in "".join(log.read_text() for log in logs)
        tally.faults += 1
        tally.hit += 1
        tally.answered += answered.value
        tally.kept += total
        tally.check(statuses in ([0, 0], [0, 2]), f"fault {number}: {statuses}, see {logs}")
        tally.check(statuses == [0, 0] or refused, f"fault {number}: not refused, see {logs}")
        tally.check(
            answered.value == total, f"fault {number}: {answered.value} answers for {total} questions"
        )
        tally.check(records(root) == whole, f"fault {number}: other results, see {root}")
    return tally


def inject_into_tables(faults: int, work: Path, chance: random.Random) -> Tally:
    """Kills `pdrop-eval-tables` that writes over older tables: each file is the old one or the new one."""
    tally = Tally("tables", "pdrop-eval-tables over older tables: SIGKILL at a random moment")
    log, old, new = work / "tables.log", work / "tables-old", work / "tables-new"
    wait(fork(table_build(work / "evaluation", old), log))
    started = time.monotonic()
    status = wait(fork(table_build(work / "sweep", new), log))
    length = time.monotonic() - started
    tally.check(status == 0 and contents(old) != contents(new), f"the undisturbed build failed, see {log}")
    for number in bar(range(faults), "tables"):
        out = Path(shutil.copytree(old, work / f"tables-{number}"))
        process = fork(table_build(work / "sweep", out), log)
        tally.hit += kill_at(process, chance.uniform(0, 1.2 * length), lambda: None)
        found = contents(out)
        whole = all(
            text in (contents(old).get(name), contents(new).get(name)) for name, text in found.items()
        )
        tally.faults += 1
        tally.check(whole, f"fault {number}: half-written tables in {out}")
        wait(fork(table_build(work / "sweep", out), log))
        tally.check(contents(out) == contents(new), f"fault {number}: other tables in {out}")
    return tally


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for those that a killed process didn't come to rename."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*")) if not p.name.startswith(".")}


def bar(items: Sequence[int], kind: str) -> Any:
    """A progress bar on standard error."""
    return tqdm(items, desc=kind, unit="fault", file=sys.stderr, dynamic_ncols=True, disable=False)


def page(tallies: Sequence[Tally], seed: int) -> str:
    """The figures as Markdown."""
    from pdrop_eval.utils.code.provenance import code_identity

    code = code_identity()
    faults, wrong = sum(t.faults for t in tallies), sum(len(t.wrong) for t in tallies)
    changed = ", with changes" if code["dirty"] else ""
    lines = [
        "# Fault injection: nothing finished is lost", "",
        f"**{faults} faults injected, {wrong} results lost or wrong** (`make fault-injection`, seed {seed}, "
        f"code {code['version']} at {str(code['commit'])[:10]}{changed}).", "",
        "After each fault the same command was run again, and its results were compared with those of an "
        "undisturbed run: samples and tables byte for byte, records except for their times.", "",
        "| kind | faults | during the run | answered before | of these on disk | most asked again | "
        "concurrent reads | wrong |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {t.kind} | {t.faults} | {t.hit} | "
            + " | ".join("-" if t.kind == "tables" else str(n) for n in (t.answered, t.kept, t.most_lost))
            + f" | {t.reads or '-'} | {len(t.wrong)} |"
            for t in tallies
        ), "",
        *(f"- {t.kind}: `{t.what}`." for t in tallies),
        f"- Answered before: questions that the model had answered before the fault. A batch has {BATCH} "
        "questions; only those of the batch that was being written are asked again.",
        "- Concurrent reads: how often all records and samples were read while the command wrote them; every "
        "read found them complete.",
        "- A fault after the end of a command has no effect. After half of the kills, a byte of the journal "
        "was changed or its end cut off; the damaged answers are asked again.",
        *(f"- WRONG: {t.kind}: {what}" for t in tallies for what in t.wrong),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Injects the faults, prints the figures and writes them; exits with 1 if anything is lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faults", type=int, default=25, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--keep", type=Path, help="a folder for all that was made; else it is removed")
    asked = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["OMP_NUM_THREADS"] = "1"  # no threads before the forks
    for name in ("lmms_eval.evaluator", "pdrop_eval.run.lmms.model", "pdrop_eval.report.readme.reports"):
        importlib.import_module(name)  # once, for all forks
    from pdrop_eval.benchmarks.rendered.suite import ensure_suite
    from pdrop_eval.utils.files import write_atomically

    ensure_suite()
    chance = random.Random(asked.seed)
    with contextlib.ExitStack() as stack:
        made = asked.keep or stack.enter_context(tempfile.TemporaryDirectory())
        work = Path(made)
        work.mkdir(parents=True, exist_ok=True)
        tallies = [
            inject_into_runs("evaluation", EVALUATION, asked.faults, work, chance),
            inject_into_runs("sweep", SWEEP, asked.faults, work, chance),
            inject_into_tables(asked.faults, work, chance),
            inject_into_disk(asked.faults, work, chance),
            inject_into_pairs(max(1, asked.faults // 5), work),
        ]
    text = page(tallies, asked.seed)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(
        asked.out.with_suffix(".json"), json.dumps([asdict(t) for t in tallies], indent=1) + "\n"
    )
    sys.exit(1 if any(t.wrong for t in tallies) else 0)


if __name__ == "__main__":
    main()
