"""What a picture must be before it is processed: 8 bits a channel, and not too large once it is resized."""

from typing import Any

from PIL import Image

# A square of 20,000 pixels a side: 1.2 GB as bytes, and as much again on the way. Beyond it, a picture can
# only be a mistake or an attack.
MOST_PIXELS = 20_000**2


class PictureError(ValueError):
    """A picture that can't be used; the message says what is wrong with it."""


def with_eight_bits(value: Any) -> Any:
    """Return a document, or a part of it, whose grey pictures of 16 bits have the 8 higher ones.

    Pillow itself would keep the lower end: all above 255 of 65,535 becomes white. Of colours with 16 bits it
    takes the higher half when it opens them, as is done here, too.

    Raises:
        PictureError: a picture of 32 bits, whose white could be anywhere.
    """
    if isinstance(value, dict):
        return {name: with_eight_bits(part) for name, part in value.items()}
    if isinstance(value, list) and any(isinstance(part, Image.Image) for part in value):
        return [with_eight_bits(part) for part in value]
    if not isinstance(value, Image.Image):
        return value
    if value.mode in ("I", "F"):
        raise PictureError(
            f"a picture has 32 bits a pixel (Pillow's mode {value.mode}), and nothing says which value is "
            "white; convert it to 8 bits"
        )
    if not value.mode.startswith("I;16"):
        return value
    import numpy as np

    return Image.fromarray((np.asarray(value).astype(np.uint16) >> 8).astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in red, green and blue.

    Raises:
        PictureError: one without a pixel.
    """
    if 0 in image.size:
        raise PictureError(f"a picture is empty: {image.width}x{image.height} pixels")
    return image.convert("RGB")


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
