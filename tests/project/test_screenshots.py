"""Pictures of the results page for the documents: a browser is found or named as missing; files are small."""

import importlib.util
import io
import random
from pathlib import Path

import pytest
from PIL import Image

from pdrop_eval.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def screenshots():
    """The module, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(
        "screenshots", ROOT / "tools" / "release" / "screenshots.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(folder, name):
    """An empty program."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_browser_that_is_named_comes_before_those_on_the_path(screenshots, tmp_path, monkeypatch):
    found = program(tmp_path / "bin", "google-chrome")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("PDROP_EVAL_CHROMIUM", raising=False)
    assert screenshots.chromium() == str(found)
    named = program(tmp_path / "own", "my-browser")
    monkeypatch.setenv("PDROP_EVAL_CHROMIUM", str(named))
    assert screenshots.chromium() == str(named)


@pytest.mark.parametrize(("named", "words"), [("/no/where", "PDROP_EVAL_CHROMIUM=/no/where"), (None, "PATH")])
def test_without_a_browser_the_error_says_how_to_name_one(screenshots, tmp_path, monkeypatch, named, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    if named is None:
        monkeypatch.delenv("PDROP_EVAL_CHROMIUM", raising=False)
    else:
        monkeypatch.setenv("PDROP_EVAL_CHROMIUM", named)
    with pytest.raises(UserError, match=words) as error:
        screenshots.chromium()
    assert "PDROP_EVAL_CHROMIUM=/path/to/chromium" in str(error.value)


def test_a_page_that_is_not_built_is_an_error_with_the_command(screenshots, tmp_path):
    pytest.importorskip("playwright")
    with pytest.raises(UserError, match="make page"):
        screenshots.take(tmp_path / "page", tmp_path / "out", "docvqa:17", "mini576")
    assert not (tmp_path / "out").exists()


def png(picture):
    """A picture as a file's content."""
    held = io.BytesIO()
    picture.save(held, "png")
    return held.getvalue()


def test_a_picture_gets_a_palette_and_keeps_its_size(screenshots):
    picture = Image.new("RGB", (300, 200), "white")
    picture.paste((10, 90, 160), (20, 20, 120, 80))
    small = Image.open(io.BytesIO(screenshots.compressed(png(picture))))
    assert (small.mode, small.size) == ("P", (300, 200))
    assert [small.convert("RGB").getpixel(place) for place in ((0, 0), (50, 50))] == [
        (255,) * 3,
        (10, 90, 160),
    ]


def test_colours_are_given_up_before_a_file_is_too_large_and_noise_is_refused(screenshots, monkeypatch):
    draw = random.Random(1)
    noise = Image.frombytes("RGB", (200, 200), draw.randbytes(200 * 200 * 3))
    monkeypatch.setattr(screenshots, "MOST_BYTES", 30_000)
    small = screenshots.compressed(png(noise))
    assert len(small) <= 30_000
    assert len(Image.open(io.BytesIO(small)).getcolors()) < 256
    monkeypatch.setattr(screenshots, "MOST_BYTES", 1_000)
    with pytest.raises(UserError, match="choose a smaller view"):
        screenshots.compressed(png(noise))
