"""What the strategies before the decoder choose, on tensors whose answer is found by hand."""

import pytest
import torch
from contract import case_of

from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import divprune, hired, pool, prumerge, vispruner
from pdrop_eval.strategies.fastervlm import FasterVLM
from pdrop_eval.strategies.prumerge_plus import PruMergePlus
from pdrop_eval.utils.errors import UserError

LLAVA, NEXT = TokenShape(576), TokenShape(2880, 5)


def angles(*degrees):
    """Unit vectors in a plane."""
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack((radians.cos(), radians.sin()), dim=1)


def test_divprune_goes_on_with_the_farthest():
    # Nearest neighbours are 10, 10, 80 and 90 degrees away: 180 comes first, then 0 (180 from it), then 90.
    assert divprune.most_diverse(angles(0.0, 10.0, 90.0, 180.0), 3).tolist() == [3, 0, 2]


def test_divprune_repeats_a_copy_only_where_the_official_code_does():
    copies = angles(0.0, 0.0, 90.0)
    # The odd one first; then 0, its copy being no farther; then all are at distance 0, and the first wins.
    assert divprune.most_diverse(copies, 3).tolist() == [2, 0, 0]
    assert divprune.most_diverse(copies, 3, official=False).tolist() == [2, 0, 1]


def test_divprune_rounds_halves_to_the_even_number():
    assert divprune.DivPrune(subset_ratio=0.03).retained_count(TokenShape(50)) == 2
    assert divprune.DivPrune(subset_ratio=0.05).retained_count(TokenShape(50)) == 2
    assert divprune.DivPrune().retained_count(LLAVA) == 56


def test_vispruner_removes_the_even_ones_that_are_most_like_an_odd_one():
    # Even places: 0, 45, 80 degrees; odd ones: 1, 60. They are 1, 15 and 20 degrees from one of these.
    assert vispruner.diverse(angles(0.0, 1.0, 45.0, 60.0, 80.0), 4).tolist() == [2, 4, 1, 3]


def test_vispruner_works_with_odd_lists_and_few_candidates():
    for wanted in range(8):
        assert (
            len(set(vispruner.diverse(angles(*(7.0 * i * i for i in range(7))), wanted).tolist())) == wanted
        )


def test_hired_shares_the_budget_out_by_stripes_and_loses_the_remainder():
    marked = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0], dtype=torch.bool)
    # Stripes of two: 2, 1, 0 and 0 marks of 3; 10 tokens are 6.67 and 3.33, rounded down.
    assert hired.stripe_shares(marked, 4, 10) == [6, 3, 0, 0]
    assert hired.shared_out([2, 1, 0, 0], [9, 9, 9, 9], 10) == [7, 3, 0, 0]
    assert hired.shared_out([2, 1, 0, 0], [4, 9, 1, 9], 10) == [4, 4, 1, 1]


def test_hired_takes_the_overview_s_share_first():
    # 5 tiles of 64 at 0.2: 64, of which half are the overview's.
    assert hired.budgets(5, 64, 0.2, 0.5) == (32, 32)
    assert hired.budgets(5, 64, 1.0, 0.5) == (64, 256)
    assert hired.HiRED().retained_count(LLAVA) == 115


def test_pooling_takes_the_mean_of_each_block():
    tokens = torch.arange(16.0).view(1, 16, 1)
    # Blocks of 2 x 2 of 0..15, row by row: (0 + 1 + 4 + 5) / 4, and so on.
    assert pool.pooled(tokens, (4, 4), (2, 2), "average").flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize(("count", "grid"), [(64, (8, 8)), (60, (6, 10)), (7, (1, 7)), (600, (24, 24))])
def test_a_budget_of_pooling_is_the_largest_grid_that_it_has_room_for(count, grid):
    strategy = pool.Pool.for_count(count, LLAVA)
    assert strategy.size == grid
    assert strategy.retained_count(LLAVA) <= count


def test_prumerge_keeps_what_is_above_the_upper_fence():
    # Quartiles of 0..8 and 100 (ten values) are 2.25 and 6.75: the fence is 13.5.
    values = torch.tensor([[0.0, 1, 2, 3, 4, 5, 6, 7, 8, 100]])
    assert prumerge.outlier_ratio(values) == 0.1
    assert prumerge.picked(values[0], 0.1).tolist() == [9]
    # Spaced by int(int(1 / 0.1) / 3) = 3 up to the last but one, those kept already left out.
    assert prumerge.picked(values[0], 0.1, plus=True).tolist() == [9, 0, 3, 6]
    assert prumerge.picked(values[0], 0.0, plus=True).tolist() == []


def test_prumerge_adds_what_is_near_and_the_sum_of_the_rest():
    features, attention = torch.tensor([[1.0], [10.0], [100.0]]), torch.tensor([0.5, 0.25, 0.125])
    # Both others are neighbours: 1 + 0.25·10 + 0.125·100; the others alone: 0.25·10 + 0.125·100.
    found = prumerge.merged(features, angles(0.0, 10.0, 90.0), attention, torch.tensor([0]))
    assert found.tolist() == [[16.0], [15.0]]


def test_adaptive_ones_refuse_a_budget_with_the_reason():
    for cls in (prumerge.PruMerge, PruMergePlus):
        with pytest.raises(UserError, match="decides by each image how many tokens it retains"):
            cls.for_budget(None, tokens=64)
        with pytest.raises(UserError, match="the record has the mean over its samples"):
            cls().schedule(32, 576)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: divprune.DivPrune(subset_ratio=1.1), "subset_ratio=1.1 is not allowed"),
        (lambda: divprune.DivPrune(subset_ratio=0).check_shape(LLAVA), "leaves none of an image's 576"),
        (lambda: vispruner.VisPruner(important_ratio=-1), "important_ratio=-1 is not allowed"),
        (lambda: vispruner.VisPruner(visual_token_num=600).check_shape(LLAVA), "visual_token_num=600"),
        (lambda: hired.HiRED(alpha=2), "alpha=2 is not allowed"),
        (lambda: hired.HiRED(token_budget_rate=0.001).check_shape(LLAVA), "leaves none of an image's 576"),
        (lambda: pool.Pool(grid=(8,)), r"grid=\(8,\) is not allowed"),
        (lambda: pool.Pool(grid=8), "grid=8 is not allowed"),
        (lambda: pool.Pool(mode="max"), "mode='max' is unknown"),
        (lambda: pool.Pool(grid=(8, 25)).check_shape(LLAVA), "a tile has 24 x 24 tokens"),
        (lambda: prumerge.PruMerge(reduction_ratio=2), "reduction_ratio=2 is not allowed"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_hired_and_fastervlm_choose_the_same_without_tiles():
    """Both keep what the class token looks at; only tiles share HiRED's budget out."""
    case = case_of("llava_gqa", rows=[[4, "image", 5], [3, "image", 9]])
    chosen = []
    for strategy in (hired.HiRED(token_budget_rate=8 / 25), FasterVLM(visual_token_num=8)):
        with case.under(strategy) as report:
            case.forward()
        chosen.append([ids.tolist() for ids in report.sources])
    assert chosen[0] == chosen[1]
    assert [len(ids) for ids in chosen[0]] == [8, 8]
