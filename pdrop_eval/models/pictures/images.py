"""How a picture is opened, by evaluation, training, show and the results page alike, and its largest size.

Every model sees a picture upright, in red, green and blue, with 8 bits a channel. What opens it otherwise
gives other pixels, other hashes and, where a model makes tiles, other counts of image tokens.
"""

import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageOps

from pdrop_eval.utils.files import check_regular

# A square of 20,000 pixels a side: 1.2 GB as bytes, and as much again on the way. Beyond it, a picture can
# only be a mistake or an attack.
MOST_PIXELS = 20_000**2
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".flv")


class PictureError(ValueError):
    """A picture that can't be used; the message says what is wrong with it."""


def open_picture(source: Path | str | bytes | Image.Image) -> Image.Image:
    """The picture as a model sees it: upright, 8 bits a channel, in red, green and blue.

    Args:
        source: A file, the content of one, or a picture that a data set has opened.

    Raises:
        PictureError: one without a pixel, or whose white could be anywhere.
        OSError, ValueError, SyntaxError, DecompressionBombError: what Pillow says of a damaged one.
    """
    if not isinstance(source, Image.Image):
        if not isinstance(source, bytes):
            check_regular(Path(source))
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            return open_picture(opened)
    _check_header(source)
    return _with_eight_bits(_upright(source)).convert("RGB")


def pictures_of(doc: Any, doc_to_visual: Callable[[Any], Any] | None) -> list[Image.Image]:
    """The pictures of a data set's document, opened as `open_picture` does; `doc_to_visual` is the task's.

    Raises:
        As `open_picture`.
    """
    visuals = list(doc_to_visual(_opened(doc)) or []) if doc_to_visual else []
    for visual in visuals:
        _check_no_video(visual)
    return [open_picture(visual) for visual in visuals]


def _check_no_video(visual: Any) -> None:
    """Refuse a video, which tasks hand over as a file's name or an opened reader."""
    name = str(visual) if isinstance(visual, (str, Path)) else type(visual).__name__
    if Path(name).suffix.lower() in VIDEOS or (not isinstance(visual, Image.Image) and "Video" in name):
        raise PictureError(
            f"it has a video ({name}), and videos aren't supported: choose tasks with pictures"
        )


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of the picture that `open_picture` gives, from its header wherever that is enough.

    Raises:
        As `open_picture`.
    """
    check_regular(path)
    with Image.open(path) as image:
        _check_header(image)
        # The size of a square is the same however it is turned; a PNG that isn't one may have its
        # orientation behind its pixels.
        header = partial(Image.Image.getexif, image)  # a PNG's own would read all pixels
        if image.width == image.height or not (_orientation(header) or _tells_late(image)):
            return image.size
    return open_picture(path).size  # opened anew: Pillow remembers what the header said


def _opened(value: Any) -> Any:
    """A document, or a part of it, whose pictures are upright and have 8 bits a channel.

    The task's own function then chooses among them, and may convert them: without this, Pillow would make
    all above 255 of a grey with 16 bits white.
    """
    if isinstance(value, dict):
        return {name: _opened(part) for name, part in value.items()}
    if isinstance(value, list) and any(isinstance(part, Image.Image) for part in value):
        return [_opened(part) for part in value]
    return _with_eight_bits(_upright(value)) if isinstance(value, Image.Image) else value


def _check_header(image: Image.Image) -> None:
    """Refuses a picture by its size and mode, before its pixels are read."""
    if 0 in image.size:
        raise PictureError(f"a picture is empty: {image.width}x{image.height} pixels")
    if image.mode in ("I", "F") and not _is_grey_map(image):
        raise PictureError(
            f"a picture has 32 bits a pixel (Pillow's mode {image.mode}), and nothing says which value is "
            "white; convert it to 8 bits"
        )


def _is_grey_map(image: Image.Image) -> bool:
    """Whether it is a PGM of more than 8 bits, which Pillow opens with 32 and scales: 65,535 is white."""
    return image.mode == "I" and image.format == "PPM"


def _orientation(exif: Callable[[], Image.Exif]) -> int:
    """How the camera was held, as EXIF counts it; 0: upright, or not said in a way that can be read."""
    try:
        found: Any = exif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, LookupError, TypeError, struct.error):  # damaged, as some cameras write
        return 0
    return int(found) if found in range(2, 9) else 0


def _tells_late(image: Image.Image) -> bool:
    """Whether a PNG that says nothing of its orientation ahead of its pixels may do so behind them."""
    file: Any = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return False
    file.seek(8)
    while len(head := file.read(8)) == 8:
        if head[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
            return True
        file.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    return False


def _upright(image: Image.Image) -> Image.Image:
    """The picture, turned as its EXIF data say; one that was turned before doesn't say it any more."""
    image.load()
    return ImageOps.exif_transpose(image) if _orientation(image.getexif) else image


def _with_eight_bits(image: Image.Image) -> Image.Image:
    """Of grey with 16 bits the 8 higher ones, as Pillow does by itself when it opens colours with 16 bits."""
    _check_header(image)
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        return image.convert("RGBA")  # the same colours, of which Pillow warns when it makes RGB of them
    if not (image.mode.startswith("I;16") or _is_grey_map(image)):
        return image
    import numpy as np

    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def check_processed_size(size: tuple[int, int], processor: Any, pad: bool) -> None:
    """Refuse a picture that would take too much memory on its way through a processor.

    It is found before any memory is spent: a line of 1x10,000 pixels, its shorter side resized to 336, has
    3,360,000 the other way. LLaVA-NeXT resizes to one of its grids, whatever the shape.

    Args:
        size: (width, height) in pixels.
        processor: the checkpoint's image processor.
        pad: the picture is padded to a square first.

    Raises:
        PictureError: with the size that it would have.
    """
    if getattr(processor, "image_grid_pinpoints", None):
        return
    width, height = size
    if pad or getattr(processor, "do_pad", False):
        wide = high = max(size)
        step = "padded to"
    else:
        shortest = (getattr(processor, "size", None) or {}).get("shortest_edge")
        if not shortest:
            return
        factor = shortest / min(size)
        wide, high = round(width * factor), round(height * factor)
        step = "resized to"
    if wide * high > MOST_PIXELS:
        raise PictureError(
            f"a picture of {width:,}x{height:,} pixels would be {step} {wide:,}x{high:,} before it is cut to "
            f"the model's size, more than the {MOST_PIXELS:,} pixels that are allowed; cut it to a usual form"
        )
