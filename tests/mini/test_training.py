"""The training program: packing, the fast attention, and going on after a stop."""

import argparse
from dataclasses import replace
from random import Random

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from pdrop_eval.benchmarks.rendered import pictures
from tools.mini.training import network, packing
from tools.mini.training.architectures import ARCHITECTURES
from tools.mini.training.checkpoints import load_state
from tools.mini.training.lessons import training_questions
from tools.mini.training.model import build_model, build_processor
from tools.mini.training.train import Trainer
from tools.mini.training.vocabulary import EOS, TOKENS, encode


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model().eval()


def test_a_packed_question_gets_the_logits_that_it_gets_alone(model):
    """Training computes what transformers' own forward does, with a dozen questions in one row."""
    rng = Random(3)
    picture = pictures.signs(rng)
    asked = training_questions(rng, picture)
    rows, tasks = packing.pack(asked)
    assert len(tasks) > 3
    tensors = torch.from_numpy(rows)[None].unbind(1)
    tokens, targets, segments, positions, evidence, option = tensors
    pixels = torch.from_numpy(packing.normalise(picture.image))[None]
    mask = packing.attention_mask(segments)
    batch = packing.Batch(pixels, pixels, tokens, targets, positions, mask, evidence, option, [tasks])
    processor = build_processor()
    with torch.no_grad():
        model.set_attn_implementation("packed")
        packed, wanted = network.answer_logits(model, batch)
        model.set_attn_implementation("sdpa")
        alone = []
        for question in asked[: len(tasks)]:
            text = f"USER: <image>\n{question.prompt} ASSISTANT:"
            inputs = processor(images=picture.image, text=text, return_tensors="pt")
            answer = [*encode(question.answer), EOS]
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([answer[:-1]])], 1)
            logits = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"]).logits
            alone.append(logits[0, -len(answer) :])
    assert wanted.tolist() == [i for q in asked[: len(tasks)] for i in (*encode(q.answer), EOS)]
    torch.testing.assert_close(packed, torch.cat(alone), atol=2e-4, rtol=0)


def test_evidence_points_at_the_patch_that_shows_the_character():
    picture = pictures.page(Random(1))
    questions = [q for q in training_questions(Random(2), picture) if q.task == "docvqa_val"]
    rows, _ = packing.pack(questions)
    characters = picture.labels[2]
    for target, patch in zip(rows[1], rows[4], strict=True):
        if patch >= 0:
            assert "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[characters[patch - 2] - 1] == TOKENS[target]
    assert (rows[4] >= 0).sum() == sum(len(q.answer) for q in questions)


def test_option_points_at_the_word_of_the_right_letter():
    picture = pictures.objects(Random(5))
    questions = [q for q in training_questions(Random(5), picture) if q.task == "scienceqa_img"][:3]
    rows, _ = packing.pack(questions)
    pointed = [TOKENS[rows[0, key - len(packing.PREFIX)]] for key in rows[5] if key >= 0]
    assert pointed == [q.fields["choices"][q.fields["answer"]] for q in questions]


def test_guidance_is_minus_log_of_what_the_head_gives_the_key():
    weights = torch.zeros(1, 1, 2, 4)
    weights[0, 0, 1] = torch.tensor([0.0, 0.25, 0.5, 0.25])
    guide = network.Guide(torch.tensor([[-1, 2]]), torch.tensor([[-1, -1]]))
    guide.look(1, weights)
    guide.look(5, weights)  # no option to point at
    guide.look(0, weights)  # not a guided layer
    assert [round(loss.item(), 4) for loss in guide.losses] == [
        round(0.69115 / 4, 4)
    ]  # -ln(0.501) / 4 layers


class StoppedError(Exception):
    """Stands for a kill."""


def _train(folder, stop_after=None, architecture="llava"):
    options = argparse.Namespace(
        architecture=architecture,
        out=str(folder),
        seed=0,
        processes=1,
        vision_steps=2,
        joint_steps=4,
        together_steps=2,
        guided=0.5,
        checkpoint_every=1,
    )
    folder.mkdir(exist_ok=True)
    trainer = Trainer(options, 0)
    if stop_after:
        update, calls = trainer.update, iter(range(1, 100))

        def stopping(loss):
            if next(calls) > stop_after:
                raise StoppedError
            return update(loss)

        trainer.update = stopping
    trainer.run()
    return trainer


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    dist.destroy_process_group()


@pytest.fixture
def few_pictures(monkeypatch):
    """A step has four pictures, or two."""
    for name, kind in ARCHITECTURES.items():
        few = {"vision": 4, "joint": 2, "together": 2}
        monkeypatch.setitem(ARCHITECTURES, name, replace(kind, pictures=few))


@pytest.mark.parametrize(
    ("stop_after", "architecture"),
    [(1, "llava"), (4, "llava"), (3, "qwen2_5_vl"), (3, "llava576"), (7, "llava576")],
)
@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(
    tmp_path, process_group, few_pictures, stop_after, architecture
):
    whole = _train(tmp_path / "whole", architecture=architecture)
    with pytest.raises(StoppedError):
        _train(tmp_path / "stopped", stop_after, architecture)
    resumed = _train(tmp_path / "stopped", architecture=architecture)
    last = ARCHITECTURES[architecture].stages[-1]
    steps = {"joint": 4, "together": 2}[last]
    assert (whole.stage, whole.step) == (resumed.stage, resumed.step) == (last, steps)
    for (name, a), b in zip(
        whole.master.state_dict().items(), resumed.master.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    untrained = ARCHITECTURES[architecture].build().state_dict()
    assert not torch.equal(whole.master.state_dict()["lm_head.weight"], untrained["lm_head.weight"])


@pytest.mark.slow
def test_a_half_written_checkpoint_is_not_read(tmp_path, process_group, few_pictures):
    with pytest.raises(StoppedError):
        _train(tmp_path / "run", 1)
    saved = load_file(tmp_path / "run" / "last" / "model.safetensors")
    (tmp_path / "run" / "last").rename(tmp_path / "run" / "last.old")
    (tmp_path / "run" / "last.new").mkdir()
    (tmp_path / "run" / "last.new" / "model.safetensors").write_bytes(b"half")
    state = load_state(tmp_path / "run")
    assert state["step"] == 1
    assert torch.equal(state["modules"]["model"]["lm_head.weight"], saved["lm_head.weight"])
