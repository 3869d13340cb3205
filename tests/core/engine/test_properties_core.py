"""What holds for every schedule, budget and selection, on examples that hypothesis looks for."""

from fractions import Fraction
from itertools import pairwise

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from transformers import LlamaConfig

from pdrop_eval import FastV, PyramidDrop, UserError
from pdrop_eval.engine.schedule import retained_counts
from pdrop_eval.engine.stages.ops import compact, top_mask

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)
DEPTHS = some.integers(1, 40)
TOKENS = some.integers(0, 3000)
RATIOS = some.integers(1, 1000).map(lambda thousandths: thousandths / 1000)


@EXAMPLES
@given(DEPTHS, TOKENS, RATIOS, some.integers(1, 8), some.sampled_from(["floor", "progressive"]))
def test_a_schedule_starts_with_all_tokens_and_only_falls(depth, tokens, ratio, stages, rounding):
    assume(stages <= depth)
    found = PyramidDrop(ratio=ratio, stages=stages, rounding=rounding).schedule(depth, tokens)
    assert len(found) == depth
    assert found[0] == tokens
    assert all(before >= after >= 0 for before, after in pairwise(found))
    assert len(set(found)) <= stages  # it falls at the ends of stages alone
    if rounding == "floor":  # lambda to the S - 1 in decimal, then as the official code in floats
        assert found[-1] == int(tokens * float(Fraction(str(ratio)) ** (stages - 1)))


@EXAMPLES
@given(TOKENS, some.integers(1, 1000))
def test_the_first_progressive_drop_removes_the_share_that_is_left_over(tokens, thousandths):
    gone = -(-(1000 - thousandths) * tokens // 1000)  # ceil((1 - lambda) N), in whole numbers
    assert retained_counts(tokens, (thousandths / 1000,), "progressive") == (tokens - gone,)


@EXAMPLES
@given(DEPTHS, TOKENS, RATIOS, some.data())
def test_fastv_has_all_tokens_in_k_layers_and_one_count_after(depth, tokens, ratio, data):
    k = data.draw(some.integers(1, depth))
    found = FastV(k=k, r=ratio).schedule(depth, tokens)
    assert found[:k] == (tokens,) * k
    assert set(found[k:]) <= {round(tokens * (1 - ratio))}


@EXAMPLES
@given(some.sampled_from([PyramidDrop, FastV]), some.integers(4, 32), some.integers(16, 2880), RATIOS)
def test_a_budget_is_never_exceeded_and_a_larger_one_never_buys_less(strategy, depth, tokens, share):
    config = LlamaConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=depth, num_attention_heads=2)

    def cost(of):
        found = strategy.for_budget(config, share=of, image_tokens=tokens).schedule(depth, tokens)
        assert min(found) >= 1
        return sum(found)

    try:
        spent = cost(share)
    except UserError:  # out of reach: at least the layers before the first drop see all tokens
        assert share * depth < 3 + depth / tokens
        return
    assert spent <= share * depth * tokens * (1 + 1e-12)
    assert cost(min(1.0, share + 0.1)) >= spent
    assert cost(1.0) == depth * tokens


@some.composite
def ranked(draw):
    """Scores [b, n] with many ties, candidates, and how many of each row are wanted."""
    b, n = draw(some.integers(1, 3)), draw(some.integers(1, 24))
    grid = some.lists(some.lists(some.integers(-3, 3), min_size=n, max_size=n), min_size=b, max_size=b)
    scores = torch.tensor(draw(grid), dtype=torch.float32)
    candidates = torch.tensor(draw(grid)) > 0
    return scores, candidates, torch.tensor([draw(some.integers(0, int(row.sum()))) for row in candidates])


@EXAMPLES
@given(ranked())
def test_the_best_candidates_are_chosen_and_of_equal_ones_the_earlier(case):
    scores, candidates, counts = case
    chosen = top_mask(scores, candidates, counts)
    assert not (chosen & ~candidates).any()
    assert chosen.sum(1).tolist() == counts.tolist()
    for row in range(len(scores)):
        order = sorted(candidates[row].nonzero()[:, 0].tolist(), key=lambda c: (-float(scores[row, c]), c))
        assert sorted(order[: counts[row]]) == chosen[row].nonzero()[:, 0].tolist()


@EXAMPLES
@given(ranked(), some.booleans(), some.integers(0, 3))
def test_what_is_kept_stays_in_ascending_order_on_its_side(case, right, spare):
    _, keep, _ = case
    length = min(keep.shape[1], int(keep.sum(1).max()) + spare)
    columns, valid = compact(keep, length, right)
    for row in range(len(keep)):
        kept = keep[row].nonzero()[:, 0].tolist()
        assert columns[row][valid[row]].tolist() == kept
        padding = [False] * (length - len(kept))
        marks = [True] * len(kept)
        assert valid[row].tolist() == (padding + marks if right else marks + padding)
