"""`pdrop-eval-sweep`: a matrix of models, strategies, budgets, suites and seeds, on an engine.

Nothing heavy is imported before the first cell: a plan loads torch only where config.json leaves sizes open.
"""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pdrop_eval.run.config.compose import help_text
from pdrop_eval.run.sweep.engines import engine_of
from pdrop_eval.run.sweep.spec import ENTRY, SweepSpec, read_sweep
from pdrop_eval.utils.distributed import check_alone
from pdrop_eval.utils.errors import RunsFailedError
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.text.redact import redact

PROGRAM = "pdrop-eval-sweep"
_WATCH_SECONDS = 5.0


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault(
        "TQDM_DISABLE", "1"
    )  # of the libraries, and of each cell: the sweep has lines of its own
    arguments = sys.argv[1:]
    if {"-h", "--help"} & {*arguments}:
        print(help_text(ENTRY), end="")
        return
    with ending(PROGRAM, "interrupted. Run the same command to resume."):
        check_alone(PROGRAM)
        sweep(arguments)


def sweep(arguments: Sequence[str]) -> None:
    """Do what a command line asks for: run a sweep, plan it, or tell how far one is.

    Raises:
        UserError: Wrong input.
        RunsFailedError: Cells that failed while the others went on.
    """
    spec = read_sweep(arguments)
    engine = engine_of(spec.engine)
    if spec.status or spec.watch:
        _status(spec)
        return
    from pdrop_eval.run.sweep.plan.matrix import without_effect
    from pdrop_eval.run.sweep.plan.pace import pace_of
    from pdrop_eval.run.sweep.plan.runs import plan_runs
    from pdrop_eval.run.sweep.plan.text import plan_text

    engine.check(spec)
    planned = plan_runs(spec)
    for block in without_effect(spec):
        log_rank_zero(f"exclude={block} leaves nothing out: no cell that is asked for is like that.")
    if spec.plan:
        print(plan_text(planned, pace_of(Path(spec.results)), spec.actors or 1))
        return
    about = shlex.join([script(PROGRAM), *arguments])
    from pdrop_eval.run.sweep.conduct import conduct

    failed = conduct(spec, engine, planned, redact(about))
    if failed:
        raise RunsFailedError(failed)


def _status(spec: SweepSpec) -> None:
    from pdrop_eval.run.sweep.state.board import Board
    from pdrop_eval.run.sweep.state.status import state_of, status_text

    board = Board(Path(spec.results))
    while True:
        state = state_of(board)
        text = status_text(state)
        if spec.watch and sys.stdout.isatty():
            text = f"\033[H\033[J{text}"
        print(text, flush=True)
        if not (spec.watch and state.alive):
            return
        time.sleep(_WATCH_SECONDS)


if __name__ == "__main__":
    main()
