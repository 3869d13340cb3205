"""MustDrop's thresholds, key set, cut of the caches and refusals."""

from dataclasses import dataclass, replace

import oracle
import pytest
import torch
from contract import IMAGE, IMAGE_ID, case_of, model_of

from pdrop_eval import UserError
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import mustdrop
from pdrop_eval.strategies.mustdrop import MustDrop
from pdrop_eval.strategies.pool import Pool

T, F = True, False
ROWS = ([4, IMAGE, 5], [2, IMAGE, 3, IMAGE, 4], [7], [3, IMAGE, 19])
SOME = {"global_thr": 0.03, "individual_thr": 0.2, "layers": (2, 5)}


def test_both_thresholds_by_hand(monkeypatch):
    """Sums .5, .02, .02, .46: below .03 are the two in the middle, and the second has a maximum of .3."""
    total, most = torch.tensor([[0.5, 0.02, 0.02, 0.46]]), torch.tensor([[0.5, 0.1, 0.3, 0.4]])
    monkeypatch.setattr(mustdrop, "looked_at", lambda context: (total, most))

    class Context:
        image = torch.ones(1, 4, dtype=torch.bool)
        marked = torch.zeros(1, 4, dtype=torch.bool)
        image_ids = torch.arange(4)[None]

    assert MustDrop(**SOME).select(Context()).keep.tolist() == [[T, F, T, T]]
    assert MustDrop(**SOME, key_set=[1]).select(Context()).keep.tolist() == [[T, T, T, T]]
    monkeypatch.setattr(Context, "marked", torch.tensor([[F, T, F, F]]))
    assert MustDrop(**SOME).select(Context()).keep.tolist() == [[T, T, T, T]]


def decoder_inputs(case):
    """What the decoder is fed, images merged in."""
    caught = []
    decoder = case.model.get_decoder()
    hook = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: caught.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    case.forward()
    hook.remove()
    return caught[0]


def test_sums_and_maxima_are_those_of_the_words_behind_the_image():
    case = case_of("llava_gqa", rows=ROWS)
    found = []

    class Noting(MustDrop):
        def select(self, context):
            found.append(mustdrop.looked_at(context))
            return super().select(context)

    with case.under(Noting(**SOME)):
        case.forward()
    total, most = found[0]
    embeds = decoder_inputs(case)
    layers = case.model.get_decoder().layers
    for row in (0, 1, 3):
        length = case.lengths[row]
        image = case.inputs["input_ids"][row, -length:] == IMAGE_ID
        alive = torch.ones(length, dtype=torch.bool)
        with torch.no_grad():
            hidden = oracle.layer_forward(layers[0], embeds[row, -length:], alive, False)
            products = oracle.logits_of(layers[1], hidden, alive, False)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = products.masked_fill(future, -torch.inf).softmax(-1).mean(0)
        behind = weights[int(image.nonzero().max()) + 1 :]
        assert torch.allclose(total[row, -length:], behind.sum(0), atol=1e-5)
        assert torch.allclose(most[row, -length:], behind.amax(0), atol=1e-5)


def test_an_image_at_the_end_is_looked_at_by_the_last_token():
    case = case_of("llava_gqa", rows=([4, IMAGE],))
    with case.under(MustDrop(**SOME)) as report:
        case.forward()
    assert 0 < len(report.retained[1][0]) < 25


def test_cut_caches_hold_the_final_tokens_from_the_first_layer_that_ranks():
    """Layer 1 ranks for the drop before layer 2: it and all behind it hold what is left in the end."""
    case = case_of("llava_gqa", rows=ROWS)
    with case.under(MustDrop(**SOME, cut_caches=True)) as report:
        output = case.forward()
        tokens = case.generate()
    text = [n - i for n, i in zip(case.lengths, case.image_tokens, strict=True)]
    final = [len(ids) + t for ids, t in zip(report.retained[-1], text, strict=True)]
    assert report.kv_lengths == [case.lengths] + [final] * 7
    for number, cached in enumerate(output.past_key_values.layers):
        assert cached.keys.shape[2] == max(report.kv_lengths[number])
    for row in (0, 1, 3):
        alone = case.alone(row)
        with alone.under(MustDrop(**SOME, cut_caches=True)):
            assert torch.equal(alone.generate()[0], tokens[row])
    with case.under(MustDrop(**SOME)) as report:
        case.forward()
        whole = case.generate()
    assert report.kv_lengths[1] == case.lengths
    assert not torch.equal(tokens, whole)


def test_cutting_leaves_the_right_keys():
    case = case_of("llava_gqa", rows=ROWS[:1])
    caches = []
    for cut in (False, True):
        with case.under(MustDrop(**SOME, cut_caches=cut)) as report:
            caches.append(case.forward().past_key_values)
    kept = report.retained[1][0]
    columns = torch.cat((torch.arange(4), 4 + kept, torch.arange(29, 34)))
    for number in (1,):
        assert torch.equal(caches[1].layers[number].keys, caches[0].layers[number].keys[:, :, columns])
        assert torch.equal(caches[1].layers[number].values, caches[0].layers[number].values[:, :, columns])
    assert torch.equal(caches[1].layers[0].keys, caches[0].layers[0].keys)
    assert torch.equal(caches[1].layers[7].keys, caches[0].layers[7].keys)


@dataclass
class Marking(Pool):
    """Pools, and marks the first two tokens of each image."""

    def reduce(self, view):
        found = super().reduce(view)
        return replace(found, marks=torch.arange(len(found.tokens)) < 2)

    def drops(self, num_layers):
        return MustDrop(**ALL).drops(num_layers)

    def select(self, context):
        marks.append(context.marked.clone())
        return MustDrop(**ALL).select(context)


ALL = {"global_thr": 1.0, "individual_thr": 1.0, "layers": (2, 5)}
marks = []


def test_what_a_strategy_before_the_decoder_marks_never_goes():
    """Both thresholds are 1, so all go but the two that are marked of each image's 6."""
    marks.clear()
    case = case_of("llava_gqa", rows=ROWS)
    with case.under(Marking(grid=(3, 2))) as report:
        case.forward()
        beams = case.generate(num_beams=2)
    assert report.image_tokens_per_layer[0][::2] == [6, 12, 0, 6]
    assert report.image_tokens_per_layer[7][::2] == [2, 4, 0, 2]
    assert marks[0].sum(1).tolist() == [2, 4, 0, 2]
    assert len(beams) == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"global_thr": -0.1}, "global_thr=-0.1"),
        ({"individual_thr": 2}, "individual_thr=2"),
        ({"layers": (5, 3)}, "must increase"),
        ({"key_set": "all"}, "key_set='all' is not allowed"),
        ({"key_set": [-1]}, "key_set=-1"),
        ({"cut_caches": "maybe"}, "cut_caches='maybe'"),
        ({"preset": "96"}, "preset='96' is not allowed"),
        ({"preset": "64", "global_thr": 0.5}, "preset=64 says global_thr=0.011"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        MustDrop(**settings)


def test_presets_depths_budgets_and_schedules():
    assert MustDrop(preset="128").global_thr == 0.0012
    assert [drop.layer for drop in MustDrop().drops(32)] == [3, 7, 11, 15]
    assert [drop.layer for drop in MustDrop().drops(8)] == [1, 2, 3, 4]
    assert MustDrop(cut_caches=True).cache_cut(32) == 2
    assert MustDrop(cut_caches=True).cache_cut(8) == 1
    assert MustDrop().cache_cut(32) is None
    with pytest.raises(UserError, match=r"preset=64 of MustDrop .* made for one tile of 576 patches"):
        MustDrop(preset="64")(model_of("llava_gqa"))
    MustDrop(preset="64").check_image(TokenShape(576))
    with pytest.raises(UserError, match="fit a model of 3 layers"):
        MustDrop().drops(3)
    with pytest.raises(UserError, match="can't be fitted to a budget"):
        MustDrop.for_budget(model_of("llava_gqa").config, tokens=10)
    with pytest.raises(UserError, match="nothing can be said before a run"):
        MustDrop().schedule(32, 576)
    first, second = MustDrop(preset="64").notes(8, 576)
    assert "counts depend on each sample" in first
    assert "Layers 3, 7, 11, 15 of the paper's 32 are 1, 2, 3, 4 of 8 here" in second
