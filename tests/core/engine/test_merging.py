"""Tokens that a drop makes: where they stand, their positions, and what the report says of them."""

import copy
from dataclasses import replace

import merging
import pytest
import torch
from contract import IMAGE, IMAGE_ID, case_of
from merging import Merging
from test_oracle import decoder_inputs

from pdrop_eval import UserError
from pdrop_eval.engine.interface import Merged
from pdrop_eval.engine.phases import prefill
from pdrop_eval.engine.stages.stage import Stage, with_made

NEW = 6
STRATEGIES = {
    "renumber": Merging(),
    "keep": Merging(positions="keep"),
    "none_retained": Merging(keep=(4, 0)),
    "none_retained_keep": Merging(keep=(0, 1), positions="keep"),
    "as_many_made_as_lost": Merging(layers=(1, 3), keep=(24, 24), positions="keep"),
    "every_layer": Merging(layers=(1, 2, 3, 4, 5, 6, 7), keep=(20, 16, 12, 8, 5, 2, 0)),
}


def assert_agrees(case, strategy):
    """A batch, alone and with its decoded tokens, is what the oracle computes of each row."""
    embeds = decoder_inputs(case)["inputs_embeds"]
    image = case.options.get("image_mask", case.inputs.get("input_ids") == IMAGE_ID)
    with torch.no_grad(), case.under(strategy) as report:
        output = case.forward()
        answers = case.generate(new=NEW)
    for row, length in enumerate(case.lengths):
        prompt = embeds[row, -length:]
        answer = case.model.get_input_embeddings()(answers[row]).detach()
        whole = torch.cat((prompt, answer))
        is_image = torch.cat((image[row, -length:], torch.zeros(NEW, dtype=torch.bool)))
        with torch.no_grad():
            logits, chosen = merging.run(case.model, whole, is_image, strategy, length)
        last = len(logits) - NEW - 1
        assert torch.allclose(output.logits[row, -1], logits[last], atol=2e-4)
        # Image placeholders may not be generated; here no logit of one is the largest.
        assert answers[row].tolist() == logits[last:-1].argmax(-1).tolist()
        assert [ids[row].tolist() for ids in report.retained] == chosen


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_prefill_and_decoding_are_the_oracles(strategy):
    assert_agrees(case_of("llava_gqa"), strategy)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_the_oracle_agrees_on_several_tiles(strategy, attention):
    assert_agrees(case_of("llava_next", attention), strategy)


def test_beams_and_several_sequences_are_those_of_a_row_alone():
    case = case_of("bare_llama", rows=([4, IMAGE, 5], [2, IMAGE, 9]))
    with case.under(Merging()):
        together = case.generate(num_beams=3)
    for row in range(2):
        alone = case.alone(row)
        with alone.under(Merging()):
            assert torch.equal(alone.generate(num_beams=3)[0], together[row])


def test_the_report_counts_made_tokens_and_names_no_column_of_theirs():
    """25 image tokens: 6 and 2 made from layer 2 on, 3 and 2 from layer 5 on; two images in row 1."""
    case = case_of("llava_gqa")
    with case.under(Merging()) as report:
        output = case.forward()
    images = [[25, 50, 0, 25]] * 2 + [[8, 8, 0, 8]] * 3 + [[5, 5, 0, 5]] * 3
    text = [n - i for n, i in zip(case.lengths, case.image_tokens, strict=True)]
    assert report.image_tokens_per_layer == images
    assert report.kv_lengths == [[i + t for i, t in zip(row, text, strict=True)] for row in images]
    for ids in report.retained:
        assert (ids[0][-2:] == -1).all()
        assert (ids[0][:-2].diff() > 0).sum() >= len(ids[0]) - 5
    assert (report.index[0][report.attention_mask[0]] == -1).sum() >= 2
    known = report.index[report.attention_mask & (report.index >= 0)]
    assert known.max() == report.columns - 1
    full = report.scatter(output.logits)
    assert full.shape[1] == report.columns
    assert torch.equal(full[:, -1], output.logits[:, -1])


def test_made_tokens_have_no_label_and_their_sources_get_the_gradient():
    case = case_of("bare_llama").alone(0)
    embeds = case.inputs["inputs_embeds"].clone().requires_grad_()
    labels = torch.full(embeds.shape[:2], -100)
    labels[0, -3:] = 7
    with case.under(Merging()) as report:
        output = case.model(inputs_embeds=embeds, labels=labels, use_cache=False)
        output.loss.backward()
    assert report.labels.shape == output.logits.shape[:2]
    assert report.labels[0, -3:].tolist() == [7, 7, 7]
    assert (report.labels[report.index == -1] == -100).all()
    kept = set(report.retained[0][0].tolist())
    lost = [i for i in range(25) if i not in kept]
    image = case.options["image_mask"][0].nonzero()[:, 0]
    assert (embeds.grad[0, image[lost]].abs().sum(-1) > 0).all()


def test_checkpointed_training_makes_the_same_tokens():
    case = case_of("bare_llama").alone(1)
    labels = torch.full(case.inputs["attention_mask"].shape, -100)
    labels[0, -2:] = 9
    losses = []
    for checkpointing in (False, True):
        model = copy.deepcopy(case.model).train()
        if checkpointing:
            # The name changed within transformers 5.
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        embeds = case.inputs["inputs_embeds"].clone().requires_grad_()
        with Merging()(model, **case.options):
            output = model(inputs_embeds=embeds, labels=labels, use_cache=False)
            output.loss.backward()
        losses.append((output.loss.item(), embeds.grad))
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-6)
    assert torch.allclose(losses[0][1], losses[1][1], atol=1e-6)


def test_a_strategy_that_makes_more_than_it_dropped_is_stopped():
    class Grows(Merging):
        def select(self, context):
            chosen = super().select(context)
            more = Merged(torch.zeros(1, 30, 32), [30])
            return type(chosen)(scores=chosen.scores, keep=chosen.keep, merge=lambda _: more)

    case = case_of("bare_llama").alone(0)
    with (
        pytest.raises(ValueError, match="made 30 tokens of row 0, of which it dropped 19"),
        case.under(Grows()),
    ):
        case.forward()


T, F = True, False


def stage_of(image, positions):
    n = len(image)
    return Stage(
        gather=None, index=torch.arange(n)[None], valid=torch.ones(1, n, dtype=torch.bool), padded=False,
        image=torch.tensor([image]), positions=torch.tensor([positions]), removed=torch.zeros(1).long(),
        lengths=[n], images=[sum(image)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("renumber", "positions", "removed"),
    [
        # text 0, images 1 2 3 4, text 5; 2 is retained, two are made: 0 2 m m 5
        (True, [0, 1, 2, 3, 4], 1),
        (False, [0, 2, 2, 2, 5], 1),
    ],
)
def test_positions_by_hand(renumber, positions, removed):
    before = stage_of([F, T, T, T, T, F], [0, 1, 2, 3, 4, 5])
    after = with_made(before, torch.tensor([[F, F, T, F, F, F]]), [2], renumber, right_aligned=True)
    assert after.gather.tolist() == [[0, 2, 6, 7, 5]]
    assert after.positions.tolist() == [positions]
    assert after.sources.tolist() == [[0, 2, -1, -1, 5]]
    assert after.image.tolist() == [[F, T, T, T, F]]
    assert after.removed.tolist() == [removed]
    assert (after.lengths, after.images) == ([5], [3])


def test_where_nothing_is_retained_made_tokens_take_the_last_image_tokens_place():
    before = stage_of([F, T, T, T, F], [0, 1, 2, 3, 4])
    for renumber, positions in ((True, [0, 1, 2]), (False, [0, 3, 4])):
        after = with_made(before, torch.zeros(1, 5, dtype=torch.bool), [1], renumber, right_aligned=True)
        assert after.gather.tolist() == [[0, 5, 4]]
        assert after.positions.tolist() == [positions]


def test_positions_of_three_axes_are_kept_on_each():
    """M-RoPE: the made token stands where the last retained image token does, on all three axes."""
    before = stage_of([F, T, T, F], [0, 1, 2, 3])
    axes = torch.tensor([[[0, 1, 1, 3]], [[0, 1, 1, 3]], [[0, 1, 2, 3]]])
    before = Stage(**{**vars(before), "positions": axes})
    after = with_made(before, torch.tensor([[F, T, F, F]]), [1], False, right_aligned=True)
    assert after.positions.tolist() == [[[0, 1, 1, 3]], [[0, 1, 1, 3]], [[0, 1, 1, 3]]]


def test_labels_are_refused_by_a_strategy_without_a_rule_for_them():
    class Untrained(Merging):
        trains = False
        display_name = "Untrained"

    case = case_of("bare_llama").alone(0)
    labels = torch.full(case.inputs["attention_mask"].shape, 5)
    with pytest.raises(UserError, match="can't be trained with"), case.under(Untrained()):
        case.forward(labels=labels)


def in_front_of_their_image_token(stage):
    """The first made token of each row changes places with the token before it."""
    first = stage.made.int().argmax(1, keepdim=True)
    swap = torch.arange(stage.made.shape[1]).expand_as(stage.made).clone()
    swap.scatter_(1, first, first - 1).scatter_(1, first - 1, first)
    return replace(stage, gather=stage.gather.gather(1, swap))


PLANTED = {
    "in front of their image token": in_front_of_their_image_token,
    "a place too far": lambda stage: replace(stage, positions=stage.positions + stage.made),
    "counted as removed": lambda stage: replace(stage, removed=stage.removed + stage.made.sum(1)),
    "never ranked again": lambda stage: replace(stage, image=stage.image & ~stage.made),
    "named after their image token": lambda stage: replace(stage, made=None),
    "of the row beside": lambda stage: replace(stage, gather=stage.gather.roll(1, 0)),
}


@pytest.mark.parametrize("fault", PLANTED.values(), ids=PLANTED)
def test_a_fault_in_placing_made_tokens_is_caught(monkeypatch, fault):
    right = prefill.with_made
    monkeypatch.setattr(prefill, "with_made", lambda *given, **more: fault(right(*given, **more)))
    case = case_of("llava_gqa", rows=([4, IMAGE, 5], [2, IMAGE, 5]))
    with pytest.raises(AssertionError):
        assert_agrees(case, Merging(keep=(6, 5)))
