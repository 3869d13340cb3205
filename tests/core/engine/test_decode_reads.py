"""A decode step never waits for the device: nothing of the engine's own reads a tensor's values."""

import sys

import pytest
import torch
import transformers
from contract import case_of
from packaging.version import Version

from pdrop_eval import FastV, PyramidDrop
from pdrop_eval.engine.phases.decode import Continuation
from pdrop_eval.models.kv_cache import cache_argument

READS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "cpu", "numpy", "nonzero")


@pytest.fixture
def reads(monkeypatch):
    """Of each forward on a filled cache, the reads of a tensor's values by a file of the package."""
    found = []
    for name in READS:
        original = getattr(torch.Tensor, name)

        def read(tensor, *args, original=original, name=name, **kwargs):
            file = sys._getframe(1).f_code.co_filename
            if found and "/pdrop_eval/" in file:
                found[-1].append((name, file.rpartition("/")[2]))
            return original(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, read)
    begin = Continuation.begin

    def begins(self, *args):
        found.append([])
        return begin(self, *args)

    monkeypatch.setattr(Continuation, "begin", begins)
    return found


@pytest.mark.parametrize("strategy", [PyramidDrop(), FastV()], ids=["pdrop", "fastv"])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_no_decode_step_of_generate_reads_anything(reads, strategy, settings):
    case = case_of("llava") if not settings else case_of("llava").alone(0)
    with case.under(strategy):
        case.generate(new=5, **settings)
    # Earlier versions of transformers hand the first step another cache than the prefill has filled.
    old = Version(transformers.__version__) < Version("5.20")
    assert reads == [[("__bool__", "decode.py")] if old else [], [], [], []]


def test_a_forward_of_ones_own_reads_its_mask_once(reads):
    case = case_of("llava")
    with case.under(PyramidDrop()):
        step(case, case.forward(use_cache=True).past_key_values, case.inputs["attention_mask"], 1)
    assert reads == [[("__bool__", "decode.py")]]


def step(case, cache, mask, new):
    """The logits of `new` more tokens on a cache, and the mask with their columns; row 1 is one shorter."""
    rows = len(mask)
    more = torch.ones(rows, new, dtype=mask.dtype)
    if new > 1:
        more[1, 0] = 0
    mask = torch.cat((mask, more), 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -new:]
    ids = torch.full((rows, new), 5)
    with torch.no_grad():
        found = case.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, **cache_argument(case.model, cache)
        )
    return found.logits, mask


def test_padding_in_a_second_turn_stays_padding_for_the_answer_to_it(reads):
    """The turn has two tokens, of row 1 one; what generate answers is what single forwards say."""
    case = case_of("llava")
    with case.under(PyramidDrop()):
        cache = case.forward(use_cache=True).past_key_values
        logits, mask = step(case, cache, case.inputs["attention_mask"], 2)
        expected = []
        for _ in range(3):
            ids = logits[:, -1:].argmax(-1)
            expected.append(ids)
            mask = torch.cat((mask, torch.ones_like(ids)), 1)
            positions = (mask.cumsum(1) - 1)[:, -1:]
            with torch.no_grad():
                logits = case.model(
                    input_ids=ids, attention_mask=mask, position_ids=positions,
                    **cache_argument(case.model, cache),
                ).logits  # fmt: skip
        cache = case.forward(use_cache=True).past_key_values
        reads.clear()
        ids = torch.cat((case.inputs["input_ids"], torch.full((len(mask), 2), 5)), 1)
        answer = case.model.generate(
            input_ids=ids, attention_mask=mask[:, :-3], max_new_tokens=3, min_new_tokens=3, do_sample=False,
            **cache_argument(case.model, cache),
        )[:, -3:]  # fmt: skip
    assert torch.equal(answer, torch.cat(expected, 1))
    assert reads == [[("__bool__", "decode.py")], [], []]
