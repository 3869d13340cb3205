"""Pictures of the results page for the documents: tables, a sample with its retained tokens, a comparison.

    make screenshots                       of results/report/page, into results/figures
    python -m tools.release.screenshots --sample docvqa:17 --model mini576

Needs playwright and a Chromium: $PDROP_EVAL_CHROMIUM, or one of those on the PATH. The page must be built
(`make page`), with runs of vanilla, fastv and pdrop whose retained tokens are recorded.
"""

import argparse
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.presets import DEFAULT_MODEL

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
WIDE, TALL, PHONE = (1200, 860), (1200, 1080), (360, 960)
MOST_BYTES = 150_000
COLOURS = (256, 128, 64, 32)  # fewer, until a picture is small enough
SECONDS = 30


def main() -> None:
    """Takes the pictures; exits with 2 and one line of advice where a user can mend the cause."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, default=Path("results/report/page"))
    parser.add_argument("--out", type=Path, default=Path("results/figures"))
    parser.add_argument("--sample", default="docvqa:17", help="a benchmark's key and a question's place")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="whose runs are shown")
    arguments = parser.parse_args()
    try:
        for path in take(arguments.page, arguments.out, arguments.sample, arguments.model):
            print(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def take(page: Path, out: Path, sample: str, model: str) -> list[Path]:
    """Takes all pictures into `out`; returns their paths.

    Raises:
        UserError: Without a page, a browser, or the runs that are shown, and where the page reports an error
            or is wider than the phone.
    """
    from playwright.sync_api import sync_playwright

    index = page / "index.html"
    if not index.is_file():
        raise UserError(f"There is no {index}. Build it first: make page")
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root with it
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*QUIET, *root])
        try:
            view = View(browser, index.resolve().as_uri())
            addresses = _addresses(view, sample, model)
            pictures = {
                "page_tables": view.picture("#/tables/5?published=1", WIDE),
                "page_sample": view.picture(addresses["sample"], TALL, _move_the_stage),
                "page_compare": view.picture(addresses["compare"], WIDE),
                "page_sample_phone": view.picture(addresses["phone"], PHONE, _move_the_stage),
            }
        finally:
            browser.close()
    paths = [out / f"{name}.png" for name in pictures]
    for path, content in zip(paths, pictures.values(), strict=True):
        write_atomically(path, compressed(content))
    return paths


def chromium() -> str:
    """The program of a browser. Raises UserError if there is none."""
    named = os.environ.get("PDROP_EVAL_CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        what = (
            f"PDROP_EVAL_CHROMIUM={named} is no program" if named else f"No {', '.join(BROWSERS)} on the PATH"
        )
        raise UserError(f"{what}. Install Chromium, or name one: PDROP_EVAL_CHROMIUM=/path/to/chromium")
    return found


def compressed(png: bytes) -> bytes:
    """A picture with a palette, of at most MOST_BYTES; with as few colours as that takes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in COLOURS:
        held = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(held, "png", optimize=True)
        if held.tell() <= MOST_BYTES:
            return held.getvalue()
    raise UserError(
        f"A picture has {held.tell():,} bytes even with {COLOURS[-1]} colours: choose a smaller view."
    )


class View:
    """A browser at the page; what the page reports as an error ends it."""

    def __init__(self, browser: Any, address: str):
        self.browser = browser
        self.address = address

    def picture(self, route: str, size: tuple[int, int], act: Callable[[Any], None] | None = None) -> bytes:
        """A picture of one view, after something was done there."""

        def taken(tab: Any) -> bytes:
            if act is not None:
                act(tab)
            return tab.screenshot()

        return self.visit(route, size, taken)

    def visit(self, route: str, size: tuple[int, int], do: Callable[[Any], Any]) -> Any:
        """What `do` gives in a tab of its own, once the view is there. Raises UserError for what is wrong."""
        tab = self.browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="light", reduced_motion="reduce"
        )
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        try:
            tab.goto(self.address + route, timeout=1000 * SECONDS)
            tab.wait_for_function("!document.querySelector('.loading')", timeout=1000 * SECONDS)
            tab.wait_for_load_state("networkidle")
            result = do(tab)
            if tab.evaluate("document.documentElement.scrollWidth") > size[0]:
                problems.append(f"wider than {size[0]} pixels")
        finally:
            tab.close()
        if problems:
            raise UserError(f"The page reports at {route}: {'; '.join(problems)}")
        return result


def _addresses(view: View, sample: str, model: str) -> dict[str, str]:
    """The addresses of the views, of one model's default runs; those of all questions come first."""
    key, _, place = sample.partition(":")
    if not place.isdigit():
        raise UserError(f"--sample {sample} names no question: use a benchmark and a place, as docvqa:17.")
    # A view that has read the scores, which the page of tables leaves in their file.
    runs = view.visit("#/compare", WIDE, lambda tab: tab.evaluate("pdrop.index.runs"))
    found: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: (len(run["settings"]), run["limit"] is not None)):
        score = run["scores"].get(key)
        drops = run["strategy"] != "vanilla"
        if run["model"] == model and score and score["overlays" if drops else "samples"]:
            found.setdefault(run["strategy"], run["key"])
    missing = [name for name in ("vanilla", "fastv", "pdrop") if name not in found]
    if missing:
        raise UserError(
            f"The page has no run of {', '.join(missing)} on {model} with the retained tokens of {key}. Run "
            f"first: make eval STRATEGY=vanilla,fastv,pdrop MODEL={model}; make page"
        )
    one = f"#/samples/{found['pdrop']}/{key}/{place}"
    return {
        "sample": f"{one}?with={found['fastv']}",
        "phone": one,
        "compare": f"#/compare?a={found['vanilla']}&b={found['pdrop']}",
    }


def _move_the_stage(tab: Any) -> None:
    """Moves the slider to the second stage and looks at what it shows."""
    slider = tab.locator("#stage")
    before = tab.locator("#stage-says").text_content()
    slider.press("Home")
    slider.press("ArrowRight")
    if tab.locator("#stage-says").text_content() == before:
        raise UserError(
            "The slider over the stages moves nothing: take a sample of a run with several drops."
        )
    tab.evaluate("document.activeElement.blur()")
    tab.wait_for_function("[...document.images].every((one) => one.complete)", timeout=1000 * SECONDS)


if __name__ == "__main__":
    main()
