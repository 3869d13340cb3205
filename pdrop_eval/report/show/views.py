"""From answered questions to specs: Figure 5 (retained patches) and Figure 1, right (attention)."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.models.pictures.token_grid import Grid
from pdrop_eval.records.token_mask import unpack
from pdrop_eval.report.figures.style import looks
from pdrop_eval.report.show.asking import Outcome, Question
from pdrop_eval.report.show.figure_spec import (
    FigureSpec,
    PanelGroup,
    Row,
    Scale,
    newlines,
    plain_panels,
    retained_panels,
    share_panels,
)
from pdrop_eval.report.show.lettering import MISSING, printable
from pdrop_eval.strategies.registry import display_name, info_of
from pdrop_eval.utils.errors import UserError

_LAYERS = "Layers are counted from 0."
_MOST = 600  # characters of a question or an answer that are looked at
_DARKEST = 1e-3  # of the largest share: the end of the scale


def retained_figure(
    question: Question, outcomes: Mapping[str, Outcome], labels: Mapping[str, str], model: str, depth: int
) -> FigureSpec:
    """Which image tokens remain: a row a strategy, a group a stage. labels: of the strategies, in words."""
    images = question.images()
    colours = looks(outcomes)
    rows = []
    for name, outcome in outcomes.items():
        grids = grids_of(question, outcome)
        total = outcome.measured.image_tokens or 0
        stages = [("input", [True] * total, 0)]
        for layer, mask in outcome.measured.retained:
            where = f"before layer {layer}" if layer < depth else "after the last layer"
            flags = unpack(mask, total)
            stages.append(
                (where if layer else "before the decoder", flags, _made(outcome, layer, sum(flags)))
            )
        groups = tuple(_stage(images, grids, *stage) for stage in stages)
        rows.append(Row(labels[name], groups, str(colours[name]["color"])))
    grids = grids_of(question, next(iter(outcomes.values())))
    merged = _of_merged(outcomes, labels)
    grey = "dropped, or merged" if merged else "dropped"
    notes = [
        f"{_where(question, model)}. Clear: image tokens that remain. Grey: {grey}. {_LAYERS}",
        *merged,
        *_of_grids(images, grids, "Striped"),
    ]
    answers = [
        (f"{labels[name]} answers" if len(outcomes) > 1 else "Answer", o) for name, o in outcomes.items()
    ]
    return _figure_spec(tuple(rows), question, answers, notes, None)


def attention_figure(
    question: Question, outcome: Outcome, shares: Mapping[int, np.ndarray], query: str, model: str
) -> FigureSpec:
    """What share of attention image tokens get. shares: [image tokens] of each layer, in order."""
    images, grids = question.images(), grids_of(question, outcome)
    apart = newlines(grids)
    placed = np.concatenate([values[~apart] for values in shares.values()])
    high = float(placed.max())
    low = max(float(np.quantile(placed, 0.02)), high * _DARKEST)
    asking = (
        "the last token of the prompt" if query == "last" else "the text behind the image, mean of its tokens"
    )
    words = f"share of attention from {asking}; softmax over the whole sequence, mean over heads"
    low = min(low, high / 2)
    scale = Scale(low, high, f"{words}; logarithmic, darkest: {low:.2%} or less")
    groups = [PanelGroup("picture", (f"{len(apart)} image tokens",), plain_panels(images, grids))]
    for layer, values in shares.items():
        lines = [f"{values.sum():.1%} on image tokens"]
        if apart.any():
            lines.append(f"including {values[apart].sum():.1%} on newlines")
        groups.append(PanelGroup(f"layer {layer}", tuple(lines), share_panels(images, grids, values, scale)))
    if apart.any():
        groups[0] = PanelGroup(
            "picture", (*groups[0].lines, f"{apart.sum()} of them newlines"), groups[0].panels
        )
    notes = [
        f"{_where(question, model)}. Nothing is dropped. {_LAYERS}",
        *_of_grids(images, grids, "Without a colour"),
    ]
    return _figure_spec((Row("", tuple(groups)),), question, [("Answer", outcome)], notes, scale)


def grids_of(question: Question, outcome: Outcome) -> list[Grid]:
    """Where the image tokens of a sample lie. Raises UserError where nobody knows."""
    grids = outcome.measured.image_grids
    if grids is None:
        raise UserError(
            f"Where the {outcome.measured.image_tokens} image tokens of {question.task.info.task} "
            f"{question.doc_id} lie on the picture isn't known for this checkpoint's processor: "
            "they are not those of its model family. Use another checkpoint."
        )
    return [Grid.from_list(values) for values in grids]


def label(strategy: str, overrides: Sequence[str]) -> str:
    """A strategy with its own settings: `PDrop ratio=0.4`."""
    own = [o.removeprefix("strategy.") for o in overrides if o.startswith(("strategy.", "budget."))]
    return printable(" ".join([display_name(strategy), *own]), _MOST)


def _made(outcome: Outcome, layer: int, retained: int) -> int:
    """How many tokens that enter a layer were made: those beyond the original ones."""
    per_layer = outcome.measured.image_tokens_per_layer
    return per_layer[layer] - retained if layer < len(per_layer) else 0


def _of_merged(outcomes: Mapping[str, Outcome], labels: Mapping[str, str]) -> list[str]:
    """What the tokens are that a strategy has made; a line for each that has made some."""
    lines = []
    for name, outcome in outcomes.items():
        measured = outcome.measured
        made = [
            _made(outcome, layer, sum(unpack(mask, measured.image_tokens or 0)))
            for layer, mask in measured.retained
        ]
        if any(made):
            words = info_of(name).merged
            lines.append(
                f"{labels[name]}: merged tokens lie nowhere on the picture{f'; {words}' if words else ''}."
            )
    return lines


def _stage(
    images: Sequence[Image.Image], grids: Sequence[Grid], where: str, flags: Sequence[bool], made: int
) -> PanelGroup:
    apart = newlines(grids)
    kept = np.asarray(flags)
    lines = [f"{kept.sum()} of {len(kept)} tokens"]
    if apart.any():
        lines.append(f"of them {(kept & apart).sum()} newlines")
    if made:  # they lie nowhere
        lines.append(f"and {made} merged ones")
    panels = plain_panels(images, grids) if kept.all() else retained_panels(images, grids, flags)
    return PanelGroup(where, tuple(lines), panels)


def _figure_spec(
    rows: tuple[Row, ...], question: Question, answers: Sequence[tuple[str, Outcome]], notes: Sequence[str],
    scale: Scale | None,
) -> FigureSpec:  # fmt: skip
    texts = [("Question", printable(question.prompt, _MOST)), ("Expected", printable(question.target, _MOST))]
    texts += [
        (head, printable(outcome.answer, _MOST) + _judgement(outcome.score)) for head, outcome in answers
    ]
    if any(MISSING in text for _, text in texts):
        notes = [*notes, f"{MISSING}: a letter that no font here has."]
    return FigureSpec(rows, tuple(texts), tuple(notes), scale)


def _judgement(score: float | None) -> str:
    if score is None:
        return ""
    words = {0.0: "wrong", 1.0: "right"}.get(score, f"scores {score:.2f} of 1")
    return f" ({words})"


def _where(question: Question, model: str) -> str:
    info = question.task.info
    name = info.name if info.installed else benchmark_of(info.benchmark).name
    return f"{name}, sample {question.doc_id}; model {printable(model)}"


def _of_grids(images: Sequence[Image.Image], grids: Sequence[Grid], bare: str) -> list[str]:
    """What has to be said of places without tokens, and of tokens without places. bare: the former's look."""
    notes = []
    if newlines(grids).any():
        notes.append("Newline tokens, one behind each row of the tiles, stand for no place.")
    covered = {image: [grid.box for grid in grids if grid.image == image] for image in range(len(images))}
    if any(
        min(b[0] for b in boxes) > 0 or min(b[1] for b in boxes) > 0
        or max(b[2] for b in boxes) < images[i].width or max(b[3] for b in boxes) < images[i].height
        for i, boxes in covered.items()
    ):  # fmt: skip
        notes.append(f"{bare}: no image token covers it, for the picture is cut.")
    return notes
