"""A browser for the page, and small results whose numbers are known by hand."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from benching import bench_record, write_bench
from synthetic import header, samples, write_data, write_run

from pdrop_eval.records.token_mask import pack

SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
PATIENCE = 30.0  # seconds until what is waited for counts as missing
QUESTIONS = 20  # of GQA, each about a picture of its own
HOSTILE = '<img src=x onerror="window.hacked=1">'
HOSTILE_PROMPT = "Why?</script><script>window.hacked=2</script>"
HOSTILE_FOLD = 3  # the place of both
# Of the 20 questions, vanilla has the first 15 right; PDrop the first 10, and two of the last five.
RIGHT = {"vanilla": {*range(15)}, "pdrop": {*range(10), 15, 16}, "fastv": {*range(12)}}
# Of 12 x 12 tokens in rows, PDrop keeps the first 6 rows from layer 2 on, 3 rows from layer 4 on, then half.
KEPT = ((2, 72), (4, 36), (6, 18))
CHUNKED = 1100  # questions of InfoVQA: three files of 500 at most


def chromium() -> str:
    """The browser's executable; skips the test where there is none, unless one is required."""
    found = os.environ.get("PDROP_EVAL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    words = "no Chromium here: apt-get install chromium, or name one: PDROP_EVAL_CHROMIUM=/path/to/chromium"
    if os.environ.get("PDROP_EVAL_BROWSER") == "required":
        pytest.fail(words)
    pytest.skip(words)


@dataclass(frozen=True)
class Results:
    """A page's folder, and the keys of its runs by name."""

    folder: Path
    keys: dict[str, str]

    @property
    def address(self) -> str:
        """Where it is opened."""
        return (self.folder / "index.html").as_uri()


def make_results(folder: Path) -> Results:
    """Four runs on the same questions with a benchmark of speed, and their page in folder/site."""
    from pdrop_eval.report.site.build import Sources, make_page

    data, root = folder / "data", folder / "runs"
    numbers = [*range(QUESTIONS)]
    hashes = {task: write_data(data, task, numbers) for task in ("gqa", "mme")}
    keys = {}
    for model, strategy in (
        ("mini576", "vanilla"), ("mini576", "pdrop"), ("mini576", "fastv"), ("mini576_next_p5", "pdrop"),
    ):  # fmt: skip
        asked = {
            "gqa": (_graded(model, strategy, numbers), hashes["gqa"]),
            "mme": (samples(model, "vanilla", "mme", numbers), hashes["mme"]),
        }
        if (model, strategy) == ("mini576", "vanilla"):
            asked["infovqa_val"] = (_many(model), "d" * 64)
        made = write_run(root, model, strategy, asked, head=header(model, strategy))
        keys[f"{model} {strategy}"] = f"{model}.{made.name}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PDROP_EVAL_CACHE", "HF_HUB_CACHE"):  # nothing of what this machine has
            patch.setenv(name, str(folder / "empty"))
        write_bench(folder, "0123456789", bench_record())
        sources = Sources(root=root, bench=folder / "bench", compare=folder / "none", data=data)
        make_page(sources, folder / "site")
    return Results(folder / "site", keys)


def _graded(model: str, strategy: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """GQA's answers: right where `RIGHT` says so; one of them is hostile."""
    found = samples(model, strategy, "gqa", numbers)
    for place, sample in enumerate(found):
        right = place in RIGHT[strategy]
        sample["answer"] = sample["target"] if right else "certainly not"
        sample["score"] = float(right)
        if model == "mini576" and strategy == "pdrop":
            sample["retained"] = [[layer, pack([t < many for t in range(144)])] for layer, many in KEPT]
    found[HOSTILE_FOLD]["prompt"] = HOSTILE_PROMPT
    found[HOSTILE_FOLD]["content_sha256"] = "e" * 64
    found[HOSTILE_FOLD]["answer"] = HOSTILE
    return found


def _many(model: str) -> list[dict[str, Any]]:
    """Many answers without pictures; the last one alone is partly right."""
    (one,) = samples(model, "vanilla", "infovqa_val", [0])
    found = [
        {
            **one, "doc_id": place, "prompt": f"Question {place} of many?", "answer": f"word {place}",
            "score": 1.0, "content_sha256": f"{place:064x}", "images_sha256": None, "retained": None,
            "image_grids": None, "image_sizes": None,
        }
        for place in range(CHUNKED)
    ]  # fmt: skip
    found[-1]["score"] = 0.25
    return found


class Tab:
    """A page of the browser that keeps what went wrong, and what it asked for."""

    def __init__(self, page: Any, results: Results):
        self.page, self.results = page, results
        self.wrong: list[str] = []
        self.expected = ""  # a file whose absence is part of the test
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if "willReadFrequently" in message.text:  # advice on what the tests do
            return
        where = str((message.location or {}).get("url"))
        if message.type in ("error", "warning") and not (self.expected and self.expected in where):
            self.wrong.append(f"{message.type}: {message.text} ({where})")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file://", "blob:file://", "data:")):
            self.wrong.append(f"asked for {request.url}")

    def open(self, route: str = "") -> "Tab":
        """Goes to a route and waits until nothing loads."""
        self.page.goto(self.results.address + route)
        return self.settle()

    def settle(self) -> "Tab":
        """Waits until the view is drawn."""
        self.until(
            "document.querySelector('main h1') && !document.querySelector('main .loading, [aria-busy=true]')"
            " && [undefined, location.hash].includes(document.querySelector('main').dataset.shown)"
        )
        return self

    def until(self, expression: str) -> None:
        """Waits for something to be true; asked from here, because the page allows no code from strings."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}"
            self.page.wait_for_timeout(25)

    def text(self, selector: str) -> str:
        """What the first such element says."""
        return self.page.locator(selector).first.inner_text().strip()

    def texts(self, selector: str) -> list[str]:
        """What all of them say."""
        return [one.strip() for one in self.page.locator(selector).all_inner_texts()]

    @property
    def route(self) -> str:
        """The address after its #."""
        return self.page.evaluate("location.hash")

    @property
    def focused(self) -> str:
        """What has the focus says."""
        return self.page.evaluate("document.activeElement.innerText || document.activeElement.value || ''")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=executable, args=[*SWITCHES])
        yield started
        started.close()


@contextmanager
def tab(started: Any, results: Results, **options: Any) -> Iterator[Tab]:
    """A fresh tab; at the end nothing may have gone wrong in it."""
    context = started.new_context(**{"viewport": DESKTOP, "color_scheme": "light", **options})
    context.set_default_timeout(1000 * PATIENCE)
    try:
        opened = Tab(context.new_page(), results)
        yield opened
        assert opened.wrong == []
    finally:
        context.close()
