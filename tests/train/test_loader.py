"""Batches and the order of samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from pdrop_eval.run.train.data.conversations import Conversation, Turn
from pdrop_eval.run.train.data.loader import Collator, GroupedSampler, TokenCounter
from pdrop_eval.run.train.data.samples import Sample, make_samples
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINT

START = MINI_CHECKPOINT
IMAGE = 4  # the miniature's image token


def of_length(length, image_tokens=(2,)):
    conversation = Conversation("a", Path("d.json"), 1, (), ())
    text = length - sum(image_tokens) + len(image_tokens)
    return Sample(conversation, np.zeros(text, np.int32), ((0, 1),), image_tokens)


@pytest.fixture
def order():
    random = np.random.default_rng(0)
    samples = [of_length(int(n)) for n in random.integers(10, 90, 203)]
    samples += [of_length(int(n), ()) for n in random.integers(10, 90, 45)]
    return samples


def batches(sampler, size=8):
    ids = list(sampler)
    assert len(ids) == len(sampler)
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def test_a_batch_has_pictures_throughout_or_none(order):
    found = batches(GroupedSampler(order, 8, 0))
    assert len(found) == 203 // 8 + 45 // 8
    kinds = [{bool(order[i].image_tokens) for i in batch} for batch in found]
    assert all(len(kind) == 1 for kind in kinds)
    ids = [i for batch in found for i in batch]
    assert len(set(ids)) == len(ids)


def test_a_batch_has_samples_of_similar_length(order):
    found = batches(GroupedSampler(order, 8, 0))
    spans = [np.ptp([order[i].length for i in batch]) for batch in found]
    shuffled = np.random.default_rng(1).permutation(200).reshape(-1, 8)
    random = [np.ptp([order[i].length for i in batch]) for batch in shuffled]
    assert np.mean(spans) < np.mean(random) / 4


def test_the_order_depends_on_seed_and_epoch_alone(order):
    sampler = GroupedSampler(order, 8, 0)
    first = list(sampler)
    assert first == list(GroupedSampler(order, 8, 0))
    assert first != list(GroupedSampler(order, 8, 1))
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_batches_come_in_random_order(order):
    lengths = [order[batch[0]].length for batch in batches(GroupedSampler(order, 8, 0))]
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(START)


def picture(tmp_path, name="a.png", size=(288, 288)):
    path = tmp_path / name
    Image.new("RGB", size, "red").save(path)
    return path


def made(processor, *conversations):
    found, _ = make_samples(conversations, processor, "checkpoint", TokenCounter(processor, 144), 1000)
    return found


def test_batches_are_padded_on_the_right_and_labelled_on_answers(processor, tmp_path):
    path = picture(tmp_path)
    one = Conversation("a", Path("d.json"), 1, (path,), (Turn("<image>\nWhat color is the star?", "red"),))
    two = Conversation("b", Path("d.json"), 2, (), (Turn("How many?", "3"),))
    batch = Collator(processor)(made(processor, one, two))
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    assert (ids[0] == IMAGE).sum() == 144
    assert batch["pixel_values"].shape == (1, 3, 96, 96)
    length = int(mask[1].sum())
    assert mask[1].tolist() == [1] * length + [0] * (ids.shape[1] - length)
    assert (labels[1, length:] == -100).all()
    answer = processor.tokenizer.convert_tokens_to_ids(["red", "</s>"])
    assert labels[0][labels[0] != -100].tolist() == answer
    assert torch.equal(ids[0][labels[0] != -100], labels[0][labels[0] != -100])


def test_a_batch_of_text_has_no_pixels(processor):
    two = Conversation("b", Path("d.json"), 2, (), (Turn("How many?", "3"),))
    assert set(Collator(processor)(made(processor, two))) == {"input_ids", "attention_mask", "labels"}


def test_the_model_takes_the_batch_of_several_pictures(processor, tmp_path):
    from transformers import LlavaForConditionalGeneration

    paths = tuple(picture(tmp_path, name) for name in ("a.png", "b.png"))
    one = Conversation("a", Path("d.json"), 1, paths, (Turn("<image>\n<image>\nWhat color?", "red"),))
    batch = Collator(processor)(made(processor, one))
    model = LlavaForConditionalGeneration.from_pretrained(START, dtype=torch.float32)
    assert torch.isfinite(model(**batch).loss)


@pytest.mark.parametrize("anyres", ["p5", "p9"])
def test_anyres_tokens_are_those_that_the_model_expects(anyres, tmp_path):
    from tools.mini.next import build_next

    model, processor = build_next(START, anyres)
    count = TokenCounter(processor, None)
    conversations = [
        Conversation("a", Path("d.json"), 1, (picture(tmp_path, f"{w}x{h}.png", (w, h)),),
                     (Turn("<image>\nWhat color?", "red"),))
        for w, h in ((288, 288), (288, 576), (700, 90))
    ]  # fmt: skip
    samples, _ = make_samples(conversations, processor, "checkpoint", count, 5000)
    processor.tokenizer.padding_side = "right"
    assert torch.isfinite(model.float()(**Collator(processor)(samples)).loss)
    assert samples[0].image_tokens == (144 * 5 + 24,)  # 2 x 2 tiles, the overview, a newline for each row


SQUARE = Turn("<image>\nWhat color is the square?", "red")


def test_training_sees_the_pixels_that_evaluation_sees(processor, tmp_path):
    """Grey of 16 bits, and a picture that a camera took on its side."""
    shades = np.arange(96 * 96, dtype=np.uint16).reshape(96, 96) * 7
    Image.fromarray(shades).save(tmp_path / "fine.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    rows = np.zeros((96, 96, 3), np.uint8)
    rows[:, :48] = 255
    Image.fromarray(rows).save(tmp_path / "turned.png", exif=exif)
    for name, seen in (
        ("fine.png", Image.fromarray((shades >> 8).astype(np.uint8)).convert("RGB")),
        ("turned.png", Image.fromarray(np.rot90(rows, -1))),
    ):
        one = Conversation("a", Path("d.json"), 1, (tmp_path / name,), (SQUARE,))
        batch = Collator(processor)(made(processor, one))
        expected = processor.image_processor([seen], return_tensors="pt")["pixel_values"]
        assert torch.equal(batch["pixel_values"], expected)


def test_a_picture_on_its_side_has_as_many_tokens_as_upright(tmp_path):
    from tools.mini.next import build_next

    count = TokenCounter(build_next(START, "p5")[1], None)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 100)).save(tmp_path / "side.jpg", exif=exif)
    Image.new("RGB", (100, 300)).save(tmp_path / "upright.jpg")
    Image.new("RGB", (300, 100)).save(tmp_path / "wide.jpg")
    side, upright, wide = (
        count(Conversation("a", Path("d.json"), 1, (tmp_path / f"{name}.jpg",), (SQUARE,)))
        for name in ("side", "upright", "wide")
    )
    assert side == upright != wide


def test_pictures_that_evaluation_refuses_are_refused(processor, tmp_path, monkeypatch):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    Image.new("1", (1, 2_000_000)).save(tmp_path / "line.png")
    for name, why in (("float.tif", "32 bits a pixel"), ("line.png", "1x2,000,000 pixels")):
        one = Conversation("a", Path("d.json"), 3, (tmp_path / name,), (SQUARE,))
        if name == "line.png":
            monkeypatch.setattr(processor.image_processor, "size", {"shortest_edge": 96})
        for look in (TokenCounter(processor, 144), lambda c: Collator(processor)(made(processor, c))):
            with pytest.raises(UserError, match=rf"line 3 \(id a\): the image .*{name} can't be .*{why}"):
                look(one)


def test_an_unreadable_picture_names_its_sample(processor, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n")
    one = Conversation("a", Path("d.json"), 3, (path,), (Turn("<image>\nWhat color?", "red"),))
    with pytest.raises(UserError, match=r"d\.json, line 3 \(id a\): the image .*broken\.png can't be read"):
        Collator(processor)(made(processor, one))
    with pytest.raises(UserError, match=r"d\.json, line 3"):
        TokenCounter(processor, None)(one)
