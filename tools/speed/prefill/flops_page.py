"""The page of `make flops`: FLOPs by the papers' formulas, of the whole model, counted. Needs no torch."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdrop_eval.efficiency.flops import NAMES
from pdrop_eval.efficiency.model_flops import ModelFlops
from pdrop_eval.report.formats.markdown import escaped, pipes

_COUNTED = ("prefill", "ttft")
_PARTS = ("vision", "projector", "decoder", "ranking", "head")


@dataclass(frozen=True)
class FlopsRow:
    """A model under a strategy: multiply-adds, by each way to count.

    Attributes:
        layers: Image tokens of each, of `image_tokens` before any drop;
        text_tokens: The prompt's.
        steps: Decode steps in the theory's total.
        pdrop, fastv: By their formulas, image tokens only.
        counted: `CountedFlops`.
    """

    model: str
    strategy: str
    image_tokens: int
    text_tokens: int
    steps: int
    layers: tuple[int, ...]
    pdrop: int
    fastv: int
    theory: ModelFlops
    counted: Any


def flops_csv(rows: Sequence[FlopsRow]) -> str:
    """A line a row, in multiply-adds; `_ratio` is the share of vanilla's, `_off` theory against counted."""
    lines = [_line(row, base) for row, base in zip(rows, _references(rows), strict=True)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def flops_page(rows: Sequence[FlopsRow]) -> str:
    """The page in Markdown: all ways side by side, the parts of the whole, and how each is counted."""
    most = max(abs(_off(row, part)) for row in rows for part in _COUNTED)
    agree = f"The formulas are off by {most:.4%} of prefill or TTFT at most."
    if not most:
        agree = "Formula and count agree to the last multiply-add, in every line."
    parts = [
        "# FLOPs three ways, side by side",
        "`make flops` writes this page. Multiply-adds (G: 10^9, T: 10^12), and in brackets the share of "
        f"vanilla's. One image, {rows[0].text_tokens} text tokens.",
        side_by_side(rows),
        f"- Eq. 4: {escaped(NAMES['pdrop'])}, image tokens only, decoder layers only.\n"
        f"- FastV's: {escaped(NAMES['fastv'])}, image tokens only, decoder layers only. These models have a "
        "feed-forward with a gate, which costs 3ndm.\n"
        "- Prefill: Eq. 4 on image and text tokens, the rankings, and the output head on the last position. "
        "TTFT, up to the first token, adds vision tower and projector. Each is given by formula and as torch "
        "counts it in a real forward pass; `off` is the difference of the two.\n"
        f"- Answer: TTFT and {rows[0].steps} decode steps, by formula.\n"
        f"- {agree}",
        "## Part by part",
        "As counted; in brackets by formula, where that differs.",
        part_by_part(rows),
        "## How it is counted",
        f"- By formula: {escaped(rows[0].theory.convention)}.\n"
        f"- Counted: {escaped(rows[0].counted.convention)}.\n"
        "- The miniatures have their own weights, in float32. The 7B models have the published sizes, random "
        "weights in bfloat16, and decoder layers that share one layer's weights: all of them are computed, "
        "and the count depends on shapes only.\n"
        "- LLaVA-NeXT has 4 tiles and the overview here, without the newline tokens that a real prompt has "
        "(48 more for a square image of the 7B): the papers count so.",
    ]
    return "\n\n".join(parts) + "\n"


def side_by_side(rows: Sequence[FlopsRow]) -> str:
    """Every way to count, in a line for each model and strategy."""
    heads = ["Model", "Strategy", "Tokens a layer", "Eq. 4", "FastV's", "Prefill", "counted", "off", "TTFT"]
    lines = []
    for row, base in zip(rows, _references(rows), strict=True):
        cells = [f"{sum(row.layers) / len(row.layers):,.1f}"]
        cells += [_share(row.pdrop, base.pdrop), _share(row.fastv, base.fastv)]
        for part in _COUNTED:
            cells.append(_share(getattr(row.theory, part), getattr(base.theory, part)))
            cells.append(_share(getattr(row.counted, part), getattr(base.counted, part)))
            cells.append(_percent(_off(row, part)))
        lines.append([*_names(row, base), *cells, _share(row.theory.total, base.theory.total)])
    return _table([*heads, "counted", "off", "Answer"], lines)


def part_by_part(rows: Sequence[FlopsRow]) -> str:
    """The parts of the counted forward; in brackets what the formula says, where it differs."""
    lines = []
    for row, base in zip(rows, _references(rows), strict=True):
        cells = []
        for part in _PARTS:
            found, theory = getattr(row.counted, part), getattr(row.theory, part)
            cells.append(_amount(found) + ("" if found == theory else f" ({_amount(theory)})"))
        ranking = f"{row.counted.ranking / base.counted.prefill:.2%}"
        lines.append([*_names(row, base), *cells, ranking, _amount(row.counted.other)])
    heads = ["Model", "Strategy", "Vision", "Projector", "Decoder", "Rankings", "Head"]
    return _table([*heads, "Rankings, of vanilla's prefill", "Anything else"], lines)


def _line(row: FlopsRow, base: FlopsRow) -> dict[str, Any]:
    line: dict[str, Any] = {"model": row.model, "strategy": row.strategy, "image_tokens": row.image_tokens}
    line["text_tokens"] = row.text_tokens
    line["image_tokens_per_layer"] = " ".join(map(str, row.layers))
    for name in ("pdrop", "fastv"):
        line[f"{name}_formula"] = getattr(row, name)
        line[f"{name}_formula_ratio"] = round(getattr(row, name) / getattr(base, name), 6)
    for part in (*_PARTS, *_COUNTED):
        line[f"{part}_theory"], line[f"{part}_counted"] = (
            getattr(row.theory, part),
            getattr(row.counted, part),
        )
    line["other_counted"] = row.counted.other
    for part in _COUNTED:
        line[f"{part}_counted_ratio"] = round(getattr(row.counted, part) / getattr(base.counted, part), 6)
        line[f"{part}_off"] = round(_off(row, part), 9)
    line["decode_steps"], line["decode_theory"] = row.steps, row.theory.decode
    line["total_theory"] = row.theory.total
    line["total_theory_ratio"] = round(row.theory.total / base.theory.total, 6)
    return line


def _references(rows: Sequence[FlopsRow]) -> list[FlopsRow]:
    """For each row the first one of its model, which is vanilla's."""
    first = {row.model: row for row in reversed(rows)}
    return [first[row.model] for row in rows]


def _off(row: FlopsRow, part: str) -> float:
    found = getattr(row.counted, part)
    return float((getattr(row.theory, part) - found) / found)


def _names(row: FlopsRow, base: FlopsRow) -> list[str]:
    return [f"{row.model}, {row.image_tokens:,} image tokens" if row is base else "", row.strategy]


def _percent(share: float) -> str:
    return f"{share:.4%}" if share else "0"


def _amount(multiply_adds: int) -> str:
    if multiply_adds >= 10**11:
        return f"{multiply_adds / 1e12:.3g} T"
    return f"{multiply_adds / 1e9:.3g} G" if multiply_adds else "0"


def _share(own: int, vanilla: int) -> str:
    return f"{_amount(own)} ({own / vanilla:.3f})"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    return pipes(heads, lines, set(range(2, len(heads))))
