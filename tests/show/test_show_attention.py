"""Shares of attention from hooks equal those of the model's own eager attention, and leave no trace."""

import contract
import pytest
import torch

from pdrop_eval.engine.attention_recorder import AttentionShares, default_layers, query_columns
from pdrop_eval.utils.errors import UserError

FAMILIES = ("llava", "llava_gqa", "llava_mistral", "llava_next")


def asked_rows(image, mask, query):
    """The columns of a row that ask: image, mask [n] bool."""
    columns = torch.arange(len(image))
    after = columns > (columns[image].max() if image.any() else -1)
    return columns[-1:] if query == "last" else columns[after & mask]


@pytest.mark.parametrize("query", ["last", "text"])
@pytest.mark.parametrize("family", FAMILIES)
def test_shares_equal_those_of_eager_attention(family, query):
    case, eager = contract.case_of(family), contract.case_of(family, "eager")
    image, mask = case.inputs["input_ids"] == contract.IMAGE_ID, case.inputs["attention_mask"].bool()
    with AttentionShares(case.model, image, [0, 3, 7], query, mask) as recorded:
        case.forward()
    attentions = eager.forward(output_attentions=True).attentions
    for layer, shares in recorded.shares.items():
        for row, own in enumerate(shares):
            asked = asked_rows(image[row], mask[row], query)
            expected = attentions[layer][row].mean(0)[asked].mean(0)
            torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)
            assert own.sum() == pytest.approx(1, abs=1e-5)
    assert sorted(recorded.shares) == [0, 3, 7]


def test_many_query_rows_are_taken_in_parts(monkeypatch):
    case = contract.case_of("llava")
    image = case.inputs["input_ids"] == contract.IMAGE_ID
    arguments = case.model, image, [2], "text", case.inputs["attention_mask"].bool()
    found = []
    for rows in (3, 64):
        monkeypatch.setattr("pdrop_eval.engine.attention_recorder._ROWS", rows)
        with AttentionShares(*arguments) as recorded:
            case.forward()
        found.append(recorded.shares[2])
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


def test_no_tensor_of_all_queries_and_all_keys_is_made(monkeypatch):
    case = contract.case_of("llava")
    image = case.inputs["input_ids"] == contract.IMAGE_ID
    from pdrop_eval.engine import attention_recorder

    seen, scores = [], attention_recorder.query_scores
    monkeypatch.setattr(
        attention_recorder,
        "query_scores",
        lambda query, *a, **k: (seen.append(query.shape), scores(query, *a, **k))[1],
    )
    with AttentionShares(case.model, image, [1], "last", case.inputs["attention_mask"].bool()):
        case.forward()
    assert [shape[2] for shape in seen] == [1]
    assert case.model.config.get_text_config()._attn_implementation == "sdpa"


def test_the_model_computes_the_same_bits_with_and_without():
    case = contract.case_of("llava_next")
    image = case.inputs["input_ids"] == contract.IMAGE_ID
    plain, answer = case.forward().logits, case.generate()
    with AttentionShares(case.model, image, range(8), "text", case.inputs["attention_mask"].bool()):
        assert torch.equal(case.forward().logits, plain)
    with AttentionShares(
        case.model, image, range(8), "last", case.inputs["attention_mask"].bool()
    ) as recorded:
        assert torch.equal(case.generate(), answer)
    assert sorted(recorded.shares) == list(range(8))


def test_hooks_are_on_the_layers_and_gone_afterwards_whatever_happens():
    case = contract.case_of("llava")
    image = case.inputs["input_ids"] == contract.IMAGE_ID
    layers = case.model.get_decoder().layers
    recorded = AttentionShares(case.model, image, [1, 4])
    with recorded:
        assert [len(layer._forward_pre_hooks) for layer in layers] == [0, 1, 0, 0, 1, 0, 0, 0]
    assert not any(layer._forward_pre_hooks for layer in layers)
    with pytest.raises(UserError, match="stop"), recorded:
        raise UserError("stop")
    assert not any(layer._forward_pre_hooks for layer in layers)


def test_only_the_prefill_is_recorded_and_repeated_rows_count_once():
    case = contract.case_of("llava")
    mask = case.inputs["attention_mask"].bool()
    image = case.inputs["input_ids"] == contract.IMAGE_ID
    with AttentionShares(case.model, image, [5], "last", mask) as once:
        case.forward()
    with AttentionShares(case.model, image, [5], "last", mask) as beams:
        case.generate(num_beams=3)
    torch.testing.assert_close(once.shares[5], beams.shares[5], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", [8, -1])
def test_a_layer_that_the_model_lacks_is_refused(layer):
    with pytest.raises(UserError, match=rf"no layer {layer}: its 8 layers are 0 to 7"):
        AttentionShares(contract.model_of("llava"), torch.ones(1, 3, dtype=torch.bool), [layer])


def test_an_unknown_query_is_refused():
    with pytest.raises(UserError, match="Unknown query: 'first'"):
        AttentionShares(contract.model_of("llava"), torch.ones(1, 3, dtype=torch.bool), [0], "first")


def test_the_text_is_what_stands_behind_the_last_image_token():
    image = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]], dtype=torch.bool)
    columns, real = query_columns(image, valid, "text")
    assert [row[own].tolist() for row, own in zip(columns, real, strict=True)] == [[3, 4, 5], [5], [4, 5]]


def test_the_default_layers_are_those_of_the_paper_with_the_first_and_the_last():
    assert default_layers(32) == [0, 2, 8, 16, 24, 31]
    assert default_layers(8) == [0, 1, 2, 4, 6, 7]
    assert default_layers(1) == [0]
