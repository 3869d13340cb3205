"""The training of the Qwen2.5-VL miniature computes what transformers' own forward does."""

import copy
from random import Random

import numpy as np
import pytest
import torch

from pdrop_eval.benchmarks.rendered.canvas import CHARACTERS
from tools.mini.training import packing, qwen_batches
from tools.mini.training.lessons import training_questions
from tools.mini.training.qwen_batches import Layout
from tools.mini.training.qwen_model import build_model, build_processor, grown, tower_features
from tools.mini.training.vocabulary import EOS, ID, encode

LAYOUTS = {
    "plain": Layout(),
    "tall": Layout(rows=24, stretch=2),
    "wide": Layout(columns=16, left=3),
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model().eval()


@pytest.fixture(scope="module")
def processor():
    return build_processor()


def canvas_of(layout: Layout, seed: int = 1) -> np.ndarray:
    """A picture on its canvas, uint8 [H, W, 3]."""
    picture = qwen_batches.draw(Random(seed), layout, easy=False)
    canvas = np.full((layout.rows * 24, layout.columns * 24, 3), 240, np.uint8)
    rows, columns = picture.image.shape[:2]
    canvas[layout.top * 24 :][:rows, layout.left * 24 :][:, :columns] = picture.image
    return canvas


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_pictures_are_cut_and_seen_as_by_processor_and_tower(model, processor, layout):
    canvas = canvas_of(layout)
    made = processor.image_processor(images=canvas, return_tensors="pt")
    assert made["image_grid_thw"].tolist() == [[1, layout.rows * 2, layout.columns * 2]]
    mine = torch.from_numpy(qwen_batches.cut(canvas.astype(np.float32) / 127.5 - 1))
    torch.testing.assert_close(mine, made["pixel_values"], atol=1e-5, rtol=0)
    with torch.no_grad():
        theirs = model.model.visual(made["pixel_values"], grid_thw=made["image_grid_thw"]).pooler_output
        found = tower_features(model.model.visual, mine[None].repeat(2, 1, 1), layout.rows, layout.columns)
    torch.testing.assert_close(found, theirs.expand(2, -1, -1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_packed_question_gets_the_logits_that_it_gets_alone(model, processor, layout, monkeypatch):
    monkeypatch.setattr(qwen_batches, "choose_layout", lambda rng: layout)
    batch = qwen_batches.make_batch("test", range(2))
    asked = []
    for i in range(2):
        rng = Random(f"test:{i}")
        questions = training_questions(rng, qwen_batches.draw(rng, layout, easy=False))
        asked += [(i, q) for q in questions if q.task][: len(batch.tasks[i])]
    with torch.no_grad():
        model.set_attn_implementation("packed")
        packed, wanted = qwen_batches.answer_logits(model, batch)
        whole = grown(copy.deepcopy(model))
        whole.set_attn_implementation("sdpa")
        alone, answers = [], []
        grid = torch.tensor([[1, layout.rows * 2, layout.columns * 2]])
        for i, question in asked[:3]:
            said = [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.prompt}]}
            ]
            text = processor.apply_chat_template(said, add_generation_prompt=True)
            image = np.zeros((layout.rows * 24, layout.columns * 24, 3), np.uint8)
            inputs = processor(images=image, text=text, return_tensors="pt")
            answer = [*encode(question.answer), EOS]
            more = torch.tensor([answer[:-1]], dtype=torch.long)
            ids = torch.cat([inputs["input_ids"], more], 1)
            types = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(more)], 1)
            logits = whole(
                input_ids=ids,
                pixel_values=batch.pixels[i],
                image_grid_thw=grid,
                mm_token_type_ids=types,
            ).logits
            alone.append(logits[0, -len(answer) :])
            answers += answer
    assert wanted[: len(answers)].tolist() == answers
    torch.testing.assert_close(packed[: len(answers)], torch.cat(alone), atol=5e-4, rtol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_evidence_points_at_the_token_that_shows_the_character(layout):
    rng = Random(4)
    kind = "poster" if layout.tall else "page"
    picture = qwen_batches.KINDS[kind](rng)
    frame = layout.frame()
    rows, _ = packing.pack(training_questions(Random(5), picture), frame)
    shown = layout.spread(picture.labels.reshape(4, -1))[2]
    found = 0
    for target, key in zip(rows[1], rows[4], strict=True):
        if key >= 0:
            character = shown[key - len(qwen_batches.BEFORE)]
            found += character > 0 and ID[CHARACTERS[character - 1]] == target
    assert found > 3
