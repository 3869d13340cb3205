"""The LLaVA-NeXT miniature begins with what the one of LLaVA-1.5 knows."""

import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from pdrop_eval.benchmarks.rendered.suite import render
from pdrop_eval.models.pictures.tiling import pinpoints
from pdrop_eval.utils.errors import UserError
from tools.mini import answer
from tools.mini import next as mini_next
from tools.mini.training.model import build_model, build_processor
from tools.mini.training.vocabulary import IMAGE


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """An untrained LLaVA-1.5 in bfloat16, as the family's members are stored."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    build_model().to(torch.bfloat16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["p5", "p9"])
def built(request, start):
    return request.param, *mini_next.build_next(start, request.param)


def asked(processor, task):
    rows = render(task, 1)
    return answer._inputs(processor, rows, blank=False)


def test_the_weights_are_those_of_the_start_and_a_newline(built, start):
    _, model, _ = built
    llava, _ = answer.load_mini(start)
    states = model.state_dict(), llava.state_dict()
    assert states[0].keys() - states[1].keys() == {"model.image_newline"}
    assert {v.dtype for v in states[0].values()} == {torch.bfloat16}
    assert all(torch.equal(states[0][name].float(), weight.float()) for name, weight in states[1].items())


@pytest.mark.parametrize(
    ("task", "tokens"),
    [
        # A square picture takes 2 x 2 tiles of 12 x 12 patches; a newline ends each of the 24 rows.
        ("gqa", {"p5": 144 + 24 * (24 + 1), "p9": 144 + 24 * (24 + 1)}),
        # One that is twice as high as wide takes 2 x 1, and 4 x 2.
        ("infovqa_val", {"p5": 144 + 24 * (12 + 1), "p9": 144 + 48 * (24 + 1)}),
    ],
)
def test_processor_and_model_agree_on_the_number_of_image_tokens(built, task, tokens):
    anyres, model, processor = built
    inputs = asked(processor, task)
    assert (inputs["input_ids"] == IMAGE).sum() == tokens[anyres]
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    with torch.no_grad():
        logits = model(**inputs).logits
    assert logits.shape[1] < model.config.text_config.max_position_embeddings
    assert logits.isfinite().all()


def test_the_slowest_pair_of_rope_turns_as_far_over_twice_the_largest_picture(built, start):
    _, model, _ = built
    llava, _ = answer.load_mini(start)
    one, column = 144, 8 * 12 * (12 + 1)  # eight tiles, one above the other, with a newline a row
    slowest = [m.model.language_model.rotary_emb.inv_freq[-1].item() for m in (llava, model)]
    assert slowest[0] / slowest[1] == pytest.approx(2 * (one + column) / one, rel=1e-2)  # kept in bfloat16


def test_the_overview_is_what_llava_1_5_sees(start):
    model, processor = mini_next.build_next(start, "p5")
    llava, llavas = answer.load_mini(start)
    inputs, others = asked(processor, "gqa"), asked(llavas, "gqa")
    assert torch.equal(inputs["pixel_values"][0, 0], others["pixel_values"][0])
    with torch.no_grad():
        seen = model.float().get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
        known = llava.get_image_features(others["pixel_values"]).pooler_output
    torch.testing.assert_close(seen[0][:144], known[0], rtol=1e-4, atol=1e-4)


def test_the_newline_begins_as_a_patch_of_blank_paper(built, start):
    _, model, _ = built
    llava, processor = answer.load_mini(start)
    pixels = answer._inputs(processor, render("gqa", 1), blank=True)["pixel_values"]
    with torch.no_grad():
        features = llava.get_image_features(pixels).pooler_output[0]
    torch.testing.assert_close(model.model.image_newline.float(), features.mean(0), rtol=1e-2, atol=1e-2)


def test_the_command_writes_what_transformers_reads(start, tmp_path, monkeypatch):
    out = tmp_path / "next"
    arguments = ["next", "--from", str(start), "--anyres", "p9", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    mini_next.main()
    model = LlavaNextForConditionalGeneration.from_pretrained(out)
    processor = AutoProcessor.from_pretrained(out)
    assert model.config.image_grid_pinpoints == processor.image_processor.image_grid_pinpoints
    assert len(model.config.image_grid_pinpoints) == 19
    assert model.dtype == torch.bfloat16
    assert (asked(processor, "infovqa_val")["input_ids"] == IMAGE).sum() == 1344


def test_what_is_no_llava_1_5_is_refused(start, tmp_path):
    with pytest.raises(UserError, match="p5"):
        mini_next.build_next(start, "p4")
    with pytest.raises(UserError, match="of type llava_next"):
        mini_next.build_next(mini_next.save_next(start, "p5", tmp_path / "p5"), "p5")


@pytest.mark.parametrize(
    ("size", "anyres", "positions"),
    # 144 + 4 x 144 + 24 + 512; 9 x 144 + 12 x 8 + 512 at the most; 5 x 576 + 48 + 512; 9 x 576 + 24 x 8 + 512
    [(96, "p5", 2048), (96, "p9", 2048), (192, "p5", 4096), (192, "p9", 8192)],
)
def test_there_is_a_position_for_every_token(size, anyres, positions):
    vision = SimpleNamespace(image_size=size, patch_size=8)
    assert mini_next._positions(vision, pinpoints(anyres, size)) == positions
