"""How the building of the results page grows with its samples: memory stays, time follows them.

    make page-memory                     some minutes; results/page_memory.md and .json
    python -m tools.speed.reports.page_memory --runs 20 200 --questions 300

Makes synthetic runs (tests/page/synthetic.py), one, a few and many, and builds the page of each in a process
of its own. What counts are the ratios between few and many within this one run: of peak memory, and of a
processor's time beyond that of the page of one run, which is mostly imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "page"))

import synthetic  # noqa: E402
from tqdm import tqdm  # noqa: E402

from pdrop_eval.benchmarks.registry import by_task  # noqa: E402
from pdrop_eval.utils.code.provenance import code_identity, hardware  # noqa: E402
from pdrop_eval.utils.files import write_atomically  # noqa: E402

PAGE = Path("results/page_memory.md")
TASKS = 5
# Ten times the samples may take so much more memory, and so much more time than ten times.
AIM_MEMORY, AIM_TIME = 1.25, 1.25


def measure(runs: int, questions: int, work: Path, builds: int) -> dict[str, Any]:
    """Makes runs and builds their page, each time anew; returns the numbers of the best build."""
    folder = work / str(runs)
    names = list(by_task())[:TASKS]
    synthetic.write_runs(folder / "runs", folder / "data", runs, names, questions, limited=False)
    found = [_build(folder, f"site{number}") for number in range(builds)]
    return {
        "runs": runs,
        "samples": runs * TASKS * questions,
        "records_bytes": sum(p.stat().st_size for p in (folder / "runs").rglob("*") if p.is_file()),
        **{name: min(one[name] for one in found) for name in found[0]},
    }


def _build(folder: Path, out: str) -> dict[str, float]:
    """Seconds and peak memory of the whole command, from its start to its end."""
    command = [
        sys.executable, "-m", "pdrop_eval.report.site.cli", f"root={folder}/runs", f"out={folder}/{out}",
        f"bench={folder}/none", f"compare={folder}/none", "pictures=0",
    ]  # fmt: skip
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"error: the page of {folder} could not be built ({child.returncode})")
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
    }


def ratios(sizes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What the last size takes as a multiple of the second; of time, what is beyond the first."""
    base, small, large = sizes
    return {
        "samples": large["samples"] / small["samples"],
        "memory": large["peak_bytes"] / small["peak_bytes"],
        "time": (large["processor_seconds"] - base["processor_seconds"])
        / (small["processor_seconds"] - base["processor_seconds"]),
    }


def met(found: dict[str, float]) -> bool:
    """Whether memory and time grow as little as is aimed at."""
    return found["memory"] <= AIM_MEMORY and found["time"] <= AIM_TIME * found["samples"]


def text_of(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    code, sizes, found = result["code"], result["sizes"], result["ratios"]
    changed = ", with changes" if code["dirty"] else ""
    lines = [
        "# The results page: memory and time as samples grow", "",
        f"**{found['samples']:.0f} times the samples: {found['memory']:.2f} times the memory, "
        f"{found['time']:.1f} times the processor's time** (`make page-memory`, code {code['version']} at "
        f"{str(code['commit'])[:10]}{changed}; {result['hardware']}).", "",
        "| runs | samples | records | peak memory | seconds | of a processor |",
        "|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {one['runs']} | {one['samples']:,} | {one['records_bytes'] / 1e6:.0f} MB "
            f"| {one['peak_bytes'] / 1e6:.0f} MB | {one['seconds']:.1f} | {one['processor_seconds']:.1f} |"
            for one in sizes
        ), "",
        "- Runs are synthetic, of five benchmarks; each sample has its grids of image tokens and the masks "
        "of all drops. Pictures are not copied (`pictures=0`): [page_speed.md](page_speed.md) has them.",
        f"- The best of {result['builds']} builds, each into an empty folder. Time: less that of the first "
        "line, which is mostly imports.",
        f"- Aims: at most {AIM_MEMORY:.2f} times the memory, and at most {AIM_TIME:.2f} times as long a "
        f"sample: {'met' if met(found) else 'NOT MET'}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints the figures and writes them; exits with 1 where an aim isn't met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--runs", type=int, nargs=2, default=(20, 200), help="of the small page and the large"
    )
    parser.add_argument("--questions", type=int, default=300, help="of each of five benchmarks")
    parser.add_argument("--builds", type=int, default=2, help="of each page")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bar = tqdm((1, *asked.runs), desc="building", file=sys.stderr, disable=None)
        sizes = [measure(runs, asked.questions, Path(folder), asked.builds) for runs in bar]
    machine = hardware()
    result = {
        "code": code_identity(),
        "hardware": f"{machine['cpu']}, {machine['cores']} cores",
        "builds": asked.builds,
        "sizes": sizes,
        "ratios": ratios(sizes),
    }
    text = text_of(result)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    sys.exit(0 if met(result["ratios"]) else 1)


if __name__ == "__main__":
    main()
