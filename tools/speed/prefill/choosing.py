"""What does choosing tokens cost? Times it for every strategy, over vanilla's prefill in the same run.

python -m tools.speed.prefill.choosing [override ...]; overrides as of pdrop-eval-bench, such as rounds=9.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pdrop_eval.efficiency.budget import solve
from pdrop_eval.efficiency.model_flops import KeepAll, model_flops
from pdrop_eval.efficiency.schedules import has_schedule
from pdrop_eval.models.families import published_config
from pdrop_eval.report.bench.text import made_with
from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.run.bench.timing import Runner
from pdrop_eval.run.bench.work import prepare
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.strategies.registry import VANILLA, installed
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.terminal.log import log_rank_zero

FILE = Path("results/efficiency/choosing.json")
# LLaVA-1.5-7B's depth, heads and tokens (576 of an image, 64 of text); all widths are an eighth of its own.
SETTINGS = (
    "model=llava_1_5_7b", "sizes.width=512", "sizes.intermediate=1376", "sizes.vision_width=128",
    "sizes.vision_intermediate=512", "sizes.vocabulary=4000", "text_tokens=64", "batch_sizes=[1]",
    "strategies=[vanilla]", "rounds=5", "warmup=1", "threads=1", "results=results/bench/choosing",
)  # fmt: skip
BUDGETS = (192, 64)  # mean image tokens a layer; each strategy that takes a budget is timed at both
# Those that decide by the image how many remain are timed at their papers' mean, too: 32 and 144 of 576.
MEANS = {"prumerge": {"reduction_ratio": 1 / 18}, "prumerge_plus": {"reduction_ratio": 1 / 8}}
LIMIT = 0.05
SQUARE = {  # whose method compares all pairs of tokens: no limit is set to them
    "divprune": "distances of all pairs",
    "cdpruner": "cosines of all pairs, and a text tower",
    "fitprune": "attention of all pairs, in every layer",
}
TEXT_TOWER = "a random CLIP text tower"


@dataclass(frozen=True)
class Row:
    """One strategy at one setting.

    Attributes:
        name: the strategy's.
        setting: the budget, or in words that its defaults are used and why.
        tokens: image tokens that each layer processes, in the mean.
        choosing: its time over vanilla's prefill: median and quartiles over rounds, by processor time.
        gathering: the median of what gathering the retained tokens takes, over the same.
        wall: the median of `choosing` by the clock on the wall.
        theory: multiply-adds of choosing over those of vanilla's prefill at the 7B's own sizes.
    """

    name: str
    setting: str
    tokens: float
    choosing: list[float]
    gathering: float
    wall: float
    theory: float | None

    @property
    def met(self) -> bool | None:
        """Whether choosing is under the limit; None where none is set."""
        return None if self.name in SQUARE else self.choosing[1] < LIMIT


def measure(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Build the model, time all strategies in turn, round by round, and return the record."""
    plan = make_plan(compose_bench([*SETTINGS, *overrides]))
    work, settings = prepare(plan), plan.config
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    built = models.build(plan, work.config)
    batch = models.make_batch(work.config, work.sample, 1, plan.dtype, settings.device, settings.seed)

    def runner(strategy: Any) -> Runner:
        return Runner(built, strategy, batch, 1, settings.device)

    vanilla = runner(make_strategy(VANILLA))
    asked = [(*one, runner(one[2])) for one in variants(work)]
    times: list[list[tuple[float, ...]]] = [[] for _ in asked]
    for number in range(settings.warmup + settings.rounds):
        log_rank_zero(f"Round {number + 1} of {settings.warmup + settings.rounds}")
        whole = vanilla.prefill()
        for place in range(len(asked)):  # each round begins with another one
            place = (place + number) % len(asked)
            chosen, gathered = asked[place][3].choosing()
            if number >= settings.warmup:
                found = chosen.cpu / whole.cpu, gathered.cpu / whole.cpu, chosen.wall / whole.wall
                times[place].append(found)
    rows = [
        _row(name, setting, strategy, tokens_of(one, built, work), found)
        for (name, setting, strategy, one), found in zip(asked, times, strict=True)
    ]
    return {"schema": 1, "rows": [asdict(row) for row in rows], **_about(work, settings)}


def variants(work: Any) -> list[tuple[str, str, Any]]:
    """Every registered strategy but vanilla, at both budgets, or at its defaults: (name, setting, object)."""
    found: list[tuple[str, str, Any]] = []
    for name, info in installed().items():
        if name == VANILLA:
            continue
        fields = {"text_tower": _text_tower(work)} if name == "cdpruner" else {}
        try:
            plain = make_strategy(name, fields)
        except UserError as error:
            log_rank_zero(f"{name} can't be timed: {error}")
            continue
        before = len(found)
        for tokens in BUDGETS if info.solved_fields else ():
            try:
                solved = solve(plain, work.config, tokens=tokens, image_tokens=work.sample.image_tokens)
            except UserError:
                continue
            found.append((name, f"{tokens} tokens", solved))
        if len(found) == before:
            found.append((name, "its defaults", plain))
        if name in MEANS:
            found.append((name, "its paper's mean", make_strategy(name, MEANS[name])))
    return found


def tokens_of(runner: Runner, model: Any, work: Any) -> float:
    """Image tokens that each layer processes in the mean, in one prefill."""
    with torch.no_grad(), runner._context() as report:
        model(**runner.batch.whole, use_cache=True, logits_to_keep=1)
    return sum(rows[0] for rows in report.image_tokens_per_layer) / len(report.image_tokens_per_layer)


def _row(name: str, setting: str, strategy: Any, tokens: float, found: Sequence[tuple[float, ...]]) -> Row:
    choosing, gathering, wall = zip(*found, strict=True)
    theory = None
    if has_schedule(strategy) and name != "cdpruner":  # its text tower here is no 7B's
        config = published_config("llava_1_5_7b")
        with suppress(UserError):  # counts for each layer that were solved for another depth
            own, whole = (model_flops(config, one, 576, 64) for one in (strategy, KeepAll()))
            theory = own.ranking / whole.prefill
    return Row(
        name, setting, tokens, quartiles(list(choosing)), quartiles(list(gathering))[1],
        quartiles(list(wall))[1], theory,
    )  # fmt: skip


def _text_tower(work: Any) -> str:
    """Register a CLIP's text tower of an eighth of the official widths under a name, and return that."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    from pdrop_eval.strategies import cdpruner

    width = work.config.vision_config.hidden_size
    words = CLIPTextConfig(
        vocab_size=1000, hidden_size=96, intermediate_size=384, num_hidden_layers=12, num_attention_heads=12,
        projection_dim=96, max_position_embeddings=77, bos_token_id=1, eos_token_id=999,
    )  # fmt: skip
    text = CLIPTextModelWithProjection(words).eval()
    cdpruner.TOWERS[TEXT_TOWER] = cdpruner.TextTower(
        text.text_model,
        text.text_projection,
        torch.nn.LayerNorm(width),
        torch.nn.Linear(width, 96, bias=False),
        lambda question: [1, *(3 + len(word) for word in question.split()), 999],
    )
    return TEXT_TOWER


def _about(work: Any, settings: Any) -> dict[str, Any]:
    text, vision = work.config.get_text_config(), work.config.vision_config
    return {
        "limit": LIMIT,
        "model": {
            "layers": text.num_hidden_layers, "width": text.hidden_size, "heads": text.num_attention_heads,
            "vision_layers": vision.num_hidden_layers, "vision_width": vision.hidden_size,
        },
        "sample": asdict(work.sample),
        "rounds": settings.rounds,
        "threads": torch.get_num_threads(),
        "device": settings.device,
        "code": provenance.code_identity(),
        "packages": provenance.package_versions(),
        "hardware": provenance.hardware(),
    }  # fmt: skip


def page(record: Mapping[str, Any]) -> str:
    """The page."""
    rows = [Row(**row) for row in record["rows"]]
    model, sample = record["model"], record["sample"]
    missed = [row for row in rows if row.met is False]
    verdict = (
        f"All {len({row.name for row in rows if row.met})} strategies with a limit are under it."
        if not missed
        else "Over the limit: " + "; ".join(f"{_name(row)} at {row.setting}" for row in missed) + "."
    )
    heads = ["Strategy", "At", "Image tokens a layer", "Choosing", "", "Gathering", "FLOPs at 7B"]
    return (
        "\n\n".join(
            [
                "# What choosing costs",
                "Made by `make choosing`: the time that each strategy takes to choose, rank and make tokens, "
                "over vanilla's prefill of the same round; the median of the rounds with quartiles, by "
                f"processor time. The limit is {record['limit']:.0%}; methods that compare all pairs of "
                "tokens by design have none. " + verdict,
                f"- LLaVA-1.5-7B's {model['layers']} layers, {model['heads']} heads and "
                f"{sample['image_tokens']} image + {sample['text_tokens']} text tokens, with all widths an "
                f"eighth of its own ({model['width']}; tower {model['vision_width']}); random weights.\n"
                f"- {record['rounds']} rounds on {record['threads']} CPU thread(s), float32.\n"
                f"- {made_with(record)}",
                pipes(heads, [_cells(row) for row in rows], {2, 3, 5, 6}),
                "Before the decoder, choosing is what is computed from the tower's outputs (such as the "
                "class token's attention) and all that follows up to the short prompt. In the decoder, it is "
                "what the strategy asks of the layers and its choice; gathering, which vanilla hasn't "
                "either, is to cut the retained tokens out. The prefill that follows is shorter: these costs "
                "are beside what is saved.\n\n"
                "At the 7B's widths a prefill has 64 times the products; choosing has 8 times as many "
                "(attention, cosines) to 64 times (keys of a layer). The last column has the share there by "
                "FLOPs (`efficiency.model_flops`), without what isn't a product, such as sorting.",
            ]
        )
        + "\n"
    )


def _name(row: Row) -> str:
    info = installed().get(row.name)
    return info.display_name if info is not None else row.name


def _cells(row: Row) -> list[str]:
    low, middle, high = (f"{share:.2%}" for share in row.choosing)
    state = f"no limit: {SQUARE[row.name]}" if row.met is None else "met" if row.met else "missed"
    return [
        escaped(_name(row)),
        escaped(row.setting),
        f"{row.tokens:.1f}",
        f"{middle} [{low}, {high}]",
        escaped(state),
        f"{row.gathering:.2%}",
        "" if row.theory is None else f"{row.theory:.3%}",
    ]


def main() -> None:
    """Measure, print what is over the limit, and write both files."""
    with ending("choosing"):
        record = measure(sys.argv[1:])
        for row in (Row(**found) for found in record["rows"]):
            state = {None: "no limit", True: "met", False: "MISSED"}[row.met]
            print(f"{state:8}  {row.name} at {row.setting}: {row.choosing[1]:.2%} of vanilla's prefill")
        write_atomically(FILE, json.dumps(record, indent=1) + "\n")
        write_atomically(FILE.with_suffix(".md"), page(record))
        print(f"Written: {FILE} and {FILE.with_suffix('.md')}")


if __name__ == "__main__":
    main()
