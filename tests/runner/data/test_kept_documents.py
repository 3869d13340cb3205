"""Documents are those of the data set, and a picture that several of them have is decoded once."""

import io

import datasets
import pytest
from PIL import Image, UnidentifiedImageError

from pdrop_eval.run.lmms.inputs.documents import Documents
from pdrop_eval.utils.code.hashing import ContentHashes, content_hashes

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "more": datasets.List(datasets.Image()),
        "grey": datasets.Image(mode="L"),
        "question": datasets.Value("string"),
        "when": datasets.Value("timestamp[s]"),
    }
)


def stored(colour, size=(9, 6), kind="PNG", **more):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind, **more)
    return {"bytes": buffer.getvalue(), "path": None}


def row(image, more=(), question="What?"):
    return {"image": image, "more": more, "grey": image, "question": question, "when": 0}


def data_of(rows):
    return datasets.Dataset.from_list([row(*one) for one in rows], features=FEATURES)


@pytest.fixture
def decoded(monkeypatch):
    """How often a picture is decoded."""
    found = []
    decode = datasets.Image.decode_example
    monkeypatch.setattr(
        datasets.Image,
        "decode_example",
        lambda self, *args, **more: found.append(1) or decode(self, *args, **more),
    )
    return found


def plain(value):
    if isinstance(value, Image.Image):
        return value.mode, value.size, value.format, value.tobytes()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def test_documents_are_those_of_the_data_set():
    turned = stored("red", kind="JPEG", exif=_sideways())
    data = data_of([(stored("blue"), [stored("red"), stored("blue")]), (None, None), (turned, [])])
    read = Documents(lambda task, split: {"quiz": {"test": data}}[task][split])
    for number in (0, 1, 2, 0):
        assert plain(read("quiz", "test", number)) == plain(data[number])
    assert read("quiz", "test", 2)["image"].size == (6, 9)
    assert list(read("quiz", "test", 0)) == list(FEATURES)


def _sideways():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    return exif


def test_a_picture_is_decoded_once_and_belongs_to_each_document(decoded):
    data = data_of([(stored("blue"), [stored("blue")])] * 3)
    read = Documents(lambda task, split: data)
    first, second = read("quiz", "test", 0), read("quiz", "test", 1)
    assert len(decoded) == 2  # of "grey" it is another one
    first["image"].paste((255, 0, 0), (0, 0, 9, 6))
    for one in (second["image"], second["more"][0], first["more"][0], read("quiz", "test", 2)["image"]):
        assert one.getpixel((0, 0)) == (0, 0, 255)


def test_as_many_pictures_are_held_as_the_memory_allows(decoded):
    """One of 9 x 6 pixels takes 216 bytes: two fit into 500, and a larger one isn't held at all."""
    data = data_of([(stored(colour),) for colour in ("red", "green", "blue")] + [(stored("red", (90, 60)),)])
    data = data.remove_columns(["more", "grey"])
    read = Documents(lambda task, split: data, most_bytes=500)
    for number, count in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4), (3, 5), (3, 6), (1, 6)):
        read("quiz", "test", number)
        assert len(decoded) == count


def test_what_is_no_plain_data_set_is_read_as_it_is():
    data = data_of([(stored("blue"),)])
    other = data.with_transform(lambda batch: {"seen": [1] * len(batch["question"])})
    for one in (other, data.select_columns(["question"]), [{"image": 3}]):
        assert plain(Documents(lambda task, split, one=one: one)("quiz", "test", 0)) == plain(one[0])


def test_another_data_set_of_the_same_name_is_seen():
    sets = [data_of([(stored("blue"),)]), data_of([(stored("red"),)])]
    read = Documents(lambda task, split: sets[0])
    assert read("quiz", "test", 0)["image"].getpixel((0, 0)) == (0, 0, 255)
    sets.pop(0)
    assert read("quiz", "test", 0)["image"].getpixel((0, 0)) == (255, 0, 0)


def test_a_damaged_picture_is_refused_each_time():
    read = Documents(lambda task, split: data_of([({"bytes": b"<svg/>", "path": None},)]))
    for _ in range(2):
        with pytest.raises(UnidentifiedImageError):
            read("quiz", "test", 0)


def test_hashes_are_those_of_the_content_whatever_was_hashed_before():
    red, blue, wide = (Image.new("RGB", size, colour) for size, colour in
                       (((4, 2), "red"), ((4, 2), "blue"), ((8, 1), "red")))  # fmt: skip
    hashes, grey = ContentHashes(), blue.convert("L")
    for context in ("What?", "Who?"):
        for images in ([red], [red], [wide], [blue], [red, blue], [], [grey], [red]):
            assert hashes(context, images) == content_hashes(context, images)
