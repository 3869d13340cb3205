"""Is dropping as fast on every family as its FLOPs promise? At Qwen2.5-VL-7B's depth and heads.

python -m tools.speed.prefill.families [--rounds N] [family ...];
families as `pdrop_eval/models/families` names them.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pdrop_eval.models import families
from pdrop_eval.report.bench.text import made_with
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.run.bench.timing import Runner, Seconds, Stopwatch, total
from pdrop_eval.run.bench.work import header, prepare
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.terminal.log import log_rank_zero

FILE = Path("results/efficiency/families.json")
# Qwen2.5-VL-7B's depth and heads at a quarter of its widths; a small tower, which is no part of the prefill.
# One thread, as in goals.py.
SIZES = (
    "sizes.layers=28", "sizes.width=896", "sizes.intermediate=4736", "sizes.heads=28", "sizes.kv_heads=4",
    "sizes.vocabulary=4000", "sizes.vision_layers=4", "sizes.vision_width=64", "sizes.vision_heads=4",
    "text_tokens=64", "batch_sizes=[1]", "threads=1", "new_tokens=1",
    "strategies=[plain,vanilla,keep_all,fastv,pdrop]", "results=results/bench/families",
)  # fmt: skip
# About 800 image tokens: two pictures of 480x640 pixels in Qwen2.5-VL. Where an image is cut into tiles,
# these are smaller than the published ones.
FAMILIES = {
    "qwen2_5_vl": ("architecture=qwen2_5_vl_7b", "image_tokens=782"),
    "qwen2_vl": ("architecture=qwen2_vl_7b", "image_tokens=782"),
    "qwen3_vl": ("architecture=qwen3_vl_8b", "image_tokens=900"),
    "llava_onevision": ("architecture=llava_onevision_7b", "sizes.tile=126"),
    "internvl": ("architecture=internvl3_8b", "sizes.tile=224"),
    "smolvlm": ("architecture=smolvlm2_500m",),
    "llava_next": ("architecture=llava_next_7b", "sizes.tile=168"),
}
ADDED, WITHIN = 1.02, 0.05


@dataclass(frozen=True)
class Row:
    """One ratio of two prefills of the same round, by processor time.

    Attributes:
        family: the family's name.
        what: which ratio.
        limit: it is met where the median is at most this.
        measured: median and quartiles over the rounds.
        wall: the median by the clock on the wall.
        flops: the FLOPs ratio that the limit follows from; None where it is none.
        causal: the same with the half of attention that a causal kernel computes.
    """

    family: str
    what: str
    limit: float
    measured: list[float]
    wall: float
    flops: float | None = None
    causal: float | None = None

    @property
    def met(self) -> bool:
        """Whether the median is at most the limit."""
        return self.measured[1] <= self.limit


def measure(names: Sequence[str], rounds: int, more: Sequence[str] = ()) -> dict[str, Any]:
    """Time the families one after another, and return the record.

    Args:
        names: of `FAMILIES`.
        rounds: measured ones; one before them isn't.
        more: overrides as of pdrop-eval-bench, after the family's own.
    """
    rows: list[Row] = []
    about: dict[str, Any] = {}
    for name in names:
        plan = make_plan(compose_bench([*SIZES, *FAMILIES[name], *more]))
        work = prepare(plan)
        torch.set_num_threads(plan.config.threads or torch.get_num_threads())
        built = models.build(plan, work.config)
        batch = models.make_batch(work.config, work.sample, 1, plan.dtype, "cpu", plan.config.seed)
        runners = {label: Runner(built, one, batch, 1, "cpu") for label, one in work.strategies.items()}
        log_rank_zero(f"{name}: {rounds + 1} rounds")
        times = _rounds(runners, rounds)
        head = header(work, {})
        about[name] = {"image_tokens": work.sample.image_tokens, "model": head["model"]}
        rows += _rows(name, times, {one["label"]: one for one in head["strategies"]})
        del built, runners
    return {
        "schema": 1, "rows": [asdict(row) for row in rows], "families": about, "rounds": rounds,
        "threads": torch.get_num_threads(), "code": provenance.code_identity(),
        "packages": provenance.package_versions(), "hardware": provenance.hardware(),
    }  # fmt: skip


def _rounds(runners: Mapping[str, Runner], rounds: int) -> list[dict[str, Seconds]]:
    """Each variant's prefill in turn; every round begins with another one, and the first isn't kept."""
    labels, found = list(runners), []
    for number in range(rounds + 1):
        turn = labels[number % len(labels) :] + labels[: number % len(labels)]
        found.append({label: _prefill(runners[label]) for label in turn})
    return found[1:]


def _prefill(runner: Runner) -> Seconds:
    """From pixels to the first token, less what the tower takes: so DeepStack's features are added, too."""
    tower = families.multimodal_of(runner.model.config).vision_tower(runner.model)
    began: list[Stopwatch] = []
    inside: list[Seconds] = []
    hooks = [
        tower.register_forward_pre_hook(lambda *_: began.append(Stopwatch(runner.device))),
        tower.register_forward_hook(lambda *_: inside.append(began[-1].lap())),
    ]
    try:
        with torch.no_grad(), runner._context():
            watch = Stopwatch(runner.device)
            runner._first_token()
            whole = watch.lap()
    finally:
        for hook in hooks:
            hook.remove()
    seen = total(inside)
    return Seconds(whole.wall - seen.wall, whole.cpu - seen.cpu)


def _rows(name: str, times: Sequence[Mapping[str, Seconds]], strategies: Mapping[str, Any]) -> list[Row]:
    """The three goals of a family."""

    def ratio(own: str, other: str) -> tuple[list[float], float]:
        by_cpu = [one[own].cpu / one[other].cpu for one in times]
        return quartiles(by_cpu), quartiles([one[own].wall / one[other].wall for one in times])[1]

    rows = [Row(name, "engine, nothing dropped, over plain transformers", ADDED, *ratio("keep_all", "plain"))]
    flops = {label: one["flops"] for label, one in strategies.items() if one["strategy"] is not None}
    for label, said in (("fastv", "FastV over vanilla"), ("pdrop", "PyramidDrop over vanilla")):
        share, causal = (flops[label][key] / flops["vanilla"][key] for key in ("decoder", "decoder_causal"))
        rows.append(Row(name, said, share * (1 + WITHIN), *ratio(label, "vanilla"), share, causal))
    return rows


def page(record: Mapping[str, Any]) -> str:
    """The page."""
    rows = [Row(**row) for row in record["rows"]]
    missed = [f"{_display(row.family)}: {row.what}" for row in rows if not row.met]
    verdict = "All goals are met." if not missed else "Missed: " + "; ".join(missed) + "."
    heads = ["Family", "Image tokens", "Prefill of", "FLOPs ratio", "causal", "Limit", "Measured", "Wall", ""]
    return (
        "\n\n".join(
            [
                "# Speed on every family",
                "Made by `make families-speed`: prefills over one another, of the same round; the median of "
                f"{record['rounds']} rounds with quartiles, by processor time. {verdict}",
                "- Qwen2.5-VL-7B's 28 layers, 28 heads and 4 of keys and values, at a quarter of its widths "
                "(896, 4,736); random weights, float32, "
                f"{record['threads']} CPU thread(s), SDPA. 64 text tokens beside the image's.\n"
                f"- {made_with(record)}",
                pipes(heads, [_cells(row, record) for row in rows], {1, 3, 4, 5, 6, 7}),
                f"The engine may add {ADDED - 1:.0%}: PyramidDrop that retains all tokens, over transformers "
                f"without pdrop-eval. FastV and PyramidDrop, with their defaults, may be {WITHIN:.0%} above "
                "their FLOPs ratio in the decoder layers (PyramidDrop's Eq. 4, on image and text tokens). It "
                "counts the attention of every token to every other one; a causal kernel computes half of "
                'that, and dropping saves less of it: "causal" is the ratio of what is computed. A prefill '
                "is the time from pixels to the first token without the tower's, so that what Qwen3-VL adds "
                "in its first layers (DeepStack) is part of it.",
            ]
        )
        + "\n"
    )


def _display(name: str) -> str:
    return families.multimodal(name).display_name


def _cells(row: Row, record: Mapping[str, Any]) -> list[str]:
    low, middle, high = (f"{share:.3f}" for share in row.measured)
    flops, causal = ("" if one is None else f"{one:.3f}" for one in (row.flops, row.causal))
    return [
        escaped(_display(row.family)), str(record["families"][row.family]["image_tokens"]), escaped(row.what),
        flops, causal, f"{row.limit:.3f}", f"{middle} [{low}, {high}]", f"{row.wall:.3f}",
        "met" if row.met else "missed",
    ]  # fmt: skip


def main() -> None:
    """Measure, print what is missed, and write both files."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    parser = argparse.ArgumentParser(prog="families", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=FILE, help="the JSON file; the page is beside it")
    parser.add_argument(
        "names", nargs="*", metavar="family", help=f"of {', '.join(FAMILIES)}; all by default"
    )
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(FAMILIES):
        parser.error(f"unknown family: {', '.join(sorted(unknown))}; known are {', '.join(FAMILIES)}")
    if asked.rounds < 1:
        parser.error("--rounds must be at least 1")
    with ending("families"):
        record = measure(asked.names or list(FAMILIES), asked.rounds)
        for row in (Row(**found) for found in record["rows"]):
            state = "met   " if row.met else "MISSED"
            print(f"{state}  {row.family}: {row.what}: {row.measured[1]:.3f}, limit {row.limit:.3f}")
        write_atomically(asked.out, json.dumps(record, indent=1) + "\n")
        write_atomically(asked.out.with_suffix(".md"), page(record))
        print(f"Written: {asked.out} and {asked.out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
