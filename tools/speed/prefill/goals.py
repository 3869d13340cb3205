"""Is dropping as fast as its FLOPs promise? Measures at one size and says of each goal how far it is met.

python -m tools.speed.prefill.goals [override ...]; overrides as of pdrop-eval-bench, such as threads=1.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pdrop_eval.report.bench.cli import bench
from pdrop_eval.report.bench.text import about, batch_table, batch_title, batches, made_with, variant_name
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending

FILE = Path("results/efficiency/goals.json")
# 16 layers, 512 wide; 2,000 image tokens are five images of 20 x 20 patches. The vision tower is no part of
# the prefill, so it is small. 4,000 of vocabulary are the 7B's 32,000 in proportion to the width: with all of
# them the head would have a third of the weights of all layers, where the 7B's has a fiftieth.
# One thread: how a kernel shares short sequences out among cores is another question, which threads=2 asks.
SETTINGS = (
    "model=llava_1_5_7b", "sizes.layers=16", "sizes.width=512", "sizes.intermediate=1376", "sizes.heads=8",
    "sizes.kv_heads=8", "sizes.tile=280", "sizes.patch=14", "sizes.vision_layers=2", "sizes.vision_width=128",
    "sizes.vision_heads=4", "sizes.vision_intermediate=256", "sizes.vocabulary=4000", "image_tokens=2000",
    "text_tokens=64", "batch_sizes=[1]", "strategies=[vanilla,fastv,pdrop,plain,keep_all]", "rounds=9",
    "new_tokens=8", "threads=1", "results=results/bench/goals", "again=true",
)  # fmt: skip
_CAUSAL = (
    "A limit's FLOPs ratio counts the attention of every token to every other one (4nd^2 + 2n^2d + 3ndm a "
    "layer), as the paper does. A causal kernel, such as that of SDPA on the CPU, computes only the pairs "
    "of a token with the tokens before it (4nd^2 + n^2d + 3ndm). Dropping reduces attention most, so the "
    "ratio of the work that is actually done is higher: the lines marked `no goal` give it for the same "
    "schedule. It does not change the goals: a ratio above its limit is missed."
)
WITHIN, KEEP_ALL, RANKING = 0.03, 1.02, 0.01


@dataclass(frozen=True)
class Goal:
    """One goal. measured: median and quartiles over rounds; it is met where the median is at most `limit`.

    Attributes:
        by_processor: The same by processor time, which a busy machine disturbs less; None where there is
            none.
        causal: Of a prefill, the FLOPs ratio with half of the attention's pairs; no goal, but what explains
            it.
    """

    name: str
    limit: float
    measured: list[float]
    by_processor: float | None = None
    causal: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is met."""
        return self.measured[1] <= self.limit

    @property
    def distance(self) -> float:
        """By what share of the limit the median is above it; negative below it."""
        return self.measured[1] / self.limit - 1

    @property
    def above_causal(self) -> float | None:
        """By what share of the causal FLOPs ratio the median is above it."""
        return None if self.causal is None else self.measured[1] / self.causal - 1

    @property
    def note(self) -> str:
        """The line beneath a prefill's goal; empty for the others."""
        if self.causal is None or self.above_causal is None:
            return ""
        place = f"{abs(self.above_causal):.1%} {'above' if self.above_causal >= 0 else 'below'} it"
        return f"FLOPs ratio with the causal half of attention: {self.causal:.3f}; measured is {place}"


def find_goals(record: Mapping[str, Any]) -> list[Goal]:
    """The goals at the first batch size of a record. Raises UserError if a variant is missing there."""
    (batch, *_) = batches(record)
    variants = {one["label"]: one for one in batch["variants"]}
    lacking = [label for label in ("vanilla", "fastv", "pdrop", "plain", "keep_all") if label not in variants]
    if lacking:
        raise UserError(
            f"The goals need {', '.join(lacking)} too: {batch_title(batch)}. Name them in "
            "strategies=[...], at sizes that fit."
        )
    flops = {one["label"]: one["flops"] for one in record["strategies"] if "flops" in one}
    goals = []
    for label in ("fastv", "pdrop"):
        share, causal = (flops[label][key] / flops["vanilla"][key] for key in ("decoder", "decoder_causal"))
        name = (
            f"{variant_name(label)}: prefill time over vanilla's, at most {WITHIN:.0%} above the FLOPs' "
            f"{share:.3f}"
        )
        goal = _ratio(name, share * (1 + WITHIN), variants[label], variants["vanilla"], "prefill")
        goals.append(replace(goal, causal=causal))
    name = f"keep-all: prefill time over plain transformers', at most {KEEP_ALL - 1:.0%} more"
    goals.append(_ratio(name, KEEP_ALL, variants["keep_all"], variants["plain"], "prefill"))
    whole = variants["vanilla"]["prefill"]["seconds"][1]
    for label in ("fastv", "pdrop"):
        shares = quartiles([seconds / whole for seconds in variants[label]["ranking_seconds"]])
        name = f"{variant_name(label)}: ranking over vanilla's prefill, under {RANKING:.0%}"
        goals.append(Goal(name, RANKING, shares))
    for label in ("fastv", "pdrop"):
        name = f"{variant_name(label)}: decoding a token over vanilla's, never slower"
        goals.append(_ratio(name, 1.0, variants[label], variants["vanilla"], "decode"))
    return goals


def _ratio(name: str, limit: float, own: Any, other: Any, phase: str) -> Goal:
    """The ratio of two variants' times, round by round."""
    wall, cpu = (
        quartiles([a / b for a, b in zip(own[phase][key], other[phase][key], strict=True)])
        for key in ("all_seconds", "all_cpu_seconds")
    )
    return Goal(name, limit, wall, cpu[1])


def goals_page(record: Mapping[str, Any], goals: Sequence[Goal]) -> str:
    """The page."""
    (batch, *_) = batches(record)
    rows = [row for goal in goals for row in _rows(goal)]
    heads, table = batch_table(record, batch)
    return (
        "\n\n".join(
            [
                "# Goals: as fast as the FLOPs promise",
                "Made by `make goals`. Each ratio is of two times of the same round, in which all variants "
                f"ran in turn: the median with quartiles, on {record['settings']['threads']} CPU thread(s). "
                "A goal is met where the median is at most the limit.",
                "\n".join(f"- {escaped(line)}" for line in [*about(record), made_with(record)]),
                pipes(
                    ["Goal", "Limit", "Measured", "By processor time", "", "To the limit"], rows, {1, 2, 3, 5}
                ),
                _CAUSAL,
                f"## {escaped(batch_title(batch))}",
                pipes(
                    heads,
                    [[escaped(text.strip()) for text in row] for row in table],
                    set(range(1, len(heads))),
                ),
                "The FLOPs ratios are PyramidDrop's Eq. 4 in the decoder layers, on image and text tokens; "
                "the bounds in the table count ranking, head and, for the first token, vision tower as well. "
                "Ranking and dropping (selecting and gathering the retained tokens) are timed in separate "
                "prefills; brackets give their share of vanilla's prefill.",
            ]
        )
        + "\n"
    )


def _rows(goal: Goal) -> list[list[str]]:
    """A goal's row of the table, and beneath a prefill's the line with the causal FLOPs ratio."""
    own = [
        escaped(goal.name),
        _number(goal.limit),
        "{1} [{0}, {2}]".format(*map(_number, goal.measured)),
        "" if goal.by_processor is None else _number(goal.by_processor),
        "met" if goal.met else "missed",
        f"{goal.distance:+.1%}",
    ]
    return [own, [f"no goal: {escaped(goal.note)}", "", "", "", "", ""]] if goal.note else [own]


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def main() -> None:
    """Measure, print the goals and write both files."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    with ending("goals"):
        record = bench(compose_bench([*SETTINGS, *sys.argv[1:]]))
        goals = find_goals(record)
        for goal in goals:
            measured = "{1} [{0}, {2}]".format(*map(_number, goal.measured))
            print(f"{'met   ' if goal.met else 'MISSED'}  {goal.name}: {measured} ({goal.distance:+.1%})")
            if goal.note:
                print(f"        {goal.note}")
        found = {
            "schema": 1,
            "goals": [
                {
                    **asdict(goal),
                    "met": goal.met,
                    "distance": goal.distance,
                    "above_causal": goal.above_causal,
                }
                for goal in goals
            ],
            "record": {key: value for key, value in record.items() if key not in ("folder", "identity")},
        }
        write_atomically(FILE, json.dumps(found, indent=1) + "\n")
        write_atomically(FILE.with_suffix(".md"), goals_page(record, goals))
        print(f"Written: {FILE} and {FILE.with_suffix('.md')}")


if __name__ == "__main__":
    main()
