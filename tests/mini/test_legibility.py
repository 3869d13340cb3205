"""Resolution matters: in noise a single grid shows large text, not small print; four tiles show both."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from pdrop_eval.benchmarks.rendered import canvas

LETTERS = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"  # without those that look alike: I and 1, O, Q and 0


def written(letter: str, small: bool, side: int, shift: int, seed: int) -> np.ndarray:
    """A letter on a sheet that is shrunk to `side` pixels: the square that holds it, noise included."""
    sheet = canvas.Canvas(Random(0))
    sheet.pixels[:] = 240
    size = (7 * 3 // 2, 12) if small else (7 * 3, 24)
    sheet._blend(canvas._glyph(letter, *size), 48 + shift, 48 + shift, (0, 0, 0))
    seen = Image.fromarray(sheet.finish()).resize((side, side), Image.Resampling.BILINEAR)
    noise = np.random.default_rng(seed).normal(0, 30, (side, side))
    scale = side / 288
    left, right = round(44 * scale), round(84 * scale)
    return (np.asarray(seen, np.float32)[..., 0] + noise)[left:right, left:right]


def read(small: bool, side: int) -> float:
    """The share of letters that the nearest example, at any of six places, reads rightly."""
    examples = {
        letter: [written(letter, small, side, shift, seed=shift) for shift in range(6)] for letter in LETTERS
    }
    right = 0
    for letter in LETTERS:
        seen = written(letter, small, side, 3, seed=100)
        distances = {
            other: min(float(((seen - example) ** 2).sum()) for example in shown)
            for other, shown in examples.items()
        }
        right += min(distances, key=distances.__getitem__) == letter
    return right / len(LETTERS)


@pytest.mark.parametrize(("small", "side", "least", "most"), [
    (False, 96, 0.9, 1.0), (True, 96, 0.0, 0.5), (True, 192, 0.9, 1.0),
])  # fmt: skip
def test_a_single_grid_reads_large_text_and_tiles_read_small_print(small, side, least, most):
    assert least <= read(small, side) <= most
