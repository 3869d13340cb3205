"""Every strategy on every family (the lists are in contract.py, and which pairs the fast run has)."""

from dataclasses import replace

import pytest
import torch
from contract import (
    BESIDE_SCORES,
    IMAGE_ID,
    NEW,
    ROWS,
    UNSCORED,
    case_of,
    every_decoder_pair,
    every_pair,
    keep_all,
    plain_of,
)

from pdrop_eval import UserError, Vanilla
from pdrop_eval.engine.interface import Selection
from pdrop_eval.strategies.base import Strategy


def hooks(model):
    """The number of hooks on each module; transformers keeps some of its own on vision towers."""
    return {
        name: len(module._forward_pre_hooks) + len(module._forward_hooks)
        for name, module in model.named_modules()
    }


@every_pair
def test_keeping_all_is_vanilla_bit_for_bit(strategy, family):
    case = case_of(family)
    plain, tokens = plain_of(family)
    with case.under(keep_all(strategy)) as drop:
        kept, kept_tokens = case.forward(), case.generate()
    assert torch.equal(plain, kept.logits)
    assert torch.equal(tokens, kept_tokens)
    assert drop.kv_lengths == [case.lengths] * 8
    for per_row in (*drop.retained, *([drop.sources] if strategy.reducer is not None else [])):
        assert [ids.tolist() for ids in per_row] == [list(range(n)) for n in case.image_tokens]


@every_decoder_pair
def test_retained_tokens_follow_the_schedule(strategy, family):
    case = case_of(family)
    with case.under(strategy) as drop:
        output = case.forward()
    assert drop.image_tokens == case.image_tokens
    text = [length - n for length, n in zip(case.lengths, case.image_tokens, strict=True)]
    cache = output.past_key_values.layers
    for layer in range(8):
        images = drop.image_tokens_per_layer[layer]
        assert drop.kv_lengths[layer] == [n + t for n, t in zip(images, text, strict=True)]
        assert cache[layer].keys.shape[2] == max(drop.kv_lengths[layer])
    if not strategy.adaptive:
        schedules = [strategy.schedule(8, n) for n in case.image_tokens]
        assert drop.image_tokens_per_layer == [list(row) for row in zip(*schedules, strict=True)]
    before = [list(range(n)) for n in case.image_tokens]
    layers = [at.layer for at in strategy.drops(8)]
    for d in range(len(drop.retained)):
        for row, ids in enumerate(drop.retained[d]):
            assert ids.dtype == torch.int64
            known = [i for i in ids.tolist() if i >= 0]
            assert known == sorted(set(known))
            assert ids.tolist() == known + [-1] * (len(ids) - len(known))  # made tokens come last
            assert set(known) <= set(before[row])
            if not strategy.adaptive:
                assert len(ids) == strategy.retained(8, case.image_tokens[row])[d]
            if layers[d] < 8:
                assert len(ids) == drop.image_tokens_per_layer[layers[d]][row]
            assert strategy.name in UNSCORED or len(drop.scores[d][row]) == len(before[row])
            before[row] = ids.tolist()


@every_decoder_pair
def test_the_best_scored_tokens_are_retained(strategy, family):
    if strategy.name in (*UNSCORED, *BESIDE_SCORES):
        pytest.skip("something else than a score decides, too")
    case = case_of(family)
    with case.under(strategy) as drop:
        case.forward()
    for record, scores, retained in zip(drop.records, drop.scores, drop.retained, strict=True):
        for row in range(len(ROWS)):
            kept = record.after[row][record.before[row]].nonzero()[:, 0].tolist()
            best = scores[row].topk(len(kept)).indices.sort().values
            assert best.tolist() == kept
            ids = record.ids[row][record.before[row]][best]  # -1: made by an earlier drop
            told = [number for number in retained[row].tolist() if number >= 0]
            assert told == ids[ids >= 0].sort().values.tolist()  # in their order, too


@every_pair
def test_a_batch_equals_its_rows_alone(strategy, family):
    case = case_of(family)
    with case.under(strategy) as drop:
        tokens, logits = case.answer()
    retained, sources, lengths = drop.retained, drop.sources, drop.kv_lengths
    for row in range(len(ROWS)):
        alone = case.alone(row)
        with alone.under(strategy) as drop:
            own_tokens, own_logits = alone.answer()
            assert torch.allclose(own_logits[0], logits[row], atol=1e-4)
            assert torch.equal(own_tokens[0], tokens[row])
        assert [ids[0].tolist() for ids in drop.retained] == [ids[row].tolist() for ids in retained]
        if sources is not None:
            own = drop.sources[0].tolist() if drop.sources is not None else []
            assert own == sources[row].tolist()
        assert [layer[0] for layer in drop.kv_lengths] == [layer[row] for layer in lengths]


@every_pair
def test_cached_decoding_equals_one_forward(strategy, family):
    """With labels the query row is the one before the answer, as in generation: one forward must agree."""
    case = case_of(family).alone(1)
    with case.under(strategy) as first:
        tokens, logits = case.answer(suppress_tokens=[IMAGE_ID, IMAGE_ID + 1])  # images and videos
    full = extended(case, tokens)
    targets = full.inputs["labels"][0, -NEW:]
    if not strategy.trains:
        with (
            full.under(strategy),
            pytest.raises(UserError, match="can't be trained with, nor be given labels"),
        ):
            full.forward()
        del full.inputs["labels"]
        if any(bool((rows[0] < 0).any()) for rows in first.retained):
            return  # tokens were made, of states that one forward doesn't have
    # Without labels, a strategy in the decoder would look at the answer: what it retained is retained again.
    again = strategy if strategy.trains or not strategy.drops(8) else Replay(strategy, first.retained)
    with full.under(again) as report:
        output = full.forward()
    assert torch.allclose(output.logits[0, -NEW - 1 : -1], logits[0], atol=1e-4)
    if not strategy.trains:
        return
    loss = torch.nn.functional.cross_entropy(output.logits[0, -NEW - 1 : -1], targets)
    assert torch.allclose(output.loss, loss, atol=1e-5)
    if report.labels is not None:  # of vanilla, the model itself computes the loss
        assert report.labels[0, -NEW:].tolist() == targets.tolist()
        assert set(report.labels[0, :-NEW].tolist()) == {-100}


class Replay(Strategy):
    """Retains in one row what another strategy has retained in it."""

    def __init__(self, strategy, retained):
        self.strategy, self.retained_ids = strategy, retained
        self.positions = strategy.positions

    def drops(self, num_layers):
        return self.strategy.drops(num_layers)

    def select(self, context):
        return Selection(keep=torch.isin(context.image_ids, self.retained_ids[context.drop][0]))


def extended(case, answer):
    """The case with the answer appended to its prompt, and labels on it."""
    inputs, options = dict(case.inputs), dict(case.options)
    if "input_ids" in inputs:
        inputs["input_ids"] = torch.cat((inputs["input_ids"], answer), 1)
    else:
        embedded = case.model.get_input_embeddings()(answer).detach()
        inputs["inputs_embeds"] = torch.cat((inputs["inputs_embeds"], embedded), 1)
        options["image_mask"] = torch.nn.functional.pad(options["image_mask"], (0, NEW))
    prompt = inputs["attention_mask"]
    inputs["attention_mask"] = torch.nn.functional.pad(prompt, (0, NEW), value=1)
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, NEW))
    inputs["labels"] = torch.cat((torch.full_like(prompt, -100), answer), 1)
    return replace(case, inputs=inputs, options=options)


@every_pair
def test_nothing_is_left_behind(strategy, family):
    case = case_of(family)
    plain_of(family)  # transformers adds its own hooks at the first forward
    before = hooks(case.model)
    with case.under(strategy):
        during = hooks(case.model)
        case.forward()
        assert hooks(case.model) == during  # those on the tower are there while it encodes only
    hooked = [name for name in before if during[name] > before[name]]
    assert sum(".layers." in name for name in hooked) == 8
    assert len(hooked) == 10  # the model, its decoder and the eight layers
    assert hooks(case.model) == before
    assert "generate" not in vars(case.model)


@every_pair
def test_nothing_is_left_behind_after_an_error(strategy, family):
    case = case_of(family)
    plain_of(family)
    before = hooks(case.model)
    decoder = case.model.get_decoder()
    failing = decoder.layers[6].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), case.under(strategy):
        case.forward()
    failing.remove()
    assert hooks(case.model) == before
    assert "generate" not in vars(case.model)
    with case.under(strategy) as drop:
        case.forward()
    assert len(drop.kv_lengths) == 8


@every_pair
def test_contexts_follow_each_other(strategy, family):
    case = case_of(family)
    plain, _ = plain_of(family)
    with case.under(strategy) as first:
        once = case.forward().logits
    with case.under(Vanilla()):
        assert torch.equal(case.forward().logits, plain)
    with case.under(strategy) as second:
        assert torch.equal(case.forward().logits, once)
    assert first.kv_lengths == second.kv_lengths
    assert torch.equal(case.forward().logits, plain)
