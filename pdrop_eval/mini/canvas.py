"""A 96 x 96 picture with shapes, bars and text, and what each of its 12 x 12 patches shows.

Drawing snaps to the patch grid with a jitter of a pixel: a character falls on one patch, which is what lets
a vision tower of three layers read it. The patch labels are the training signal of the vision tower; the
rendered suite does not use them.
"""

from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 96
PATCH = 8
GRID = SIZE // PATCH

COLORS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "yellow": (235, 205, 20),
    "purple": (140, 40, 170),
    "orange": (245, 130, 20),
    "cyan": (40, 195, 215),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
BAR = "bar"
KEYS = ("name", "date", "code", "total", "fee", "qty", "item", "room", "unit", "box", "job", "vat")
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
THINGS = (*SHAPES, BAR, *KEYS)
# The label planes of a patch: the color of what it belongs to, that thing, the character, its place.
PLANES = (len(COLORS), len(THINGS), len(CHARACTERS), 4)

GLYPH_WIDTH, GLYPH_HEIGHT = 6, 8
_COVERED = 6  # pixels of a patch that a shape must cover to label it


@cache
def _glyph(character: str) -> np.ndarray:
    """The character's pixels, bool [GLYPH_HEIGHT, GLYPH_WIDTH], from Pillow's built-in bitmap font."""
    cell = Image.new("L", (12, 12), 0)
    ImageDraw.Draw(cell).text((3, 0), character, font=ImageFont.load_default_imagefont(), fill=255)
    pixels = np.array(cell) > 127
    left = int(np.nonzero(pixels.any(0))[0][0])
    top = int(np.nonzero(pixels.any(1))[0][0])
    return pixels[top : top + GLYPH_HEIGHT, left : left + GLYPH_WIDTH]


@cache
def _shape_mask(shape: str, radius: int) -> np.ndarray:
    """Coverage of each pixel, float [2r+1, 2r+1] in 0..1, from a four times larger drawing."""
    side = 2 * radius + 1
    image = Image.new("L", (side * 4, side * 4), 0)
    draw = ImageDraw.Draw(image)
    end = side * 4 - 1
    mid = end / 2
    if shape == "circle":
        draw.ellipse((0, 0, end, end), fill=255)
    elif shape == "square":
        draw.rectangle((end * 0.08, end * 0.08, end * 0.92, end * 0.92), fill=255)
    elif shape == "triangle":
        draw.polygon([(mid, 0), (end, end), (0, end)], fill=255)
    elif shape == "diamond":
        draw.polygon([(mid, 0), (end, mid), (mid, end), (0, mid)], fill=255)
    elif shape == "cross":
        draw.rectangle((end * 0.34, 0, end * 0.66, end), fill=255)
        draw.rectangle((0, end * 0.34, end, end * 0.66), fill=255)
    else:
        reach = [mid if i % 2 == 0 else mid * 0.42 for i in range(10)]
        angles = np.arange(10) * np.pi / 5
        points = zip(reach, angles, strict=True)
        draw.polygon([(mid + r * np.sin(a), mid - r * np.cos(a)) for r, a in points], fill=255)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / 255


def patch_at(x: int, y: int) -> int:
    """The index, row by row, of the patch under pixel (x, y)."""
    return (y // PATCH) * GRID + x // PATCH


class Canvas:
    """A picture under construction.

    `pixels` is float [96, 96, 3]; `labels` is int [4, 12, 12], one plane each for color, thing, character and
    place in the string, 0 where there is none.
    """

    def __init__(self, rng: Random):
        self.pixels = np.full((SIZE, SIZE, 3), rng.randint(225, 255), np.float32)
        self.labels = np.zeros((4, GRID, GRID), np.int64)
        self._rng = rng

    def _label(self, covered: np.ndarray, color: str, thing: str) -> None:
        """Label the patches of which `covered` [96, 96] fills enough; returns nothing."""
        patches = covered.reshape(GRID, PATCH, GRID, PATCH).sum((1, 3)) > _COVERED
        self.labels[0][patches] = 1 + list(COLORS).index(color)
        self.labels[1][patches] = 1 + THINGS.index(thing)

    def shape(self, shape: str, color: str, radius: int, x: int, y: int) -> int:
        """Draw a shape around (x, y); returns the patch of its centre."""
        mask = _shape_mask(shape, radius)
        covered = np.zeros((SIZE, SIZE), np.float32)
        covered[y - radius : y + radius + 1, x - radius : x + radius + 1] = mask
        self.pixels += covered[..., None] * (np.asarray(COLORS[color], np.float32) - self.pixels)
        self._label(covered, color, shape)
        return patch_at(x, y)

    def bar(self, color: str, left: int, top: int, right: int, bottom: int) -> int:
        """Fill a rectangle; returns the patch of the middle of its top."""
        self.pixels[top:bottom, left:right] = COLORS[color]
        covered = np.zeros((SIZE, SIZE), np.float32)
        covered[top:bottom, left:right] = 1
        self._label(covered, color, BAR)
        return patch_at((left + right) // 2, top)

    def mark(self, patch: int, digit: int) -> None:
        """Label a patch with a digit that is meant rather than written: a bar's height."""
        row, column = divmod(patch, GRID)
        self.labels[2][row, column] = 1 + CHARACTERS.index(str(digit))
        self.labels[3][row, column] = 1

    def text(
        self,
        text: str,
        column: int,
        row: int,
        color: str | None = None,
        thing: str | None = None,
        ordered: bool = True,
    ) -> list[int]:
        """Write a string, a character a patch, from patch (column, row); returns the patches.

        `color` and `thing` say what the string belongs to; `ordered` labels each character's place.
        """
        x = column * PATCH + self._rng.randint(0, 2)
        y = row * PATCH + self._rng.randint(-1, 1)
        patches = []
        for place, character in enumerate(text):
            glyph = _glyph(character)
            top, left = max(y, 0), x + place * PATCH
            area = self.pixels[top : y + glyph.shape[0], left : left + glyph.shape[1]]
            area[glyph[top - y : top - y + area.shape[0], : area.shape[1]]] = 0
            at = row, column + place
            self.labels[2][at] = 1 + CHARACTERS.index(character)
            self.labels[3][at] = 1 + place if ordered else 0
            if color:
                self.labels[0][at] = 1 + list(COLORS).index(color)
            if thing:
                self.labels[1][at] = 1 + THINGS.index(thing)
            patches.append(row * GRID + column + place)
        return patches

    def line(self, left: int, top: int, right: int, bottom: int, grey: int) -> None:
        """Fill a thin rectangle in grey, unlabelled: an axis or a grid line."""
        self.pixels[top:bottom, left:right] = grey

    def finish(self) -> np.ndarray:
        """The picture with sensor noise, uint8 [96, 96, 3]."""
        noise = np.random.default_rng(self._rng.getrandbits(32)).integers(-6, 7, (SIZE, SIZE, 1))
        return np.clip(self.pixels + noise, 0, 255).astype(np.uint8)
