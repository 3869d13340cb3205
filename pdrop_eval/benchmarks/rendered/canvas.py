"""A picture with shapes, bars and text, and what each of the 12 x 12 patches of its small version shows.

A picture is 288 pixels wide and 288 high, or 576 for a tall one. A model with one grid of 96 x 96 pixels sees
a third of that. Coordinates are therefore given in units: 96 across and 96 down, a unit being a pixel of that
grid. Large text falls on one patch a character, with a jitter of a pixel, which is what lets a vision tower
of three layers read it. Small print is half that size: a single grid blurs it, the tiles of LLaVA-NeXT show
it. The patch labels are the training signal of the vision tower; the rendered suite does not use them.
"""

from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 96  # units, and pixels of a single grid
SCALE = 3  # pixels of the picture to a unit
SIDE = SIZE * SCALE
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
# Strings that belong to no shape, bar or key.
PARTS = ("title", "author")
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ%"
THINGS = (*SHAPES, BAR, *KEYS, *PARTS)
PLACES = 8
# The label planes of a patch: the color of what it belongs to, that thing, the character, its place.
PLANES = (len(COLORS), len(THINGS), len(CHARACTERS), PLACES)

GLYPH_WIDTH, GLYPH_HEIGHT = 7, 8  # units of large text
PRINT = 12  # pixels from one character of small print to the next
_COVERED = 6 * SCALE * SCALE  # pixels of a patch that a shape must cover to label it


@cache
def _bitmap(character: str) -> np.ndarray:
    """The character's pixels, uint8 [GLYPH_HEIGHT, <= GLYPH_WIDTH], 0 or 255, from Pillow's bitmap font."""
    cell = Image.new("L", (12, 12), 0)
    ImageDraw.Draw(cell).text((3, 0), character, font=ImageFont.load_default_imagefont(), fill=255)
    pixels = np.where(np.array(cell) > 127, 255, 0).astype(np.uint8)
    left = int(np.nonzero(pixels.any(0))[0][0])
    top = int(np.nonzero(pixels.any(1))[0][0])
    return pixels[top : top + GLYPH_HEIGHT, left : left + GLYPH_WIDTH]


@cache
def _glyph(character: str, width: int, height: int) -> np.ndarray:
    """Ink of a character, float [h, w, 1] in 0..1, as large as `width` x `height` pixels for a full glyph."""
    bitmap = Image.fromarray(_bitmap(character))
    across = round(bitmap.width * width / GLYPH_WIDTH)
    down = round(bitmap.height * height / GLYPH_HEIGHT)
    ink = np.asarray(bitmap.resize((across, down), Image.Resampling.BICUBIC), np.float32) / 255
    return ink[..., None]


@cache
def _shape_mask(shape: str, radius: int) -> np.ndarray:
    """Coverage of each pixel, float [2r+1, 2r+1] in 0..1, from a drawing three times as large."""
    side = 2 * radius + 1
    image = Image.new("L", (side * 3, side * 3), 0)
    draw = ImageDraw.Draw(image)
    end = side * 3 - 1
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


def tint(color: str, strength: float) -> tuple[int, int, int]:
    """A color mixed with white; `strength` 1 is the color itself."""
    red, green, blue = (round(255 - strength * (255 - channel)) for channel in COLORS[color])
    return red, green, blue


def patch_at(x: int, y: int) -> int:
    """The index, row by row, of the patch under unit (x, y)."""
    return (y // PATCH) * GRID + x // PATCH


class Canvas:
    """A picture under construction.

    `pixels` is float [288 or 576, 288, 3]; `labels` is int [4, 12, 12], one plane each for color, thing,
    character and place in the string, 0 where there is none.
    """

    def __init__(self, rng: Random, tall: bool = False):
        self.down = SCALE * 2 if tall else SCALE  # pixels to a unit, vertically
        self.pixels = np.full((SIZE * self.down, SIDE, 3), rng.randint(225, 255), np.float32)
        self.labels = np.zeros((4, GRID, GRID), np.int64)
        self._rng = rng

    def _blend(
        self, ink: np.ndarray, left: int, top: int, color: tuple[int, int, int]
    ) -> tuple[slice, slice]:
        """Paint `color` where `ink` [h, w, 1] says, cut at the borders; returns the rows and columns."""
        height, width = self.pixels.shape[:2]
        x, y = max(left, 0), max(top, 0)
        ink = ink[y - top : height - top, x - left : width - left]
        rows, columns = slice(y, y + ink.shape[0]), slice(x, x + ink.shape[1])
        self.pixels[rows, columns] += ink * (np.asarray(color, np.float32) - self.pixels[rows, columns])
        return rows, columns

    def _label(self, covered: np.ndarray, color: str, thing: str) -> None:
        """Label the patches of which `covered` [height, width] fills enough."""
        cells = covered.reshape(GRID, PATCH * self.down, GRID, PATCH * SCALE).sum((1, 3))
        patches = cells > _COVERED * self.down / SCALE
        self.labels[0][patches] = 1 + list(COLORS).index(color)
        self.labels[1][patches] = 1 + THINGS.index(thing)

    def fill(self, left: int, top: int, right: int, bottom: int, color: tuple[int, int, int]) -> None:
        """Fill a rectangle given in units, unlabelled: background, an axis, a grid line."""
        self.pixels[top * self.down : bottom * self.down, left * SCALE : right * SCALE] = color

    def line(self, left: int, y: int, right: int, grey: int, above: int = 0) -> None:
        """A line of one pixel, unlabelled, from `left` to `right`, or from `y` to so many units `above`."""
        top = (y - above) * self.down
        width = 1 if above else (right - left) * SCALE
        self.pixels[top : y * self.down + 1, left * SCALE : left * SCALE + width] = grey

    def shape(self, shape: str, color: str, radius: float, x: int, y: int) -> int:
        """Draw a shape around unit (x, y), `radius` in units across; returns the patch of its centre."""
        mask = _shape_mask(shape, round(radius * SCALE))[..., None]
        reach = mask.shape[0] // 2
        rows, columns = self._blend(mask, x * SCALE - reach, y * self.down - reach, COLORS[color])
        covered = np.zeros(self.pixels.shape[:2], np.float32)
        top, left = rows.start - (y * self.down - reach), columns.start - (x * SCALE - reach)
        size = rows.stop - rows.start, columns.stop - columns.start
        covered[rows, columns] = mask[top : top + size[0], left : left + size[1], 0]
        self._label(covered, color, shape)
        return patch_at(x, y)

    def bar(self, color: str, left: int, top: int, right: int, bottom: int) -> int:
        """Fill a labelled rectangle given in units; returns the patch of the middle of its top."""
        self.fill(left, top, right, bottom, COLORS[color])
        covered = np.zeros(self.pixels.shape[:2], np.float32)
        covered[top * self.down : bottom * self.down, left * SCALE : right * SCALE] = 1
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
        """Write a string in large letters, one a patch, from patch (column, row); returns the patches.

        `color` and `thing` say what the string belongs to; `ordered` labels each character's place.
        """
        x = column * PATCH * SCALE + self._rng.randint(0, 2 * SCALE)
        y = row * PATCH * self.down + self._rng.randint(-self.down, self.down)
        patches = []
        for place, character in enumerate(text):
            ink = _glyph(character, GLYPH_WIDTH * SCALE, GLYPH_HEIGHT * self.down)
            self._blend(ink, x + place * PATCH * SCALE, max(y, 0), (0, 0, 0))
            at = row, column + place
            self.labels[2][at] = 1 + CHARACTERS.index(character)
            self.labels[3][at] = 1 + place if ordered else 0
            if color:
                self.labels[0][at] = 1 + list(COLORS).index(color)
            if thing:
                self.labels[1][at] = 1 + THINGS.index(thing)
            patches.append(row * GRID + column + place)
        return patches

    def small_print(self, text: str, x: int, y: int, grey: int = 0) -> None:
        """Write a string in small print from unit (x, y), unlabelled: a single grid can't read it."""
        for place, character in enumerate(text):
            if character != " ":
                ink = _glyph(character, GLYPH_WIDTH * SCALE // 2, GLYPH_HEIGHT * SCALE // 2)
                self._blend(ink, x * SCALE + place * PRINT, y * self.down, (grey,) * 3)

    def finish(self) -> np.ndarray:
        """The picture, uint8 [288 or 576, 288, 3]."""
        return np.clip(self.pixels, 0, 255).astype(np.uint8)


def shrink(image: np.ndarray) -> np.ndarray:
    """What a model with a single grid sees of a picture: uint8 [H, W, 3] to [96, 96, 3]."""
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
