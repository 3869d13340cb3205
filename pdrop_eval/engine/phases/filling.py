"""What a prefill leaves in the report: each drop, and what every layer processed and cached."""

from collections.abc import Sequence

from torch import Tensor

from pdrop_eval.engine.before_decoder.reduce import Shortened
from pdrop_eval.engine.interface import Selection
from pdrop_eval.engine.report import DropRecord, Report, report_rows
from pdrop_eval.engine.stages.stage import Stage


def drop_record(
    selection: Selection, before: Stage, ids: Tensor, order: Tensor, chosen: Tensor, made: Sequence[int]
) -> DropRecord:
    """Return what the report says of a drop.

    Args:
        selection: what the strategy chose.
        before: the stage that drops; b rows, n columns.
        ids: [b, N] the image token that a column of the full sequence is.
        order: [b, N] its number among those that enter the decoder.
        chosen: [b, n] bool, the image tokens retained.
        made: per row, the tokens that were made.
    """
    return DropRecord(
        before.known(ids, -1), before.known(order, -1), before.image, chosen, selection.scores, made
    )


def fill_report(
    report: Report, stages: Sequence[Stage], layers: Sequence[int], num_layers: int, columns: int,
    prompt: Shortened | None, cut: int | None,
) -> None:  # fmt: skip
    """Say what each layer processed and cached.

    Args:
        report: to be filled.
        stages: before the first drop and after each.
        layers: before which the drops are.
        num_layers: the model's depth.
        columns: of the sequence before any drop.
        prompt: the shortened prompt, if images were reduced before the decoder.
        cut: from this layer on, caches hold the last stage's tokens; None: those that their layer processed.
    """
    first, last = stages[0], stages[-1]
    per_layer = [stages[sum(at <= i for at in layers)] for i in range(num_layers)]
    cached = per_layer if cut is None else [*per_layer[:cut], *[last] * len(per_layer[cut:])]
    report.columns, report.image_mask, report.image_tokens = columns, first.image, first.images
    report.image_tokens_per_layer = [stage.images for stage in per_layer]
    report.kv_lengths = [stage.lengths for stage in cached]
    if last.changed:
        report.index, report.attention_mask = last.sources, last.valid
    if prompt is not None:  # in the columns and image tokens of the prompt as it was given
        report.columns, report.image_mask = prompt.full_ids.shape[1], prompt.full_image
        report.image_tokens = prompt.image_tokens
        report.sources = report_rows(prompt.source, first.image)
        report.index, report.attention_mask = last.known(prompt.index, -1), last.valid


def only_last(report: Report, stage: Stage, columns: int) -> None:
    """Say that the output has the last columns alone: those before it were known, and no layer made them.

    Args:
        report: filled already.
        stage: the last one, of n columns.
        columns: how many of them the output has.
    """
    index = stage.sources if report.index is None else report.index
    valid = stage.valid if report.attention_mask is None else report.attention_mask
    report.index, report.attention_mask = index[:, -columns:], valid[:, -columns:]
