"""Kills workers, nodes and the driver of sweeps on a Ray cluster of two simulated nodes: is anything lost?

    make sweep-faults      20 kills, about 15 minutes; results/sweep_faults.md and .json
    python -m tools.robustness.sweep_faults --faults 3

Sweeps run one after the other on the cluster, and while they compute, kills hit them at random moments, some
in each: a worker by SIGKILL, a node with all of its processes (a new one joins), the driver by SIGKILL (the
same command is started again). What each sweep leaves is compared with an undisturbed one of engine=local:
samples byte for byte, records but for times and places. No finished cell may be computed again, and of a
cell that was cut no answer that is in its journal. Then a sweep with a damaged sample: its cells are marked
as failed, the others done.
"""

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from pdrop_eval.utils.files import write_atomically
from tools.robustness.compared import content
from tools.robustness.sweep_cluster import two_nodes
from tools.robustness.sweep_disturbed import KINDS, SWEEP, Disturbed, Tally, alone, with_damaged_sample

PAGE = Path("results/sweep_faults.md")
KILLS = 4  # of a sweep at most: the next ones hit another


def inject(faults: int, work: Path, chance: random.Random, damaged: bool) -> Tally:
    """Run sweeps on a cluster until so many kills have hit them; returns what came of it."""
    tally = Tally()
    status, log = alone(work / "local")
    if status:
        sys.exit(f"the undisturbed sweep failed with {status}, see {log}")
    whole = content(work / "local")
    bar = tqdm(total=faults, unit="kill", file=sys.stderr, dynamic_ncols=True, disable=None)
    with two_nodes() as nodes:
        while len(tally.kills) < faults and tally.sweeps < 2 * faults:
            place = len(tally.kills)
            kinds = [KINDS[number % len(KINDS)] for number in range(place, min(place + KILLS, faults))]
            disturbed = Disturbed(nodes, work / f"sweep-{tally.sweeps}", chance, tally)
            disturbed.run(kinds, whole, bar.update)
        tally.check(len(tally.kills) == faults, f"only {len(tally.kills)} kills found a sweep at work")
        bar.close()
        if damaged:
            with_damaged_sample(nodes, work / "damaged", tally)
    return tally


def page(tally: Tally, seed: int) -> str:
    """The figures as Markdown."""
    from pdrop_eval.utils.code.provenance import code_identity

    code = code_identity()
    changed = ", with changes" if code["dirty"] else ""
    number = {kind: sum(one == kind for one in tally.kills) for kind in KINDS}
    lines = [
        "# Faults of sweeps: nothing finished is lost", "",
        f"**{len(tally.kills)} kills in {tally.sweeps} sweeps, {len(tally.wrong)} results lost or wrong** "
        f"(`make sweep-faults`, seed {seed}, code {code['version']} at {str(code['commit'])[:10]}{changed}).",
        "",
        "Each sweep ran with `engine=ray` on a cluster of two simulated nodes. Kills hit it at random "
        "moments while cells were computed; what it left was compared with an undisturbed sweep of "
        "`engine=local`: samples byte for byte, records except for what tells of time and place.", "",
        "| killed | times | how |",
        "|:--|--:|:--|",
        f"| worker | {number['worker']} | SIGKILL while it computes a cell |",
        f"| node | {number['node']} | taken away with all of its processes; a new one joins |",
        f"| driver | {number['driver']} | SIGKILL; the same command is started again |", "",
        f"- Each sweep: `pdrop-eval-sweep {' '.join(SWEEP)}`.",
        f"- {tally.finished} cells were finished when a kill came; none was computed again."
        if not tally.again
        else f"- {tally.again} of {tally.finished} finished cells were COMPUTED AGAIN.",
        f"- {tally.cut} cells were cut and handed out again. {tally.kept} of their answers were in journals; "
        f"{tally.asked_again} of these were asked again.",
        *(
            [f"- A damaged sample: {tally.failed} cells that have it were marked as failed after a second "
             f"try, the {tally.others} others done, exit status 1."]
            if tally.failed else []
        ),
        *(f"- WRONG: {what}" for what in tally.wrong),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Injects the kills, prints the figures and writes them; exits with 1 if anything is lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faults", type=int, default=20, help="kills of all kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--keep", type=Path, help="an empty folder for all that was made; else it is removed")
    parser.add_argument("--no-damage", action="store_true", help="without the sweep with a damaged sample")
    asked = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    from pdrop_eval.benchmarks.rendered.suite import ensure_suite

    ensure_suite()
    with contextlib.ExitStack() as stack:
        made = asked.keep or stack.enter_context(tempfile.TemporaryDirectory())
        work = Path(made).absolute()
        work.mkdir(parents=True, exist_ok=True)
        tally = inject(asked.faults, work, random.Random(asked.seed), not asked.no_damage)
    text = page(tally, asked.seed)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(asdict(tally), indent=1) + "\n")
    sys.exit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
