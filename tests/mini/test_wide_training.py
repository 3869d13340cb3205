"""The training of the miniature of 576 tokens computes what transformers' own forward does."""

import copy
import json
from random import Random

import pytest
import torch

from pdrop_eval.benchmarks.rendered import pictures
from pdrop_eval.benchmarks.rendered.canvas import CHARACTERS, COLORS, THINGS
from pdrop_eval.strategies import cdpruner
from tools.mini.training import captions, wide_batches, wide_clip, wide_network, wide_tokens
from tools.mini.training.architectures import ARCHITECTURES
from tools.mini.training.lessons import training_questions
from tools.mini.training.packing import draw
from tools.mini.training.vocabulary import EOS, TOKENS, UNKNOWN, encode
from tools.mini.training.wide_model import LAID, build_model, build_processor, laid_anew
from tools.mini.training.wide_network import WideHeads
from tools.mini.training.wide_tokens import Kept


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model().eval()


@pytest.fixture(scope="module")
def heads():
    torch.manual_seed(1)
    return WideHeads(128)


def test_a_packed_question_gets_the_logits_that_it_gets_alone(model):
    """Pixels, image tokens, positions and answers are those of the checkpoint that is saved."""
    batch = wide_batches.make_batch("test", range(1))
    rng = Random("test:0")
    picture = draw(rng)
    asked = training_questions(rng, picture)[:2]
    processor = build_processor()
    with torch.no_grad():
        model.set_attn_implementation("packed")
        packed, wanted = wide_network.answer_logits(model, batch)
        model.set_attn_implementation("sdpa")
        alone, answers = [], []
        for question in asked:
            text = f"USER: <image>\n{question.prompt} ASSISTANT:"
            inputs = processor(images=picture.image, text=text, return_tensors="pt")
            torch.testing.assert_close(
                batch.pixels, inputs["pixel_values"], atol=6.5 / 127.5, rtol=0
            )  # grain
            answer = [*encode(question.answer), EOS]
            ids = torch.cat([inputs["input_ids"], torch.tensor([answer[:-1]], dtype=torch.long)], 1)
            logits = model(input_ids=ids, pixel_values=batch.pixels).logits
            alone.append(logits[0, -len(answer) :])
            answers += answer
    assert wanted[: len(answers)].tolist() == answers
    torch.testing.assert_close(packed[: len(answers)], torch.cat(alone), atol=5e-4, rtol=1e-3)


def test_what_only_left_out_tokens_show_is_no_target():
    ids = torch.tensor([[0, 25, 26, 575]])  # of 24 x 24: cells (0, 0), (0, 0), (0, 1) and the last
    holds = Kept(ids, ids, 576).holds()[0]
    assert holds.nonzero()[:, 0].tolist() == [0, 1, 143]


def test_left_out_tokens_keep_their_positions_or_close_the_gaps():
    seen = set()
    for seed in range(40):
        kept = wide_tokens.kept_tokens(Random(seed), 2)
        count = kept.ids.shape[1]
        assert (kept.ids.diff() > 0).all()
        if torch.equal(kept.positions, kept.ids + 2):
            assert kept.next_position == 578
            seen.add("all" if count == 576 else "kept")
        else:
            assert kept.positions[0].tolist() == list(range(2, 2 + count))
            assert kept.next_position == 2 + count
            seen.add("renumbered")
    assert seen == {"all", "kept", "renumbered"}


def test_the_third_stage_asks_what_is_left_out_and_teaches_the_tower(model, heads, monkeypatch):
    """With one token left, joint training asks only what it shows; together, every answer counts."""
    one = torch.zeros(1, 1, dtype=torch.long)
    monkeypatch.setattr(wide_network, "_kept", lambda batch, by_cell=0.0: Kept(one, one + 2, 3))
    model.set_attn_implementation("packed")
    batch = wide_batches.make_batch("test", range(1))
    with torch.no_grad():
        _, asked = wide_network.answer_logits(model, batch)
    everything = int((batch.packed.targets >= 0).sum())
    shown = (batch.packed.evidence <= 0) & (batch.packed.targets >= 0)  # of no cell, or of the first
    assert len(asked) == int(shown.sum()) < everything
    counted = []
    real = torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        wide_network.F, "cross_entropy", lambda x, y, **how: (counted.append(len(y)), real(x, y, **how))[1]
    )
    loss, known = wide_network.see_and_answer(model, heads, batch)
    assert counted[0] == everything
    assert len(known["class"]) == 2
    loss.backward()
    first = model.model.vision_tower.get_parameter(
        next(n for n, _ in model.model.vision_tower.named_parameters() if "patch_embedding" in n)
    )
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    model.zero_grad()
    heads.zero_grad()


def test_cells_are_left_out_whole_and_the_others_by_half():
    seen = set()
    for seed in range(20):
        kept = wide_tokens.kept_tokens(Random(seed), 3, whole=0.0, by_cell=1.0)
        assert (kept.ids.diff() > 0).all()
        cells = kept.ids // 24 // 2 * 12 + kept.ids % 24 // 2
        for row in cells:
            assert row.unique(return_counts=True)[1].eq(2).all()
        assert 36 <= kept.ids.shape[1] // 2 <= 96
        seen.add(kept.ids.shape[1])
    assert len(seen) > 5


def test_the_decoder_is_laid_anew_with_its_layers_first_and_the_rest_the_identity(model):
    """What the sixteen layers compute is what the ten of twelve do that they begin with."""
    deep = ARCHITECTURES["llava576"].cross_over(model, "together").eval()
    assert deep.config.text_config.num_hidden_layers == 16
    few = copy.deepcopy(model)
    few.set_attn_implementation("sdpa")
    decoder = few.model.language_model
    decoder.layers = torch.nn.ModuleList(decoder.layers[number] for number in LAID)
    words = torch.arange(20)[None]
    with torch.no_grad():
        found, expected = (one(input_ids=words, use_cache=False).logits for one in (deep, few))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    later = deep.model.language_model.layers[12].self_attn.q_proj.weight
    assert later.std().item() == pytest.approx(
        128**-0.5, rel=0.1
    )  # not the same nothing for all: it can learn
    tower = "model.vision_tower"
    assert all(
        torch.equal(w, dict(model.named_parameters())[n]) for n, w in deep.named_parameters() if tower in n
    )
    assert laid_anew(model).dtype == model.dtype


def test_a_token_is_taught_the_characters_beside_it(heads, model, monkeypatch):
    """Right where the cells beside hold what it says; what stands elsewhere doesn't count."""
    labels = torch.zeros(1, 4, 24, 24, dtype=torch.long)
    labels[:, 2, 4:6, 6:8], labels[:, 2, 4:6, 8:10] = 3, 5  # two cells side by side
    wanted = {-1: torch.zeros(24, 24, dtype=torch.long), 1: torch.zeros(24, 24, dtype=torch.long)}
    wanted[-1][4:6, 8:10], wanted[-1][4:6, 10:12] = 3, 5  # what stands to the left of these
    wanted[1][4:6, 4:6], wanted[1][4:6, 6:8] = 3, 5
    steps = iter((-1, 1))

    def says(self, model, features):
        scores = torch.nn.functional.one_hot(wanted[next(steps)].flatten(), 70).float()[None] * 50
        return [scores] * 4

    monkeypatch.setattr(WideHeads, "forward", says)
    loss, right = heads.beside_loss(model, torch.zeros(1, 576, 128), labels.flatten(2))
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert right == 1.0


def test_the_first_layers_are_asked_for_the_rest_of_the_answer(heads, model, monkeypatch):
    """Of two answers of two tokens and the end, the place before the first is asked for all three."""
    targets = torch.tensor([[-100, 7, 8, EOS, -100, 9, 5, EOS]])
    asked = []
    real = torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        wide_network.F, "cross_entropy", lambda x, y, **how: (asked.append(y.tolist()), real(x, y, **how))[1]
    )
    loss = heads.ahead_loss(model, torch.randn(1, 8, 128), targets)
    assert asked == [[7, 8, EOS, 9, 5, EOS], [8, EOS, 5, EOS], [EOS, EOS], []]
    assert loss.isfinite()
    short = heads.ahead_loss(model, torch.randn(1, 2, 128), torch.tensor([[7, EOS]]))
    assert short.isfinite()
    short.backward()  # every process has a gradient of all, which they add up
    assert all(ahead.weight.grad is not None for ahead in heads.ahead)
    heads.zero_grad()
    model.zero_grad()


@pytest.mark.parametrize("kind", pictures.KINDS)
def test_a_caption_is_true_and_wrong_ones_are_not(kind):
    rng = Random(2)
    picture = pictures.KINDS[kind](rng)
    told = captions.caption(picture)
    for item in picture.items:
        assert f"{item.color} {item.thing}".strip() in told
    wrong = captions.wrong_captions(rng, picture, 4)
    assert told not in wrong
    assert all(UNKNOWN not in encode(text) for text in (told, *wrong))
    assert len(encode(told)) <= 62


def test_a_picture_holds_its_colors_its_things_and_its_characters():
    picture = pictures.signs(Random(1), 2)
    shown = dict(zip(captions.HELD, captions.held(picture), strict=True))
    names = [name for name in (*COLORS, *THINGS) if shown[name]]
    assert sorted(names) == sorted({name for item in picture.items for name in (item.color, item.thing)})
    assert {c for c in CHARACTERS if shown[c]} == {c for item in picture.items for c in item.text}


def test_the_class_token_is_taught_its_own_caption(heads):
    """Where a picture is embedded as its caption is, the caption is found."""
    batch = wide_batches.make_batch("test", range(2))
    ends = batch.captions.argmax(-1)
    assert (batch.captions.gather(1, ends[:, None]) == len(TOKENS) + 1).all()
    with torch.no_grad():
        hidden = heads.text_model(batch.captions[:2]).last_hidden_state[torch.arange(2), ends[:2]]
        texts = heads.text_projection(hidden)
        pooled = texts @ torch.linalg.pinv(heads.visual_projection.weight).T
        _, (_, right) = heads.class_loss(pooled, batch)
        _, (_, crossed) = heads.class_loss(pooled.flip(0), batch)
    assert (right, crossed) == (1.0, 0.0)


def test_the_clip_that_is_saved_is_the_one_that_was_trained(model, heads, tmp_path):
    """CDPruner reads it, and embeds a caption as training does."""
    wide_clip.save_clip(model, heads, tmp_path)
    tower = cdpruner.load(str(tmp_path / "clip"))
    text = "scene: red circle, blue star"
    assert tower.tokenize(text) == [i for i in wide_batches.caption_ids(text) if i]
    ids = torch.tensor([wide_batches.caption_ids(text)])
    with torch.no_grad():
        hidden = heads.text_model(ids).last_hidden_state[0, ids.argmax()]
        found = cdpruner.embedded(tower, text)[0]
    torch.testing.assert_close(found, heads.text_projection(hidden), atol=0.02, rtol=0.05)  # bfloat16
    assert tower.post_layernorm.weight.shape == (128,)


def test_the_committed_start_is_what_the_last_stage_trains():
    """Shape, stages and card are of one training."""
    kind = ARCHITECTURES["llava576"]
    text = json.loads((kind.folder / "config.json").read_text(encoding="utf-8"))["text_config"]
    assert text["num_hidden_layers"] == kind.built_for(kind.stages[-1]).config.text_config.num_hidden_layers
    lines = (kind.folder / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["stage"] == kind.stages[-1]
    card = json.loads((kind.folder / "card.json").read_text(encoding="utf-8"))
    assert card["training"]["together_steps"] == json.loads(lines[-1])["step"]
