"""Forward with labels: query rows, rows that are not dropped, the loss on the shortened sequence."""

import pytest
import torch
from contract import STRATEGIES, alone, case_of, keep_all, llama, strategy_id
from transformers import LlamaForCausalLM

from pdrop_eval import FastV, PyramidDrop

DROPPING = [strategy for strategy in STRATEGIES if strategy.drops(8) and strategy.trains]
every_dropping = alone(DROPPING)

# Each row: ("t" text, "i" image, "a" answer) with lengths.
ROWS = (
    (("t", 3), ("i", 20), ("t", 4), ("a", 3), ("t", 2), ("a", 5)),  # two turns
    (("t", 1), ("i", 30), ("a", 4)),  # a caption
    (("t", 2), ("i", 10), ("t", 6)),  # no answer
    (("t", 5), ("a", 3)),  # no image
    (("t", 2), ("i", 8), ("t", 3), ("i", 12), ("t", 2), ("a", 2)),  # two images
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama(kv_heads=2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return model


def batch(rows, columns=None):
    """Right-padded embeds, attention mask, labels and image mask."""
    lengths = [sum(n for _, n in row) for row in rows]
    columns = columns or max(lengths)
    embeds = torch.zeros(len(rows), columns, 32)
    mask = torch.zeros(len(rows), columns, dtype=torch.long)
    labels = torch.full((len(rows), columns), -100)
    image = torch.zeros(len(rows), columns, dtype=torch.bool)
    for r, row in enumerate(rows):
        random = torch.Generator().manual_seed(ROWS.index(row))
        embeds[r, : lengths[r]] = torch.randn(lengths[r], 32, generator=random)
        mask[r, : lengths[r]] = 1
        at = 0
        for kind, n in row:
            if kind == "i":
                image[r, at : at + n] = True
            if kind == "a":
                labels[r, at : at + n] = torch.randint(3, 60, (n,), generator=random)
            at += n
    return embeds, mask, labels, image


def forward(model, strategy, rows, **settings):
    embeds, mask, labels, image = batch(rows)
    embeds.requires_grad_()
    with strategy(model, image_mask=image) as drop:
        output = model(inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False, **settings)
        if output.loss.requires_grad and not torch.isnan(output.loss):
            output.loss.backward()
    return output, drop, embeds.grad


@every_dropping
def test_a_batch_equals_its_rows_alone(model, strategy):
    output, drop, grad = forward(model, strategy, ROWS)
    answers = [sum(n for kind, n in row if kind == "a") for row in ROWS]
    total, summed = sum(answers), 0.0
    for r, row in enumerate(ROWS):
        alone, single, its_grad = forward(model, strategy, (row,))
        assert [ids[r].tolist() for ids in drop.retained] == [ids[0].tolist() for ids in single.retained]
        for mine, its in zip(drop.scores, single.scores, strict=True):
            assert torch.allclose(mine[r], its[0], atol=1e-5)
        length = single.kv_lengths[-1][0] if 8 not in strategy_layers(strategy) else alone.logits.shape[1]
        assert torch.allclose(output.logits[r, :length], alone.logits[0, :length], atol=1e-4)
        if answers[r]:
            summed += alone.loss.item() * answers[r]
            n = its_grad.shape[1]
            assert torch.allclose(grad[r, :n] * total, its_grad[0] * answers[r], atol=1e-4)
            assert not grad[r, n:].any()
    assert output.loss.item() == pytest.approx(summed / total, abs=1e-5)


def strategy_layers(strategy):
    return [drop.layer for drop in strategy.drops(8)]


@every_dropping
def test_rows_without_answers_keep_all_and_others_follow_the_schedule(model, strategy):
    _, drop, _ = forward(model, strategy, ROWS)
    images = [20, 30, 10, 0, 20]
    for layer in range(8):
        expected = [strategy.schedule(8, n)[layer] for n in images]
        expected[2] = 10
        assert drop.image_tokens_per_layer[layer] == expected


@every_dropping
def test_the_output_is_padded_on_the_right_with_ignored_labels(model, strategy):
    output, drop, _ = forward(model, strategy, ROWS)
    _, _, labels, image = batch(ROWS)
    assert output.logits.shape[:2] == drop.labels.shape == drop.attention_mask.shape
    for r in range(len(ROWS)):
        length = int(drop.attention_mask[r].sum())
        assert drop.attention_mask[r].tolist() == [True] * length + [False] * (drop.labels.shape[1] - length)
        columns = drop.index[r, :length]
        assert columns.tolist() == sorted(set(columns.tolist()))
        assert torch.equal(drop.labels[r, :length], labels[r, columns])
        assert (drop.labels[r, length:] == -100).all()
        kept = image[r].nonzero()[:, 0][drop.retained[-1][r]]
        assert columns[image[r, columns]].tolist() == kept.tolist()


def test_scores_are_the_mean_over_turns(model):
    """Two turns: the average of what each turn alone would give, as causal rows don't see what follows."""
    strategy = PyramidDrop(layers=(3,), ratios=(0.5,))
    embeds, _, labels, image = batch(ROWS[:1])
    scores = []
    first, second = labels.clone(), labels.clone()
    first[:, 32:] = -100
    second[:, :32] = -100
    for chosen in (first, second, labels):
        with strategy(model, image_mask=image) as drop:
            model(inputs_embeds=embeds, labels=chosen, use_cache=False)
        scores.append(drop.scores[0][0])
    assert torch.allclose((scores[0] + scores[1]) / 2, scores[2], atol=1e-6)
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)


def test_a_caption_is_ranked_by_the_last_image_token_alive(model):
    """Before any drop, that is the last row of a prompt that ends with the image."""
    strategy = PyramidDrop(layers=(2,), ratios=(0.5,))
    _, drop, _ = forward(model, strategy, (ROWS[1],))
    embeds, _, _, image = batch((ROWS[1],))
    with strategy(model, image_mask=image[:, :31]) as plain, torch.no_grad():
        model(inputs_embeds=embeds[:, :31], use_cache=False)
    assert torch.allclose(plain.scores[0][0], drop.scores[0][0], atol=1e-6)
    assert torch.equal(plain.retained[0][0], drop.retained[0][0])


@every_dropping
def test_keeping_all_gives_the_loss_of_the_model_itself(model, strategy):
    embeds, mask, labels, image = batch(ROWS)
    plain = model(inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False)
    with keep_all(strategy)(model, image_mask=image):
        kept = model(inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False)
    assert torch.equal(plain.loss, kept.loss)
    assert list(plain.keys()) == list(kept.keys())


def test_the_loss_is_summed_over_the_given_number_of_items(model):
    output, _, _ = forward(model, PyramidDrop(), ROWS)
    scaled, _, _ = forward(model, PyramidDrop(), ROWS, num_items_in_batch=34)
    assert scaled.loss.item() == pytest.approx(output.loss.item() * 17 / 34, rel=1e-5)  # 17 answer tokens


def test_a_tuple_begins_with_the_loss(model):
    embeds, mask, labels, image = batch(ROWS)
    with PyramidDrop()(model, image_mask=image):
        named = model(inputs_embeds=embeds, attention_mask=mask, labels=labels)
        output = model(inputs_embeds=embeds, attention_mask=mask, labels=labels, return_dict=False)
    assert torch.equal(output[0], named.loss)
    assert torch.equal(output[1], named.logits)
    assert torch.equal(named[0], named.loss)


def test_two_forwards_may_wait_for_one_backward(model):
    strategy, rows = PyramidDrop(), (ROWS[0], ROWS[4])
    alone = [forward(model, strategy, (row,))[2] for row in rows]
    losses, inputs = [], []
    first, second = (batch((row,)) for row in rows)
    for embeds, mask, labels, image in (first, second):
        inputs.append(embeds.requires_grad_())
        with strategy(model, image_mask=image):
            output = model(inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False)
        losses.append(output.loss)
    sum(losses).backward()
    for embeds, expected in zip(inputs, alone, strict=True):
        assert torch.allclose(embeds.grad, expected, atol=1e-5)


@pytest.mark.parametrize("strategy", [PyramidDrop(), FastV()], ids=strategy_id)
def test_checkpointing_changes_nothing(model, strategy):
    plain, _, grad = forward(model, strategy, ROWS)
    model.train()
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    try:
        again, _, same = forward(model, strategy, ROWS)
    finally:
        getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)()
        model.eval()
    assert torch.equal(plain.loss, again.loss)
    assert torch.equal(grad, same)


@every_dropping
def test_gradients_reach_the_features_of_retained_tokens(model, strategy):
    _, drop, grad = forward(model, strategy, (ROWS[1],))
    image = grad[0, 1:31]
    assert (image[drop.retained[-1][0]].abs().sum(-1) > 0).all()


def test_labels_work_through_a_multimodal_model():
    case = case_of("llava_gqa")
    labels = torch.full_like(case.inputs["input_ids"], -100)
    labels[:, -2:] = 7
    with case.under(PyramidDrop()) as drop:
        output = case.forward(labels=labels)
    expected = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].reshape(-1, 64), drop.labels[:, 1:].reshape(-1), ignore_index=-100
    )
    assert torch.allclose(output.loss, expected)
    assert (drop.labels == 7).sum() == 8


def test_ranking_in_autocast_takes_no_gradient_from_the_layer_that_it_looks_at(model, monkeypatch):
    """torch 2.9 would keep the cast of a weight that ranking made without gradients, for the layer, too."""
    kept = []
    rank = PyramidDrop.rank
    monkeypatch.setattr(
        PyramidDrop, "rank", lambda *args: (kept.append(torch.is_autocast_cache_enabled()), rank(*args))[1]
    )
    with torch.autocast("cpu", torch.bfloat16):
        forward(model, PyramidDrop(), ROWS[:2])  # and backward
        assert torch.is_autocast_cache_enabled()
    assert kept == [False] * 3
    for layer in model.model.layers:
        assert layer.self_attn.q_proj.weight.grad.abs().sum() > 0
        assert layer.self_attn.k_proj.weight.grad.abs().sum() > 0
    model.zero_grad()
