"""Measures on one GPU what a processor can't show, in under nine minutes, and writes a page.

python -m tools.speed.gpu [--tiny] [--only STEP ...] [--again] [--seconds 530] [--out FILE]

Models have the published sizes and random weights: nothing is downloaded. Each step runs in a process of its
own and is saved when it is done; the same command goes on with what is missing. With --tiny every line runs
on the processor with tiny models, and the page says so: it shows that the script works, and nothing about a
GPU.
"""

import argparse
import os
from pathlib import Path

FILE = Path("results/efficiency/gpu.json")
TINY_FILE = Path("results/bench/gpu_tiny.json")  # not committed
SECONDS, TINY_SECONDS = 530, 3600


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(
        description=str(__doc__).partition("\n")[0], prog="python -m tools.speed.gpu"
    )
    parser.add_argument("--tiny", action="store_true", help="try every line on the processor")
    parser.add_argument("--only", nargs="+", metavar="STEP", default=[], help="some steps alone")
    parser.add_argument("--again", action="store_true", help="forget what is there")
    parser.add_argument(
        "--seconds", type=float, help=f"for all steps together ({SECONDS}, of --tiny {TINY_SECONDS})"
    )
    parser.add_argument("--out", type=Path, help=f"JSON file ({FILE}, of --tiny {TINY_FILE})")
    options = parser.parse_args()

    from pdrop_eval.utils.errors import UserError
    from pdrop_eval.utils.files import write_atomically, writing_to
    from pdrop_eval.utils.terminal.cli import ending
    from pdrop_eval.utils.validation import check_choice
    from tools.speed.gpu.conduct import conduct
    from tools.speed.gpu.page import gpu_page
    from tools.speed.gpu.steps import STEPS

    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # A process that has asked CUDA for its GPUs can't be forked; imports ask NVML then.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    with ending("gpu"):
        seconds = (TINY_SECONDS if options.tiny else SECONDS) if options.seconds is None else options.seconds
        if not seconds > 0:
            raise UserError(f"--seconds {seconds:g} is not allowed: use more than 0.")
        for name in options.only:
            check_choice("--only", name, [step.name for step in STEPS])
        device = "cpu" if options.tiny else "cuda"
        _check_there(device)
        out = options.out or (TINY_FILE if options.tiny else FILE)
        with writing_to(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            found = conduct(out, device, seconds, again=options.again, only=options.only)
            page = out.with_suffix(".md")
            write_atomically(page, gpu_page(found))
        print(f"Written: {out} and {page}")


def _check_there(device: str) -> None:
    from pdrop_eval.models.loading.checkpoint import check_not_absent
    from pdrop_eval.utils.errors import UserError

    try:
        check_not_absent(device)
    except UserError as error:
        raise UserError(f"{error} To try every line on the processor: --tiny.") from error


if __name__ == "__main__":
    main()
