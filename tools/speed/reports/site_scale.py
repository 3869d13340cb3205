"""Figures and the page of results from 5,000 records: how long they take to make, and the page to open.

    make site-scale                                    some minutes; results/site_scale.md and .json
    python -m tools.speed.reports.site_scale --records 200

The records are those of `large_sweep`, of two benchmarks with four questions each, and beside them those that
Figure 4 asks for. Each command is timed from its start to its end; the page is opened from disk in headless
Chromium, if playwright and a browser are there.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.report.figures.chart import figure_experiments
from pdrop_eval.utils.code.provenance import code_identity, hardware
from pdrop_eval.utils.files import write_atomically
from tools.speed.reports.large_sweep import IMAGE_TOKENS, entry_of, record_of, samples_of, write_sweep
from tools.speed.reports.page import WATCH, browser_path

ROOT = Path(__file__).resolve().parents[3]
PAGE = Path("results/site_scale.md")
KEYS, QUESTIONS, FIGURE, MODEL = ("gqa", "pope"), 4, "figure4", "mini576"
TASKS = {key: benchmarks()[key].task for key in KEYS}
_PATIENCE = 180  # seconds until a page is given up: other work may keep the machine busy
AIM_SECONDS, AIM_BYTES, AIM_OPENING = 10.0, 2e9, 2000.0


def write_figure(root: Path) -> int:
    """Write the records of the points that Figure 4 has of the miniature; returns how many."""
    asked = [run for run in figure_experiments()[FIGURE]["runs"] if run["model"] == MODEL]
    for number, run in enumerate(asked):
        rng, changes = random.Random(number), list(run.get("overrides", []))
        share = float(changes[0].partition("=")[2]) if changes else 1.0
        tokens, tasks = round(share * IMAGE_TOKENS), {}
        folder = root / MODEL / f"{run['strategy']}-f{number:09x}"
        (folder / "samples").mkdir(parents=True)
        for key in KEYS:
            lines, score = samples_of(key, QUESTIONS, rng, 0.5 + 0.3 * share)
            (folder / "samples" / f"{TASKS[key]}.jsonl").write_bytes(lines)
            tasks[TASKS[key]] = entry_of(key, score, QUESTIONS, lines, tokens)
        record = record_of(folder.name, {"number": -number}, 0, run["strategy"], tokens, tasks)
        record["model"] |= {"name": MODEL, "size": "mini576"}
        record["suite"] = {"name": "mini", "source": "rendered"}
        record["changes"], record["config"]["budget"] = changes, {"share": share if changes else None}
        (folder / "record.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return len(asked)


def timed(module: str, arguments: Sequence[str]) -> dict[str, float]:
    """Seconds of a command, those of processors, and the most memory that it had."""
    start = time.perf_counter()
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"error: {module} ended with status {status}")
    kilo = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": time.perf_counter() - start, "processor_seconds": used.ru_utime + used.ru_stime,
        "bytes": float(used.ru_maxrss * kilo),
    }  # fmt: skip


def opening(site: Path, opens: int) -> dict[str, Any] | None:
    """Milliseconds until a table is laid out, and those of the main thread; None without a browser."""
    executable = browser_path()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if executable is None:
        return None
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        address = (site / "index.html").as_uri()
        open_once(browser, address)  # warm: the files are in memory, the browser has started
        found = [open_once(browser, address) for _ in range(opens)]
        version = browser.version
        browser.close()
    elapsed, worked = zip(*found, strict=True)
    return {
        "browser": f"Chromium {version}", "opens": opens, "ms": statistics.median(elapsed),
        "main_thread_ms": statistics.median(worked), "all_ms": elapsed, "all_main_thread_ms": worked,
    }  # fmt: skip


def open_once(browser: Any, address: str) -> tuple[float, float]:
    """Milliseconds from the start of the navigation, and what of them the main thread has worked."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.add_init_script(WATCH)
        before = main_thread(session)
        page.goto(address, wait_until="commit", timeout=_PATIENCE * 1000)
        end = time.monotonic() + _PATIENCE
        while (found := page.evaluate("window.opened || 0")) == 0:
            if time.monotonic() > end:
                raise SystemExit(f"error: no table within {_PATIENCE} s in {address}")
            time.sleep(0.2)  # each look is work of the main thread's
        return float(found), 1000 * (main_thread(session) - before)
    finally:
        context.close()


def main_thread(session: Any) -> float:
    """Seconds that the tasks of the page's main thread have taken of a processor."""
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def measure(records: int, opens: int, work: Path) -> dict[str, Any]:
    """Write the records and time what is made of them."""
    runs = work / "runs"
    size = write_sweep(runs, records, QUESTIONS, KEYS)
    count = records + write_figure(runs)
    keys = ",".join(TASKS.values())
    figures = timed(
        "pdrop_eval.report.figures.cli", [f"root={runs}", f"out={work / 'figures'}", f"tasks=[{keys}]"]
    )
    page = [f"root={runs}", f"out={work / 'site'}", f"bench={work / 'none'}", f"compare={work / 'none'}"]
    commands = {"pdrop-eval-figures": figures, "pdrop-eval-page": timed("pdrop_eval.report.site.cli", page)}
    drawn = len(list((work / "figures").glob("*.svg")))
    index = (work / "site" / "data" / "index.js").stat().st_size
    files = sum(path.is_file() for path in (work / "site").rglob("*"))
    return {
        "records": count, "size": size, "commands": commands, "figures": drawn, "index_bytes": index,
        "files": files, "opening": opening(work / "site", opens),
    }  # fmt: skip


def met(result: dict[str, Any]) -> dict[str, bool]:
    """Which aims are met: by seconds of a processor, so that other work on the machine doesn't count."""
    opened = result["opening"]
    found = {
        name: one["processor_seconds"] < AIM_SECONDS and one["bytes"] < AIM_BYTES
        for name, one in result["commands"].items()
    }
    return {**found, "opening": opened is not None and opened["main_thread_ms"] < AIM_OPENING}


def text_of(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    code, opened = result["code"], result["opening"]
    changed = " with changes" if code["dirty"] else ""
    kept = met(result)
    words = "Opening was not measured: playwright or a Chromium is missing."
    if opened:
        words = (
            f"Opening: {opened['ms']:,.0f} ms from the start of the navigation until the first table is laid "
            f"out, of which the page's main thread has worked {opened['main_thread_ms']:,.0f} ms. Medians of "
            f"{opened['opens']} openings, each in a new tab without a cache, from disk, in headless "
            f"{opened['browser']}. Aim: under {AIM_OPENING / 1000:.0f} s of the main thread; "
            f"{'met' if kept['opening'] else 'NOT MET'}."
        )
    lines = [
        "# Figures and the results page from thousands of records", "",
        f"`make site-scale`: {result['records']:,} synthetic records of {len(KEYS)} benchmarks with "
        f"{QUESTIONS} questions each, {result['size'] / 1e6:,.0f} MB of files (code {code['version']} at "
        f"{str(code['commit'])[:10]}{changed}; {result['hardware']}).", "",
        "| command | seconds | of a processor | most memory | aim |",
        "|:--|--:|--:|--:|:--|",
        *(
            f"| `{name}` | {one['seconds']:.1f} | {one['processor_seconds']:.1f} "
            f"| {one['bytes'] / 1e6:,.0f} MB | {'met' if kept[name] else 'NOT MET'} |"
            for name, one in result["commands"].items()
        ), "",
        f"- Aims: under {AIM_SECONDS:.0f} s of a processor and {AIM_BYTES / 1e9:.0f} GB for each command.",
        f"- {words}",
        f"- The page has {result['files']:,} files, and {result['index_bytes'] / 1e6:.1f} MB are read to "
        f"show its tables. {result['figures']} figures are drawn.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and writes the figures; exits with 1 where an aim isn't met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--opens", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(asked.records, asked.opens, Path(folder))
    machine = hardware()
    result |= {"code": code_identity(), "hardware": f"{machine['cpu']}, {machine['cores']} cores"}
    text = text_of(result)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    sys.exit(0 if all(met(result).values()) else 1)


if __name__ == "__main__":
    main()
