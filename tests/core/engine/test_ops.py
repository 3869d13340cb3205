"""The tensor operations on small numbers worked out by hand."""

import math

import pytest
import torch

from pdrop_eval.engine.stages import ops
from pdrop_eval.models.rotary import rotate

T, F = True, False


def test_compact_packs_to_the_right_or_to_the_left_in_order():
    keep = torch.tensor([[T, F, T, T], [F, F, T, F]])
    columns, valid = ops.compact(keep, 3, right_aligned=True)
    assert columns[0].tolist() == [0, 2, 3]
    assert valid.tolist() == [[T, T, T], [F, F, T]]
    assert columns[1, 2] == 2
    columns, valid = ops.compact(keep, 3, right_aligned=False)
    assert columns[0].tolist() == [0, 2, 3]
    assert valid.tolist() == [[T, T, T], [T, F, F]]
    assert columns[1, 0] == 2


def test_top_mask_takes_each_rows_count_of_candidates_and_the_earlier_of_equals():
    scores = torch.tensor([[9.0, 1.0, 2.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0, 5.0]])
    candidates = torch.tensor([[F, T, T, T, T], [T, F, T, T, F]])
    chosen = ops.top_mask(scores, candidates, torch.tensor([2, 2]))
    assert chosen.tolist() == [[F, F, T, F, T], [T, F, T, F, F]]
    nothing = ops.top_mask(torch.full((1, 3), -torch.inf), torch.tensor([[F, T, T]]), torch.tensor([1]))
    assert nothing.tolist() == [[F, T, F]]


def test_query_scores_by_hand():
    """One head, e=1: q=1 against keys 0, ln 2, ln 3: softmax 1/6, 2/6, 3/6; with the last hidden 1/3, 2/3."""
    key = torch.tensor([0.0, math.log(2), math.log(3)]).view(1, 1, 3, 1)
    query = torch.ones(1, 1, 2, 1)
    visible = torch.tensor([[[T, T, T], [T, T, F]]])
    both = torch.tensor([[T, T]])
    scores = ops.query_scores(query, key, visible, both, scaling=1.0)
    assert torch.allclose(scores, torch.tensor([[(1 / 6 + 1 / 3) / 2, (2 / 6 + 2 / 3) / 2, 1 / 4]]))
    first = ops.query_scores(query, key, visible, torch.tensor([[T, F]]), scaling=1.0)
    assert torch.allclose(first, torch.tensor([[1 / 6, 2 / 6, 3 / 6]]))
    logits = ops.query_scores(query, key, visible, both, scaling=2.0, kind="logits")
    assert torch.allclose(logits, torch.tensor([[0.0, 2 * math.log(2), 2 * math.log(3)]]))
    unseen = ops.query_scores(query, key, visible[:, 1:].expand(1, 2, 3), both, scaling=1.0, kind="logits")
    assert unseen[0, 2] == -torch.inf


def test_a_row_without_a_query_scores_zero_and_stays_finite():
    scores = ops.query_scores(
        torch.ones(1, 2, 1, 4),
        torch.ones(1, 1, 3, 4),
        torch.ones(1, 1, 3) > 0,
        torch.tensor([[F]]),
        scaling=1.0,
    )
    assert scores.tolist() == [[0.0, 0.0, 0.0]]


def test_grouped_keys_serve_their_own_query_heads():
    """Heads 0, 1 share key head 0 (prefers column 0), heads 2, 3 key head 1 (prefers column 1)."""
    key = torch.zeros(1, 2, 2, 1)
    key[0, 0, 0] = key[0, 1, 1] = 20.0
    for head, column in ((0, 0), (1, 0), (2, 1), (3, 1)):
        query = torch.zeros(1, 4, 1, 1)
        query[0, head] = 1.0
        scores = ops.query_scores(query, key, torch.ones(1, 1, 2) > 0, torch.tensor([[T]]), scaling=1.0)
        assert scores[0].argmax() == column
        assert float(scores[0, column]) == pytest.approx(1 / 4 + 3 / 8, abs=1e-6)


def test_scoring_makes_no_square_matrix():
    n, sizes = 500, []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    query, key = torch.randn(1, 4, 1, 8), torch.randn(1, 2, n, 8)
    with Sizes():
        scores = ops.query_scores(query, key, torch.ones(1, 1, n) > 0, torch.tensor([[T]]), scaling=0.3)
        ops.top_mask(scores, torch.ones(1, n) > 0, torch.tensor([5]))
    assert max(sizes) == 2 * n * 8


def test_answer_spans_and_their_query_columns():
    ignored = -100
    labels = torch.tensor(
        [[ignored, ignored, 5, 5, ignored, 5], [5, ignored, ignored, ignored, ignored, ignored]]
    )
    valid = torch.ones(2, 6) > 0
    starts = ops.span_starts(labels, valid)
    assert starts.tolist() == [[2, 5], [0, 0]]
    alive = torch.tensor([[0, 1, 3, 4, 5], [1, 2, 3, 4, 5]])  # column 2 of row 0 is gone
    columns, real = ops.answer_queries(starts, torch.ones(2, 5) > 0, alive)
    assert columns[0].tolist() == [1, 3]
    assert real.tolist() == [[T, T], [F, F]]


def test_rotation_of_a_quarter_turn():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    turned = rotate(x, torch.zeros(1, 1, 4), torch.ones(1, 1, 4))
    assert turned.flatten().tolist() == [-3.0, -4.0, 1.0, 2.0]


def test_masks_in_the_form_of_each_attention():
    like = torch.zeros(1, 3, 2)
    assert ops.layer_mask("sdpa", None, 3, 3, like) is None
    assert ops.layer_mask("sdpa", None, 1, 3, like) is None
    assert ops.layer_mask("flash", None, 3, 3, like) is None
    valid = torch.tensor([[F, T, T]])
    assert ops.layer_mask("flash", valid, 3, 3, like) is valid
    mask = ops.layer_mask("sdpa", valid, 3, 3, like)
    assert mask.tolist() == [[[[T, F, F], [F, T, F], [F, T, T]]]]
    assert ops.layer_mask("sdpa", None, 2, 3, like).tolist() == [[[[T, T, F], [T, T, T]]]]
    eager = ops.layer_mask("eager", valid, 1, 3, like)
    assert eager.tolist() == [[[[torch.finfo(torch.float32).min, 0.0, 0.0]]]]


def test_the_last_column_of_padded_rows():
    valid = torch.tensor([[F, T, T], [T, T, F]])
    assert ops.last_column(valid).tolist() == [[2], [1]]
