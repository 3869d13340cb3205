"""What a context yields reads as a summary."""

import torch

from pdrop_eval.engine.report import DropRecord, Report


def test_a_report_prints_as_a_summary_without_tensors():
    nothing = torch.zeros(2, 8, dtype=torch.long)
    report = Report(
        image_tokens=[8, 4],
        image_tokens_per_layer=[[8, 4], [4, 2], [4, 2]],
        kv_lengths=[[10, 7], [6, 5], [6, 5]],
        index=nothing,
        records=[DropRecord(nothing, nothing, nothing.bool(), nothing.bool(), None)],
    )
    assert str(report) == (
        "Report: 3 layers, 1 drop\n"
        "  row 0: image tokens 8 (layer 0), 4 (layers 1-2); KV lengths 10 (layer 0), 6 (layers 1-2)\n"
        "  row 1: image tokens 4 (layer 0), 2 (layers 1-2); KV lengths 7 (layer 0), 5 (layers 1-2)"
    )


def test_a_report_tells_what_went_before_the_decoder():
    report = Report(image_tokens=[9], image_tokens_per_layer=[[4], [4]], kv_lengths=[[6], [6]])
    assert str(report) == (
        "Report: 2 layers, 0 drops\n"
        "  row 0: image tokens 9 (before the decoder), 4 (layers 0-1); KV lengths 6 (layers 0-1)"
    )


def test_a_report_without_a_prefill_says_so():
    assert str(Report()) == "Report(no prefill yet)"
