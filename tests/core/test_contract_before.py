"""Every strategy before the decoder on every family that takes images (the lists are in contract.py)."""

import copy

import pytest
import torch
from contract import IMAGE_ID, ROWS, case_of, every_before_pair
from test_contract import extended, hooks

from pdrop_eval import Vanilla
from pdrop_eval.engine.before import images_of_rows
from pdrop_eval.models import families
from pdrop_eval.models.kv_cache import cache_argument

pytestmark = every_before_pair


def keeping_all(strategy):
    """The same strategy, told to keep every token of every image."""
    kept = copy.copy(strategy)
    kept.reduce = lambda view: view.take(torch.arange(len(view.tokens)))
    return kept


def expected(case, strategy):
    """For each row, the numbers of tokens that its images become, by what the strategy says itself."""
    if "pixel_values" not in case.inputs:
        return [[] for _ in case.image_tokens]
    family = families.of_model(case.model)
    shapes = [place.shape for place in family.places(case.model, case.inputs)]
    rows = images_of_rows([shape.tokens for shape in shapes], case.image_tokens)
    count = (lambda shape: 0) if strategy.adaptive else strategy.retained_count
    return [[count(shapes[number]) for number in row] for row in rows]


def test_keeping_all_is_vanilla_bit_for_bit(strategy, family):
    case = case_of(family)
    plain, tokens = case.forward(), case.generate()
    with case.under(keeping_all(strategy)) as report:
        kept, kept_tokens = case.forward(), case.generate()
    assert torch.equal(plain.logits, kept.logits)
    assert torch.equal(tokens, kept_tokens)
    assert report.kv_lengths == [case.lengths] * 8
    assert [ids.tolist() for ids in report.sources] == [list(range(n)) for n in case.image_tokens]


def test_lengths_follow_the_counts(strategy, family):
    case = case_of(family)
    with case.under(strategy) as report:
        output = case.forward()
    counts = [sum(row) for row in expected(case, strategy)]
    if strategy.adaptive or (strategy.name == "hired" and strategy.official):  # the picture decides
        found = [len(source) for source in report.sources]
        assert strategy.adaptive or all(n <= most for n, most in zip(found, counts, strict=True))
        counts = found
    text = [length - n for length, n in zip(case.lengths, case.image_tokens, strict=True)]
    lengths = [n + t for n, t in zip(counts, text, strict=True)]
    assert report.image_tokens == case.image_tokens
    assert report.image_tokens_per_layer == [counts] * 8
    assert report.kv_lengths == [lengths] * 8
    assert output.logits.shape[1] == max(lengths)
    assert {layer.keys.shape[2] for layer in output.past_key_values.layers} == {max(lengths)}


def test_sources_are_original_tokens_or_made_ones(strategy, family):
    case = case_of(family)
    with case.under(strategy) as report:
        case.forward()
    index, valid = report.index, report.attention_mask
    for row, source in enumerate(report.sources):
        original = [number for number in source.tolist() if number >= 0]
        assert len(original) == len(set(original))
        assert set(original) <= set(range(case.image_tokens[row]))
        own, columns = case.inputs["input_ids"][row], index[row][valid[row]]
        kept = columns[columns >= 0]
        # Text and original tokens stand where the full prompt has them, each in its column.
        image = (own[kept] == IMAGE_ID).nonzero().flatten()
        full = (own == IMAGE_ID).nonzero().flatten()
        assert torch.equal(kept[image], full[torch.tensor(original, dtype=torch.long)])
        text = kept[own[kept] != IMAGE_ID]
        assert text.tolist() == (case.inputs["attention_mask"][row].bool() & (own != IMAGE_ID)).nonzero()[
            :, 0
        ].tolist()  # fmt: skip


def test_a_batch_equals_its_rows_alone(strategy, family):
    case = case_of(family)
    with case.under(strategy) as report:
        logits, tokens = case.forward().logits[:, -1], case.generate()
    sources, lengths = report.sources, report.kv_lengths
    for row in range(len(ROWS)):
        alone = case.alone(row)
        with alone.under(strategy) as report:
            assert torch.allclose(alone.forward().logits[0, -1], logits[row], atol=1e-4)
            assert torch.equal(alone.generate()[0], tokens[row])
        own = report.sources[0].tolist() if report.sources is not None else []
        assert own == sources[row].tolist()
        assert [layer[0] for layer in report.kv_lengths] == [layer[row] for layer in lengths]


def test_cached_decoding_equals_one_forward(strategy, family):
    case = case_of(family).alone(1)
    with case.under(strategy):
        steps = case.model.generate(
            **case.inputs,
            max_new_tokens=6,
            min_new_tokens=6,
            do_sample=False,
            suppress_tokens=[IMAGE_ID],
            output_logits=True,
            return_dict_in_generate=True,
        )
    full = extended(case, steps.sequences[:, -6:])
    targets = full.inputs["labels"][0, -6:]
    if not strategy.trains:
        del full.inputs["labels"]
    with full.under(strategy) as report:
        output = full.forward()
    assert torch.allclose(output.logits[0, -7:-1], torch.cat(steps.logits), atol=1e-4)
    if not strategy.trains:
        return
    loss = torch.nn.functional.cross_entropy(output.logits[0, -7:-1], targets)
    assert torch.allclose(output.loss, loss, atol=1e-5)
    assert report.labels[0, -6:].tolist() == targets.tolist()
    assert set(report.labels[0, :-6].tolist()) == {-100}


def test_steps_by_hand_equal_generate(strategy, family):
    """A loop that counts the columns of the full prompt, as one for plain transformers does."""
    case = case_of(family)
    with case.under(strategy):
        tokens = case.generate(new=3)
        output, mask, found = case.forward(), case.inputs["attention_mask"], []
        for _ in range(3):
            found.append(output.logits[:, -1].argmax(-1))
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            with torch.no_grad():
                past = cache_argument(case.model, output.past_key_values)
                output = case.model(input_ids=found[-1][:, None], attention_mask=mask, **past)
    assert torch.equal(torch.stack(found, 1), tokens)


def test_the_prompt_comes_back_as_it_was_given(strategy, family):
    case = case_of(family)
    ids = case.inputs["input_ids"]
    with case.under(strategy):
        greedy = case.model.generate(**case.inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
        one = case.model.generate(
            **case.inputs, max_length=ids.shape[1] + 3, min_new_tokens=3, do_sample=False
        )
        beams = case.model.generate(
            **case.inputs, max_new_tokens=3, num_beams=2, num_return_sequences=2, return_dict_in_generate=True
        )
    assert torch.equal(greedy[:, :-3], ids)
    assert torch.equal(greedy, one)
    assert torch.equal(beams.sequences[:, : ids.shape[1]], ids.repeat_interleave(2, dim=0))


def test_nothing_is_left_behind(strategy, family):
    case = case_of(family)
    case.forward()
    before = hooks(case.model)
    with case.under(strategy):
        during = hooks(case.model)
        case.forward()
        assert hooks(case.model) == during  # those on the tower are there while it encodes only
    assert hooks(case.model) == before
    assert "generate" not in vars(case.model)


def test_nothing_is_left_behind_after_an_error(strategy, family):
    case = case_of(family)
    case.forward()
    before = hooks(case.model)
    failing = copy.copy(strategy)
    failing.reduce = lambda view: 1 / 0
    with pytest.raises(ZeroDivisionError), case.under(failing):
        case.generate()
    assert hooks(case.model) == before
    assert "generate" not in vars(case.model)
    with case.under(strategy) as report:
        case.forward()
    assert len(report.kv_lengths) == 8


def test_contexts_follow_each_other(strategy, family):
    case = case_of(family)
    plain = case.forward().logits
    with case.under(strategy):
        once = case.forward().logits
    with case.under(Vanilla()):
        assert torch.equal(case.forward().logits, plain)
    with case.under(strategy):
        assert torch.equal(case.forward().logits, once)
    assert torch.equal(case.forward().logits, plain)
