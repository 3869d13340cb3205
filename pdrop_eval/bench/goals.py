"""Is dropping as fast as its FLOPs promise? Measures at one size and says of each goal how far it is met.

python -m pdrop_eval.bench.goals [override ...]; overrides are those of pdrop-eval-bench, such as threads=1.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.bench.cli import bench
from pdrop_eval.bench.statistics import quartiles
from pdrop_eval.configs import compose_config
from pdrop_eval.errors import UserError
from pdrop_eval.files import write_atomically
from pdrop_eval.report.bench_text import about, batch_table, batch_title, batches, variant_name
from pdrop_eval.report.markdown import escaped, pipes

FILE = Path("results/efficiency/goals.json")
# 16 layers, 512 wide; 2,000 image tokens are five images of 20 x 20 patches. The vision tower is no part of
# the prefill, so it is small.
SETTINGS = (
    "model=llava_1_5_7b", "sizes.layers=16", "sizes.width=512", "sizes.intermediate=1376", "sizes.heads=8",
    "sizes.kv_heads=8", "sizes.tile=280", "sizes.patch=14", "sizes.vision_layers=2", "sizes.vision_width=128",
    "sizes.vision_heads=4", "sizes.vision_intermediate=256", "image_tokens=2000", "text_tokens=64",
    "batch_sizes=[1]", "strategies=[vanilla,fastv,pdrop,plain,keep_all]", "rounds=15", "again=true",
)  # fmt: skip
WITHIN, KEEP_ALL, RANKING = 0.03, 1.02, 0.01


@dataclass(frozen=True)
class Goal:
    """One goal. measured: median and quartiles over rounds; it is met where the median is at most `limit`.

    by_processor: the same by processor time, which a busy machine disturbs less; None where there is none.
    """

    name: str
    limit: float
    measured: list[float]
    by_processor: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is met."""
        return self.measured[1] <= self.limit

    @property
    def distance(self) -> float:
        """By what share of the limit the median is above it; negative below it."""
        return self.measured[1] / self.limit - 1


def find_goals(record: Mapping[str, Any]) -> list[Goal]:
    """The goals at the first batch size of a record that has vanilla, plain, keep_all, fastv and pdrop."""
    (batch, *_) = batches(record)
    variants = {one["label"]: one for one in batch["variants"]}
    flops = {one["label"]: one["flops"]["decoder"] for one in record["strategies"] if "flops" in one}
    goals = []
    for label in ("fastv", "pdrop"):
        share = flops[label] / flops["vanilla"]
        name = (
            f"{variant_name(label)}: prefill time over vanilla's, at most {WITHIN:.0%} above the FLOPs' "
            f"{share:.3f}"
        )
        goals.append(_ratio(name, share * (1 + WITHIN), variants[label], variants["vanilla"], "prefill"))
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
    rows = [
        [
            escaped(goal.name),
            _number(goal.limit),
            "{1} [{0}, {2}]".format(*map(_number, goal.measured)),
            "" if goal.by_processor is None else _number(goal.by_processor),
            "met" if goal.met else "missed",
            f"{goal.distance:+.1%}",
        ]
        for goal in goals
    ]
    heads, table = batch_table(record, batch)
    code, packages = record["code"], record["packages"]
    commit = f" at {code['commit'][:10]}" if code.get("commit") else ""
    changed = " with changes" if code.get("dirty") else ""
    return (
        "\n\n".join(
            [
                "# Goals: as fast as the FLOPs promise",
                "Made by `make goals`. Ratios are of times of the same round, all variants in turn; medians "
                "with quartiles. A goal is met where the median is at most the limit.",
                "\n".join(f"- {escaped(line)}" for line in about(record))
                + f"\n- torch {packages['torch']}, transformers {packages['transformers']}; code "
                f"{code['version']}{commit}{changed}.",
                pipes(
                    ["Goal", "Limit", "Measured", "By processor time", "", "To the limit"], rows, {1, 2, 3, 5}
                ),
                f"## {escaped(batch_title(batch))}",
                pipes(
                    heads,
                    [[escaped(text.strip()) for text in row] for row in table],
                    set(range(1, len(heads))),
                ),
                "The FLOPs ratios are PyramidDrop's Eq. 4 in the decoder layers, on image and text tokens; "
                "the bounds in the table count ranking, head and, for the first token, vision tower as well. "
                "The ranking is timed in prefills of its own.",
            ]
        )
        + "\n"
    )


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def main() -> None:
    """Measure, print the goals and write both files."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    try:
        record = bench(compose_config([*SETTINGS, *sys.argv[1:]], "bench"))
        goals = find_goals(record)
        for goal in goals:
            measured = "{1} [{0}, {2}]".format(*map(_number, goal.measured))
            print(f"{'met   ' if goal.met else 'MISSED'}  {goal.name}: {measured} ({goal.distance:+.1%})")
        found = {
            "schema": 1,
            "goals": [{**asdict(goal), "met": goal.met, "distance": goal.distance} for goal in goals],
            "record": {key: value for key, value in record.items() if key not in ("folder", "identity")},
        }
        write_atomically(FILE, json.dumps(found, indent=1) + "\n")
        write_atomically(FILE.with_suffix(".md"), goals_page(record, goals))
        print(f"Written: {FILE} and {FILE.with_suffix('.md')}")
    except UserError as error:
        print(f"goals: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
