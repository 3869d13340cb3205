"""What only strategies before the decoder do, on every family that takes images (lists: contract.py)."""

import copy

import pytest
import torch
from contract import FAMILIES, IMAGE_ID, DivPrune, Uniform, VisionZip, case_of, every_before_pair
from test_contract import hooks

from pdrop_eval.engine.before_decoder.reduce import images_of_rows
from pdrop_eval.models import families
from pdrop_eval.models.kv_cache import cache_argument


def expected(case, strategy):
    """For each row, the numbers of tokens that its images become, by what the strategy says itself."""
    if "pixel_values" not in case.inputs:
        return [[] for _ in case.image_tokens]
    family = families.of_model(case.model)
    shapes = [place.shape for place in family.places(case.model, case.inputs)]
    rows = images_of_rows([shape.tokens for shape in shapes], case.image_tokens)
    count = (lambda shape: 0) if strategy.adaptive else strategy.retained_count
    return [[count(shapes[number]) for number in row] for row in rows]


@every_before_pair
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


@every_before_pair
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


@every_before_pair
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


@every_before_pair
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


@every_before_pair
def test_nothing_is_left_behind_when_the_strategy_fails(strategy, family):
    case = case_of(family)
    case.forward()
    before = hooks(case.model)
    failing = copy.copy(strategy)
    failing.reduce = lambda view: 1 / 0
    with pytest.raises(ZeroDivisionError), case.under(failing):
        case.generate()
    assert hooks(case.model) == before
    assert "generate" not in vars(case.model)


@pytest.mark.skipif("qwen2_5_vl" not in FAMILIES, reason="this transformers is too old for it")
@pytest.mark.parametrize("strategy", [VisionZip, DivPrune, Uniform])
def test_a_share_is_that_of_each_picture_at_its_own_size(strategy):
    """Pictures of 50, 60, 100 and 70 tokens; a fifth of each."""
    case = case_of("qwen2_5_vl")
    with strategy.for_budget(case.model, share=0.2)(case.model) as report:
        case.forward()
    assert report.image_tokens == [50, 160, 0, 70]
    assert report.image_tokens_per_layer == [[10, 12 + 20, 0, 14]] * 8
