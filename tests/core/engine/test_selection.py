"""What a strategy may return beyond the best by score: explicit choices, counts per row, merged states."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from contract import IMAGE_ID, case_of

from pdrop_eval import UserError
from pdrop_eval.engine.interface import Drop, Selection
from pdrop_eval.strategies.base import Strategy


@dataclass
class Every(Strategy):
    """Keeps every `step`-th image token, by an explicit mask."""

    step: int = 3
    layer: int = 3
    name: ClassVar[str] = "every"

    def drops(self, num_layers):
        return (Drop(self.layer),)

    def select(self, view):
        place = view.image.cumsum(1) - 1
        return Selection(keep=view.image & (place % self.step == 0))


@dataclass
class Halving(Every):
    """Different counts per row, by the sample: half of what is alive, at least 20."""

    name: ClassVar[str] = "halving"

    def select(self, view):
        counts = [max(20, n // 2) for n in view.alive]
        return Selection(scores=view.hidden.norm(dim=-1), counts=counts)


@dataclass
class Merging(Every):
    """Adds the mean of the dropped image tokens to the first retained one."""

    name: ClassVar[str] = "merging"

    def select(self, view):
        place = view.image.cumsum(1) - 1
        keep = view.image & (place % self.step == 0)

        def merge(hidden):
            gone = (view.image & ~keep)[..., None]
            mean = (hidden * gone).sum(1, keepdim=True) / gone.sum(1, keepdim=True).clamp(min=1)
            first = (view.image & (place == 0))[..., None]
            return hidden + mean * first

        return Selection(keep=keep, hidden_update=merge)


@pytest.mark.parametrize("family", ["llava_gqa", "llava_next", "bare_llama"])
def test_an_explicit_choice(family):
    case = case_of(family)
    with case.under(Every()) as drop:
        case.forward()
        tokens = case.generate()
    assert [ids.tolist() for ids in drop.retained[0]] == [list(range(0, n, 3)) for n in case.image_tokens]
    assert drop.scores == [None]
    for row in range(4):
        alone = case.alone(row)
        with alone.under(Every()):
            assert torch.equal(alone.generate()[0], tokens[row])


def test_counts_of_the_sample():
    case = case_of("llava_gqa")
    with case.under(Halving()) as drop:
        case.forward()
    assert [len(ids) for ids in drop.retained[0]] == [20, 25, 0, 20]
    assert drop.kv_lengths[3] == [29, 34, 7, 42]


def test_merged_states_replace_those_that_enter_the_drop():
    case = case_of("llava_gqa")
    with case.under(Every()):
        plain = case.forward()
    with case.under(Merging()) as drop:
        layer, caught = case.model.get_decoder().layers[3], []
        handle = layer.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
        merged = case.forward()
        handle.remove()
    (entering,) = caught
    # Layer 3's input, by hand: every third image token, the first with the mean of the dropped ones added.
    with_all = case.forward(output_hidden_states=True).hidden_states[3]
    for row, n in enumerate(case.image_tokens):
        if not n:
            assert torch.allclose(plain.logits[row, -7:], merged.logits[row, -7:], atol=1e-4)
            continue
        columns = (case.inputs["input_ids"][row] == IMAGE_ID).nonzero()[:, 0]
        gone = columns[[i for i in range(n) if i % 3]]
        expected = with_all[row, columns[0]] + with_all[row, gone].mean(0)
        entered = (drop.index[row] == columns[0]) & drop.attention_mask[row]
        assert torch.allclose(entering[row, entered][0], expected, atol=1e-5)
        assert not torch.allclose(plain.logits[row, -1], merged.logits[row, -1], atol=1e-3)


def test_a_selection_must_choose():
    class Undecided(Every):
        def select(self, view):
            return Selection(scores=view.attention("softmax"))

    case = case_of("bare_llama")
    with pytest.raises(ValueError, match="keep, or scores and counts"), case.under(Undecided()):
        case.forward()


def test_a_drop_may_not_be_ranked_from_afar():
    class Early(Every):
        def drops(self, num_layers):
            return (Drop(4, scoring_layer=1),)

    with pytest.raises(UserError, match="layer 4 can't be ranked at layer 1"):
        case_of("bare_llama").under(Early())
