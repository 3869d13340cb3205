"""Pictures that are bombs, broken, of odd kinds or of odd shapes: seen as they are, or refused by name."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import runner_tiny as tiny
import torch
from asking_model import make, requests
from PIL import Image

from pdrop_eval.models.pictures.images import PictureError, check_processed_size
from pdrop_eval.models.prompts import shrunk
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("lmms_eval")


def png(image) -> dict:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def bomb() -> dict:
    """196,000,000 pixels in 24 KB."""
    return png(Image.new("1", (14_000, 14_000)))


def one(model, image, context="What?"):
    """A request about one picture that a data set holds."""
    (asked,) = requests(model, [(context, [])])
    model.task_dict["quiz"]["test"] = [{"image": image}]
    arguments = list(asked.args)
    arguments[2] = lambda doc: [doc["image"].convert("RGB")]
    asked.arguments = tuple(arguments)
    return asked


def seen(model, image):
    """The pixels that the vision tower gets of a picture, [tiles, 3, h, w]."""
    (picture,) = model.preparer(one(model, image)).pictures
    return picture.processed(model.preparer.process)[0]["pixel_values"][0]


@pytest.mark.thin(2)
@pytest.mark.parametrize("damage", ["bomb", "truncated", "empty", "text"])
def test_a_damaged_picture_stops_the_run_by_name(llava, tmp_path, damage):
    rows = tiny.rows("gqa", 4)
    whole = tiny.encoded(1, (60, 60))["bytes"]
    half = whole[: len(whole) // 2]
    content = {"bomb": bomb()["bytes"], "truncated": half, "empty": b"", "text": b"<svg/>"}
    rows[2]["image"] = {"bytes": content[damage], "path": None}
    tiny.write("gqa", rows, tmp_path / "data")
    given = [f"model.pretrained={llava}", f"data.root={tmp_path / 'data'}", f"results={tmp_path / 'runs'}"]
    with pytest.raises(UserError, match=r"task gqa, sample 2 can't be prepared: .*tasks=\[") as error:
        cli.evaluate(compose_spec([*given, "tasks=[gqa]"]))
    expected = {"bomb": "196000000 pixels", "truncated": "truncated", "empty": "identify", "text": "identify"}
    assert expected[damage] in str(error.value)


def test_grey_of_16_bits_is_seen_as_the_same_grey_of_8_bits(llava):
    model = make(llava)
    shades = np.arange(256, dtype=np.uint16).reshape(16, 16)
    fine, plain = Image.fromarray(shades * 256 + 200), Image.fromarray(shades.astype(np.uint8))
    assert Image.open(io.BytesIO(png(fine)["bytes"])).mode == "I;16"
    # Pillow alone makes all but the darkest shade of it white
    assert set(np.asarray(fine.convert("L")).flat) == {200, 255}
    assert torch.equal(seen(model, fine), seen(model, plain))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_picture_of_32_bits_is_refused(llava, mode):
    model = make(llava)
    with pytest.raises(UserError, match=rf"task quiz, sample 0 can't be prepared: .*mode {mode}.*8 bits"):
        model.preparer(one(model, Image.new(mode, (9, 9))))


@pytest.mark.parametrize(("mode", "colour"), [
    ("CMYK", (0, 255, 255, 0)), ("P", (255, 0, 0)), ("RGBA", (255, 0, 0, 255)), ("YCbCr", (76, 84, 255)),
    ("HSV", (0, 255, 255)),
])  # fmt: skip
def test_red_is_red_in_every_mode(llava, mode, colour):
    model = make(llava)
    red = Image.new(mode, (20, 20), colour)
    found, expected = seen(model, red), seen(model, Image.new("RGB", (20, 20), (255, 0, 0)))
    assert torch.allclose(found, expected, atol=0.05)


@pytest.mark.thin(3)
@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 10_000), (10_000, 3)])
def test_slivers_have_as_many_features_as_image_tokens(family, size, request):
    model = make(request.getfixturevalue(family), batch_size=2)
    asked = requests(model, [("What?", [1]), ("Why?", [2])], sizes={1: size})
    model.generate_until(asked)
    assert model.answers.measurements["quiz", 0].image_tokens >= 16  # at least the whole picture's own


@pytest.mark.parametrize(("size", "step"), [
    # the shorter side becomes 336: 336 * 10,000 pixels the other way
    ((1, 10_000), "resized to 336x3,360,000"), ((10_000, 1), "resized to 3,360,000x336"),
])  # fmt: skip
def test_a_line_that_would_be_resized_to_a_billion_pixels(size, step):
    centre = SimpleNamespace(size={"shortest_edge": 336})
    with pytest.raises(PictureError, match=step):
        check_processed_size(size, centre, pad=False)
    check_processed_size((1, 1_000), centre, pad=False)  # 336 x 336,000: a third of what is allowed


def test_padding_to_a_square_counts_too():
    fixed = SimpleNamespace(size={"height": 96, "width": 96})
    check_processed_size((1, 30_000), fixed, pad=False)  # resized at once: small
    for processor, pad in ((fixed, True), (SimpleNamespace(do_pad=True), False)):
        check_processed_size((1, 20_000), processor, pad)
        with pytest.raises(PictureError, match="padded to 20,001x20,001"):
            check_processed_size((1, 20_001), processor, pad)


def test_a_line_is_refused_before_any_of_its_memory_is_spent(llava, monkeypatch):
    model = make(llava)
    monkeypatch.setattr(type(model.loaded.processor), "__call__", lambda *_, **__: pytest.fail("resized"))
    # 16 pixels wide it would have 16 * 2,000,000 the other way
    with pytest.raises(UserError, match=r"task quiz, sample 0 .*1x2,000,000 .*16x32,000,000"):
        model.preparer(one(model, Image.new("RGB", (1, 2_000_000))))


def test_downsampling_shrinks_what_is_seen_and_keeps_the_hashes(llava):
    full, half = make(llava), make(llava, downsample=2)
    image = tiny.picture(1, (33, 41))
    one_of, other = full.preparer(one(full, image)), half.preparer(one(half, image))
    assert (one_of.content_sha256, one_of.images_sha256) == (other.content_sha256, other.images_sha256)
    assert shrunk(image, 2).size == (16, 20)
    assert torch.equal(seen(half, image), seen(full, shrunk(image, 2)))
    assert not torch.equal(seen(half, image), seen(full, image))
    assert repr(full) != repr(half)  # lmms-eval's response cache must not mix them


def test_downsampling_leaves_a_pixel():
    assert shrunk(Image.new("RGB", (1, 7)), 4).size == (1, 1)
    assert shrunk(Image.new("RGB", (9, 8)), 4).size == (2, 2)


def test_a_run_on_smaller_pictures_is_another_run_of_the_same_questions(llava, data, tmp_path):
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={tmp_path}", "tasks=[gqa]"]
    records = [cli.evaluate(compose_spec([*given, *more])) for more in ([], ["downsample=4"])]
    assert [record["inputs"]["downsample"] for record in records] == [None, 4]
    assert records[0]["run_id"] != records[1]["run_id"]
    from pdrop_eval.records.store import load_samples

    plain, small = (load_samples(record["folder"], "gqa") for record in records)
    assert [s["content_sha256"] for s in plain] == [s["content_sha256"] for s in small]


def test_the_context_is_the_checkpoints_unless_it_is_set(llava):
    assert make(llava).preparer._context == 4096
    assert make(llava, context=20).preparer._context == 20


def test_a_context_that_is_too_short_stops_a_run(llava, data, tmp_path):
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={tmp_path}", "tasks=[gqa]"]
    with pytest.raises(UserError, match=r"task gqa, sample \d can't be answered: .*context is 30\."):
        cli.evaluate(compose_spec([*given, "model.context=30"]))


def test_a_prompt_beyond_the_context_is_refused_by_name(llava):
    model = make(llava)
    prompt = len("USER: ") + 16 + len("\nWhat? ASSISTANT:")
    model.preparer._context = prompt
    model.preparer(one(model, tiny.picture(1)))
    model.preparer._context = prompt - 1
    with pytest.raises(UserError) as error:
        model.preparer(one(model, tiny.picture(1)))
    words = f"task quiz, sample 0 can't be answered: its prompt has {prompt} tokens (16 of images)"
    assert words in str(error.value)
    assert f"context is {prompt - 1}." in str(error.value)
