"""`pdrop-eval-bench`: measures what dropping gains in time and memory.

Nothing heavy is imported up here: `--help`, a wrong setting and a finished benchmark never load torch.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from pdrop_eval.run.bench.outcome import finished, nothing_fits
from pdrop_eval.run.bench.record import existing
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.spec import BenchSpec, make_spec
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.utils.distributed import check_alone
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.terminal.process import console_script


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # torch's profiler would talk about GPUs that aren't there
    goes_on = "interrupted. Run the same command again for the remaining batch sizes."
    cli.run(
        lambda config: print(report(bench(make_spec(config)))),
        "bench",
        check_command_line,
        goes_on,
    )


def bench(config: BenchSpec) -> dict[str, Any]:
    """Measures what is asked for and is not there yet; returns the record. Raises UserError."""
    check_alone("pdrop-eval-bench")
    plan = make_plan(config)
    record = None if config.again else existing(Path(config.results), config.model.name, plan.identity)
    if record is not None and finished(plan, record):
        log_rank_zero("Nothing to do: the record is complete. again=true measures again.")
    else:
        log_rank_zero("Loading torch and transformers")
        from pdrop_eval.run.bench.session import measure

        record = measure(plan)
    fault = nothing_fits(record)
    if fault is not None:
        raise fault
    return record


def report(record: dict[str, Any]) -> str:
    """What is printed: the numbers, and with a budget what it gains."""
    from pdrop_eval.report.bench.gain import gain_text
    from pdrop_eval.report.bench.text import bench_text

    parts = [bench_text(record, shutil.get_terminal_size().columns)]
    if record["budget"]:
        parts.append(gain_text(record, Path(record["config"]["scores"])))
    if record.get("folder"):
        parts.append(f"Record: {record['folder']}/record.json")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
