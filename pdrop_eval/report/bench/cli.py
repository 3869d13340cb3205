"""`pdrop-eval-bench`: measures what dropping gains in time and memory.

Nothing heavy is imported up here: `--help`, a wrong setting and a finished benchmark never load torch.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from pdrop_eval.run.bench.outcome import finished, nothing_fits
from pdrop_eval.run.bench.record import existing
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.config.compose import CONFIG_ERRORS, check_command_line, explain
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.log import say
from pdrop_eval.utils.paths import CONF


def main() -> None:
    """The console script. Exits with 2 and one message, no traceback, for what the user can mend."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of exiting
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # torch's profiler would talk about GPUs that aren't there
    try:
        sys.argv[1:] = check_command_line(sys.argv[1:], "bench")
        hydra.main(config_path=str(CONF), config_name="bench", version_base="1.3")(_job)()
    except UserError as error:
        _leave(str(error), 2)
    except CONFIG_ERRORS as error:
        _leave(str(explain(error)), 2)
    except KeyboardInterrupt:
        _leave("interrupted. The same command goes on with the batch sizes that are missing.", 130)


def _leave(message: str, status: int) -> None:
    print(f"pdrop-eval-bench: {message}", file=sys.stderr)
    sys.exit(status)


def _job(config: DictConfig) -> None:
    try:
        print(report(bench(config)))
    except UserError as error:
        _leave(str(error), 2)  # here, because Hydra adds a line of its own to an exception that reaches it
    except BrokenPipeError:  # the reader of our output has left, as `| head` does; the record is written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def bench(config: DictConfig) -> dict[str, Any]:
    """Measures what a composed config asks for and is not there yet; returns the record. Raises UserError."""
    plan = make_plan(config)
    record = None if config.again else existing(Path(config.results), config.model.name, plan.identity)
    if record is not None and finished(plan, record):
        say("Nothing to do: all of it is in the record already. again=true measures anew.")
    else:
        say("Loading torch and transformers")
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
