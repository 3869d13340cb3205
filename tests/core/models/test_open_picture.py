"""Every way of opening a picture gives the same pixels: upright, 8 bits a channel, red, green and blue."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pdrop_eval.models.pictures.images import PictureError, open_picture, picture_size, pictures_of

WIDE = np.zeros((20, 30, 3), np.uint8)  # a red corner at the top left, blue elsewhere
WIDE[..., 2] = 255
WIDE[:8, :8] = (255, 0, 0)
# where the corner is once the picture is turned as EXIF's orientation says, and its (width, height)
TURNED = {
    1: ("top left", (30, 20)), 2: ("top right", (30, 20)), 3: ("bottom right", (30, 20)),
    4: ("bottom left", (30, 20)), 5: ("top left", (20, 30)), 6: ("top right", (20, 30)),
    7: ("bottom right", (20, 30)), 8: ("bottom left", (20, 30)),
}  # fmt: skip


def saved(image, kind, orientation=None) -> bytes:
    written = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(written, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return written.getvalue()


def corner(image) -> str:
    """Where the picture is red."""
    pixels = np.asarray(image, int)
    red = (pixels[..., 0] > 150) & (pixels[..., 2] < 100)
    y, x = np.argwhere(red).mean(axis=0)
    return f"{'top' if y < image.height / 2 else 'bottom'} {'left' if x < image.width / 2 else 'right'}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_a_picture_is_upright_and_its_size_is_known_from_its_header(tmp_path, kind, orientation):
    content = saved(Image.fromarray(WIDE), kind, orientation)
    path = tmp_path / "a.picture"
    path.write_bytes(content)
    place, size = TURNED[orientation]
    for source in (path, str(path), content, Image.open(path)):
        image = open_picture(source)
        assert (corner(image), image.size, image.mode) == (place, size, "RGB")
        assert open_picture(image).size == size  # one that is upright stays so
    assert picture_size(path) == size
    (shown,) = pictures_of({"image": Image.open(path)}, lambda doc: [doc["image"].convert("RGB")])
    assert (corner(shown), shown.size) == (place, size)


def test_an_orientation_behind_the_pixels_of_a_png_counts_too(tmp_path):
    content, tag = saved(Image.fromarray(WIDE), "PNG"), saved(Image.fromarray(WIDE), "PNG", 6)
    at = tag.index(b"eXIf") - 4
    chunk = tag[at : at + 12 + struct.unpack(">I", tag[at : at + 4])[0]]
    assert struct.unpack(">I", chunk[-4:])[0] == zlib.crc32(chunk[4:-4])
    end = content.index(b"IEND") - 4
    path = tmp_path / "a.png"
    path.write_bytes(content[:end] + chunk + content[end:])
    assert open_picture(path).size == picture_size(path) == (20, 30)


def test_the_size_of_a_picture_that_is_not_turned_needs_no_pixels(tmp_path, monkeypatch):
    for kind in ("JPEG", "PNG"):
        (tmp_path / kind).write_bytes(saved(Image.fromarray(WIDE), kind))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("read"))
    assert [picture_size(tmp_path / kind) for kind in ("JPEG", "PNG")] == [(30, 20)] * 2


def test_damaged_exif_says_nothing(tmp_path):
    content = saved(Image.fromarray(WIDE), "JPEG", 6)
    path = tmp_path / "a.jpg"
    path.write_bytes(content.replace(b"Exif\0\0MM", b"Exif\0\0??"))
    assert open_picture(path).size == picture_size(path) == (30, 20)


SHADES = np.array([[0, 255, 256, 65535]], np.uint16)  # with 8 bits: 0, 0, 1, 255


def pgm() -> bytes:
    return b"P5\n4 1\n65535\n" + SHADES.astype(">u2").tobytes()


@pytest.mark.parametrize("content", [
    saved(Image.fromarray(SHADES), "PNG"), saved(Image.fromarray(SHADES), "TIFF"), pgm(),
], ids=["png", "tiff", "pgm"])  # fmt: skip
def test_grey_of_16_bits_keeps_its_higher_8(content):
    expected = np.repeat(np.array([[0, 0, 1, 255]], np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(np.asarray(open_picture(content)), expected)
    opened = Image.open(io.BytesIO(content))
    (shown,) = pictures_of({"image": [opened]}, lambda doc: [doc["image"][0].convert("RGB")])
    assert np.array_equal(np.asarray(shown), expected)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bits_are_refused_already_by_the_header(tmp_path, kind):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 1], [2, 3]], kind)).save(path)
    for look in (open_picture, picture_size):
        with pytest.raises(PictureError, match="32 bits a pixel"):
            look(path)
    with pytest.raises(PictureError, match="32 bits a pixel"):
        pictures_of({"image": Image.open(path)}, lambda doc: [doc["image"].convert("RGB")])


def test_a_picture_without_a_pixel_is_refused():
    with pytest.raises(PictureError, match="empty: 0x5"):
        open_picture(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(("mode", "colour"), [
    ("CMYK", (0, 255, 255, 0)), ("P", (255, 0, 0)), ("RGBA", (255, 0, 0, 0)), ("1", 1), ("LA", (255, 0)),
])  # fmt: skip
def test_palettes_alpha_and_print_colours_become_red_green_and_blue(mode, colour):
    expected = (255, 255, 255) if mode in ("1", "LA") else (255, 0, 0)
    assert open_picture(Image.new(mode, (2, 2), colour)).getcolors() == [(4, expected)]


def palette(transparency) -> bytes:
    """A picture of a palette: its left half red, its right half blue."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    written = io.BytesIO()
    image.save(written, "PNG", transparency=transparency)
    return written.getvalue()


def deep(colour, channels) -> bytes:
    """A PNG of 16 bits a channel, all of 0x1234."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 2, 1, 16, colour, 0, 0, 0)
    rows = zlib.compress(b"\0" + b"\x12\x34" * 2 * channels)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def frames(kind) -> bytes:
    """A moving picture, or one of several pages: red first, then blue."""
    first, second = (Image.new("RGB", (2, 1), colour) for colour in ("red", "blue"))
    written = io.BytesIO()
    more = {"lossless": True} if kind == "WEBP" else {}
    first.save(written, kind, save_all=True, append_images=[second], **more)
    return written.getvalue()


RED_BLUE, GREY, RED = [(255, 0, 0), (0, 0, 255)], [(0x12, 0x12, 0x12)] * 2, [(255, 0, 0)] * 2


@pytest.mark.parametrize(("content", "expected"), [
    (palette(0), RED_BLUE), (palette(bytes([0, 100])), RED_BLUE),
    (deep(6, 4), GREY), (deep(4, 2), GREY), (deep(2, 3), GREY),
    (frames("GIF"), RED), (frames("TIFF"), RED), (frames("PNG"), RED), (frames("WEBP"), RED),
], ids=[
    "transparent colour", "transparent palette", "16-bit RGBA", "16-bit LA", "16-bit RGB", "GIF", "TIFF",
    "APNG", "WebP",
])  # fmt: skip
def test_transparency_is_left_out_and_the_first_frame_taken(tmp_path, content, expected):
    path = tmp_path / "picture"
    path.write_bytes(content)
    with Image.open(path) as opened:
        (shown,) = pictures_of({"image": opened}, lambda doc: [doc["image"].convert("RGB")])
    for image in (open_picture(path), open_picture(content), shown):
        assert [image.getpixel((x, 0)) for x in (0, 1)] == expected
        assert image.mode == "RGB"
    assert picture_size(path) == (2, 1)


def test_print_colours_are_turned_too(tmp_path):
    """A JPEG in CMYK that lies on its side: 30 x 20 pixels stored, 20 x 30 seen."""
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(Image.fromarray(WIDE).convert("CMYK"), "JPEG", 6))
    image = open_picture(path)
    assert (corner(image), image.size, image.mode) == ("top right", (20, 30), "RGB")
    assert picture_size(path) == (20, 30)


def test_what_is_no_number_is_refused():
    written = io.BytesIO()
    Image.fromarray(np.array([[0.5, np.nan, np.inf]], np.float32)).save(written, "TIFF")
    with pytest.raises(PictureError, match="32 bits a pixel"):
        open_picture(written.getvalue())


def test_a_task_without_pictures_has_none():
    assert pictures_of({"question": "?"}, None) == pictures_of({"question": "?"}, lambda doc: None) == []
