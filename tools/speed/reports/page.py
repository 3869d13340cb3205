"""How large the page of results becomes, how long it takes to build, and how fast it opens in a browser.

    make page-speed                      some minutes; results/page_speed.md and .json
    python -m tools.speed.reports.page --runs 200 --opens 11

Makes synthetic runs (tests/page/synthetic.py) with samples, grids, masks and pictures, and builds their page:
once into an empty folder, once again. Then opens it from disk in headless Chromium, if playwright and a
browser are there: from the start of the navigation until the first table is on the screen, in turns with a
page that holds an empty table and nothing else, which is what this machine takes for any page at all.
"""

import argparse
import json
import os
import shutil
import statistics
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

PAGE = Path("results/page_speed.md")
# Benchmarks of a run, and questions of each: what is aimed at, and more of both.
SIZES = ((5, 20), (16, 20), (5, 100))
AIM_SECONDS, AIM_BYTES = 60.0, 1.5e6
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
EMPTY = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>x</title><body><main><table><tbody><tr><td>x'
    "</td></tr></tbody></table></main></body></html>"
)
# Says when a table first has a height after a frame was drawn with it.
WATCH = """
(() => {
  const look = () => {
    const row = document.querySelector("main table tbody tr");
    if (row && row.getBoundingClientRect().height > 0) { window.opened = performance.now(); return; }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""


def measure(runs: int, tasks: int, questions: int, work: Path) -> dict[str, Any]:
    """Makes runs and builds their page twice; returns numbers and sizes. The page is in work/site."""
    folder = work / f"{tasks}x{questions}"
    names = list(by_task())[:tasks]
    synthetic.write_runs(folder / "runs", folder / "data", runs, names, questions, limited=False)
    seconds = [timed(folder) for _ in range(2)]
    site = folder / "site"
    files = [path for path in site.rglob("*") if path.is_file()]
    chunks = [
        path.stat().st_size
        for kind in ("answers", "questions")
        for path in (site / "data" / kind).rglob("*.js")
    ]
    return {
        "runs": runs,
        "benchmarks": tasks,
        "samples": runs * tasks * questions,
        "pictures": len(list((site / "pictures").iterdir())),
        "first_seconds": seconds[0][0],
        "first_processor_seconds": seconds[0][1],
        "again_seconds": seconds[1][0],
        "again_processor_seconds": seconds[1][1],
        "index_bytes": (site / "data/index.js").stat().st_size,
        "largest_data_bytes": max(chunks),
        "site_bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
        "records_bytes": sum(p.stat().st_size for p in (folder / "runs").rglob("*") if p.is_file()),
    }


def timed(folder: Path) -> tuple[float, float]:
    """Seconds of the whole command, from its start to its end, and those of processors."""
    command = [
        sys.executable, "-m", "pdrop_eval.report.site.cli", f"root={folder}/runs", f"out={folder}/site",
        f"bench={folder}/none", f"compare={folder}/none",
    ]  # fmt: skip
    before = os.times()
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    seconds, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


def browser_path() -> str | None:
    """A Chromium, if there is one."""
    return os.environ.get("PDROP_EVAL_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def opening(site: Path, opens: int) -> dict[str, Any] | None:
    """Milliseconds until a table is seen, of the page and of an empty one; None without a browser."""
    executable = browser_path()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if executable is None:
        return None
    empty = site.parent / "empty.html"
    empty.write_text(EMPTY, encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        pages = {"page": (site / "index.html").as_uri(), "empty": empty.as_uri()}
        for address in pages.values():
            open_once(browser, address)  # warm: the files are in memory, the browser has started
        found: dict[str, list[float]] = {name: [] for name in pages}
        for _ in tqdm(range(opens), desc="opening", file=sys.stderr, disable=None):
            for name, address in pages.items():
                found[name].append(open_once(browser, address))
        version = browser.version
        browser.close()
    middle = {name: statistics.median(times) for name, times in found.items()}
    return {
        "browser": f"Chromium {version}",
        "opens": opens,
        "page_ms": middle["page"],
        "empty_ms": middle["empty"],
        "ratio": statistics.median(a / b for a, b in zip(found["page"], found["empty"], strict=True)),
        "all_ms": found,
    }


def open_once(browser: Any, address: str) -> float:
    """Milliseconds from the start of the navigation until a row of a table has been laid out."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(address)
        end = time.monotonic() + 60
        while (found := page.evaluate("window.opened || 0")) == 0:
            if time.monotonic() > end:
                raise SystemExit(f"error: no table within a minute in {address}")
            time.sleep(0.005)
        return float(found)
    finally:
        context.close()


def text_of(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    code, sizes = result["code"], result["sizes"]
    changed = ", with changes" if code["dirty"] else ""
    first = sizes[0]
    lines = [
        "# The results page: built in seconds, opened at once", "",
        f"**{first['runs']} runs with {first['samples']:,} samples: built in {seconds_of(first, 'first')}, "
        f"its index {first['index_bytes'] / 1e6:.2f} MB{opened_words(result['opening'])}** "
        f"(`make page-speed`, code {code['version']} at {str(code['commit'])[:10]}{changed}; "
        f"{result['hardware']}).", "",
        "| runs | benchmarks | samples | records | first build | again | index.js | largest file of samples "
        "| pictures | whole page | files |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *map(line_of, sizes), "",
        *opening_lines(result["opening"], first),
        "- Runs are synthetic: three models, three strategies at several settings, each sample with its "
        "grids of image tokens and the masks of all drops.",
        "- First build: into an empty folder. Again: the same command once more; pictures that are there "
        "stay. In parentheses: seconds of a processor, what a machine without other work would take.",
        "- index.js is all that is read to show the tables; samples are read when they are looked at, 500 "
        "questions of a benchmark a file.",
        f"- Aims: a build under {AIM_SECONDS:.0f} s, an index under {AIM_BYTES / 1e6:.1f} MB: "
        f"{'met' if met(sizes) else 'NOT MET'}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def line_of(one: dict[str, Any]) -> str:
    """A line of the table of sizes."""
    cells = [
        one["runs"], one["benchmarks"], f"{one['samples']:,}", mega(one["records_bytes"]),
        seconds_of(one, "first"), seconds_of(one, "again"), mega(one["index_bytes"]),
        mega(one["largest_data_bytes"]), one["pictures"], mega(one["site_bytes"]), f"{one['files']:,}",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def seconds_of(one: dict[str, Any], which: str) -> str:
    """`12.3 s (4.5 s)`."""
    return f"{one[f'{which}_seconds']:.1f} s ({one[f'{which}_processor_seconds']:.1f} s)"


def opened_words(opening: dict[str, Any] | None) -> str:
    """The opening time in a sentence."""
    return f", opened in {opening['page_ms']:.0f} ms" if opening else ""


def opening_lines(opening: dict[str, Any] | None, first: dict[str, Any]) -> list[str]:
    """What was measured in the browser, as a list's first entries."""
    if opening is None:
        return ["- Opening was not measured: playwright or a Chromium is missing."]
    return [
        f"- Opening, of the page with {first['samples']:,} samples: {opening['page_ms']:.0f} ms from the "
        f"start of the navigation until the first table is laid out, {opening['ratio']:.1f} times as long as "
        f"a page with an empty table ({opening['empty_ms']:.0f} ms). Medians of {opening['opens']} openings "
        f"in turns, each in a new tab without a cache, from disk, in headless {opening['browser']}; "
        "the ratio is taken within a turn.",
    ]


def met(sizes: Sequence[dict[str, Any]]) -> bool:
    """Whether builds and indexes are as small as is aimed at."""
    return all(one["first_seconds"] < AIM_SECONDS and one["index_bytes"] < AIM_BYTES for one in sizes)


def mega(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e6:.2f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"


def main() -> None:
    """Measures, prints the figures and writes them; exits with 1 where an aim isn't met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--opens", type=int, default=15, help="of the page, and of the empty one")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bar = tqdm(SIZES, desc="building", file=sys.stderr, disable=None)
        sizes = [measure(asked.runs, tasks, questions, work) for tasks, questions in bar]
        opened = opening(work / f"{SIZES[0][0]}x{SIZES[0][1]}" / "site", asked.opens)
    machine = hardware()
    result = {
        "code": code_identity(),
        "hardware": f"{machine['cpu']}, {machine['cores']} cores",
        "sizes": sizes,
        "opening": opened,
    }
    text = text_of(result)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    sys.exit(0 if met(sizes) else 1)


if __name__ == "__main__":
    main()
