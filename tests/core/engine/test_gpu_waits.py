"""On a GPU: no operator gets tensors of two devices, and the host waits once in a prefill. Without a GPU."""

import copy

import pytest
import torch
from contract import BEFORE, BOTH, LEADS, ROWS, STRATEGIES, FasterVLM, Uniform, build, model_of, strategy_id
from pretended_gpu import OnGpu, PretendedGpu, place

from pdrop_eval import FastV, PyramidDrop, Vanilla, VisionZip
from pdrop_eval.engine.stages.counts import RetainedCounts
from pdrop_eval.engine.stages.ops import on_device
from pdrop_eval.models import transfer

FEW = [*LEADS[:3], VisionZip(dominant=5, contextual=3)]
NEXT = [PyramidDrop(ratio=0.5, stages=4)]


@pytest.fixture(scope="module")
def placed():
    """Models on the pretended GPU, by family."""
    made = {}

    def of(family):
        if family not in made:
            made[family] = place(copy.deepcopy(model_of(family)))
        return made[family]

    return of


def on_gpu(case, model):
    """A case on the pretended GPU, and what it is noted by."""

    def move(values):
        return {k: v.to("cuda") if isinstance(v, torch.Tensor) else v for k, v in values.items()}

    gpu = PretendedGpu()
    with gpu:
        moved = case.with_inputs(**move(case.inputs))
        moved.model, moved.options = model, move(case.options)
    gpu.forget()
    return moved, gpu


def check(family, strategy, placed):
    case = build(model_of(family), list(ROWS))
    with case.under(strategy):
        wanted = case.forward().logits, case.generate(new=3)
    moved, gpu = on_gpu(case, placed(family))
    with gpu, moved.under(strategy):
        found = moved.forward().logits, moved.generate(new=3)
    assert gpu.mixed == []
    for here, there in zip(wanted, found, strict=True):
        assert isinstance(there, OnGpu)
        torch.testing.assert_close(there.as_subclass(torch.Tensor), here, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strategy", FEW, ids=strategy_id)
def test_prefill_and_decode_mix_no_devices(strategy, placed):
    check("llava", strategy, placed)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava_next", "qwen2_5_vl"])
def test_nor_do_families_with_tiles_and_other_positions(family, placed):
    check(family, NEXT[0], placed)


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.parametrize("strategy", [*STRATEGIES, *BEFORE, *BOTH], ids=strategy_id)
def test_no_strategy_mixes_devices(strategy, placed):
    check("llava_gqa", strategy, placed)


@pytest.mark.parametrize(
    ("strategy", "uploads"), [(Vanilla(), 0), (FastV(k=2, r=0.5), 1), (PyramidDrop(stages=4), 1)], ids=str
)
def test_a_prefill_reads_lengths_once_and_uploads_all_counts_at_once(strategy, uploads, placed):
    """The rows have 25, 50, 0 and 25 image tokens, so that counts differ."""
    moved, gpu = on_gpu(build(model_of("llava"), list(ROWS)), placed("llava"))
    with gpu, moved.under(strategy):
        moved.forward()
    waits = [(note.what, note.function) for note in gpu.ours(gpu.waits) if "/engine/" in note.file]
    assert waits == [("tolist", "begin")]
    assert [note.function for note in gpu.ours(gpu.uploads)] == ["on_device"] * uploads


@pytest.mark.parametrize(
    ("strategy", "each"),
    [(Uniform(tokens=7), 0), (FasterVLM(visual_token_num=6), 1), (VisionZip(dominant=5, contextual=3), 2)],
    ids=["uniform", "fastervlm", "visionzip"],
)
def test_before_the_decoder_the_host_waits_for_what_the_image_decides_alone(
    strategy, each, placed, monkeypatch
):
    """Four images, of which it is read which patches were chosen, and which others there are to merge.

    Of the batch: where text and images are, one check of their number, lengths, and two for the report.
    """
    monkeypatch.setattr(transfer, "copies_by_itself", lambda device: device.type == "cuda")
    moved, gpu = on_gpu(build(model_of("llava"), list(ROWS)), placed("llava"))
    with gpu, moved.under(strategy):
        moved.forward()
    assert len(gpu.ours(gpu.waits)) == 5 + 4 * each


def test_counts_that_were_not_said_ahead_are_uploaded_when_they_are_known():
    class Halves:
        def retained(self, num_layers, image_tokens):
            return image_tokens // 2, image_tokens // 4

    gpu = PretendedGpu()
    with gpu:
        device = torch.zeros(1).to("cuda").device
        gpu.forget()
        # the second row may lose nothing
        counts = RetainedCounts(Halves(), 8, [8, 6], [True, False])
        for asked in ([4, 6], [2, 6], [3, 6]):
            assert counts.on(device, asked).as_subclass(torch.Tensor).tolist() == asked
        unknown = RetainedCounts(object(), 8, [8], [True])
        assert unknown.on(device, [5]).as_subclass(torch.Tensor).tolist() == [5]
    assert len(gpu.uploads) == 3  # both that were said together, and two that weren't
    assert gpu.waits == []


def test_what_is_noted():
    gpu = PretendedGpu()
    here = torch.arange(3)
    with gpu:
        there = here.to("cuda")
        on_device([1, 2], there.device)
        assert there.device.type == "cuda"
        there + 1  # numbers are of no device
        _ = there + here
        there.sum().item()
        there.cpu()
        torch.arange(3, device="cuda") + there
    assert [note.what for note in gpu.mixed] == ["add"]
    assert [note.what for note in gpu.waits] == ["upload by to", "item", "cpu"]
    assert [note.what for note in gpu.uploads] == ["upload by to"]
