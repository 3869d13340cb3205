"""What papers print of strategies at a budget, from `published.csv`, where each number has its source.

Most are third parties' copies; a number that isn't there stays empty. A row comes from one source: at each
budget from the one that prints the most of the strategies, and of what that lacks from the next. Table 5 of
the PyramidDrop paper stands in `tables/specs/table5.yaml` and is read from there.

A budget in the file is a number of image tokens, or a share of them in percent; what is neither, such as an
average over images ("10% avg"), belongs to no block.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pdrop_eval.models.families import display_names
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.strategies.registry import VANILLA, StrategyInfo, info_of

FILE = Path(__file__).with_name("published.csv")
# Where printed numbers stand in a table: beneath the measured ones, alone, or nowhere.
BENEATH, ONLY, NONE = PLACES = ("beneath", "only", "none")
SIZE = "7b"  # of the models whose numbers stand beside those of a size that papers don't have
PAPER = "PyramidDrop, arXiv 2410.17247, table 5"
AVERAGE = "avg_percent"
_TOTAL = "mme_total"
# How the file calls benchmarks; MME's perception is our score of it, its total is another one.
# The file's "seed" is all of SEED-Bench with the videos: no score of SEED-I.
_NAMES = {
    "mme": ("mme_perception", _TOTAL),
    "scienceqa_image": ("sqa",),
    "docvqa": ("docvqa_val",),
}
# Strategies that are printed and are none of this package's, or at a setting that has a name of its own.
_OTHERS = {
    "fastv_k1": "FastV K=1", "hiprune": "HiPrune", "visionselector": "VisionSelector", "scope": "SCOPE",
    "idpruner": "IDPruner",
}  # fmt: skip
# What the paper's Table 5 prints: PyramidDrop in four equal stages, FastV with K=2 and R=50% of 32 layers.
_SHARES = {"pdrop": (1 + 0.5 + 0.25 + 0.125) / 4, "fastv": (2 + 30 * 0.5) / 32}
# Images that a picture is cut into in all that is printed: LLaVA-NeXT's 2,880 image tokens.
_PATCHES = {"llava-next": 5}
_CLOSE = 0.01  # budgets whose shares differ by no more are the same


@dataclass(frozen=True)
class Printed:
    """A strategy at a budget, as one source prints it.

    Attributes:
        tokens: Image tokens, in the source's own convention: in the mean over layers, or those that are left;
            None where it prints a share alone.
        share: The same, as a share of all.
        scores: By benchmark; those that it lacks are not in it.
        percents: The same in percent of the same model's without dropping, where that is printed.
        percent: The mean of the scores in percent of the same model's without dropping; None where one lacks.
        total: Whether its score of MME is the total, with the cognition part.
    """

    strategy: str
    tokens: int | None
    share: float
    source: str
    scores: Mapping[str, float]
    percents: Mapping[str, float]
    percent: float | None
    total: bool = False

    @property
    def info(self) -> StrategyInfo:
        """What is known of the strategy."""
        if self.strategy in _OTHERS:
            return StrategyInfo(self.strategy, display_name=_OTHERS[self.strategy])
        return info_of(self.strategy)

    @property
    def budget(self) -> str:
        """`192 tokens (33.3%)`, or `25.0% of the tokens`."""
        share = f"{100 * self.share:.1f}%"
        return f"{share} of the tokens" if self.tokens is None else f"{self.tokens} tokens ({share})"


@dataclass(frozen=True)
class _Budget:
    """The tokens of a row of the file, or their share; neither is known of an average over images."""

    tokens: int | None = None
    share: float | None = None


def models() -> list[str]:
    """Return the models of which something is printed, in the file's order."""
    return list(dict.fromkeys(model for model, _ in _file()))


def title(model: str) -> str:
    """Return a model's name in words: `Qwen2.5-VL-7B` for `qwen2.5-vl-7b`."""
    architecture, size = _parts(model)
    return f"{display_names().get(architecture, architecture)}{f'-{size.upper()}' if size else ''}"


@cache
def model_of(architecture: str, size: str = SIZE, patches: int | None = None) -> str | None:
    """Return the model whose printed numbers are shown beside an architecture; None where none are.

    Args:
        architecture: The model's family.
        size: Its size; where nothing of that size is printed, the model of 7B stands in.
        patches: Images that its pictures are cut into: papers print models at their own number alone. None:
            that one.
    """
    if patches is not None and patches != _PATCHES.get(architecture, patches):
        return None
    known = [model for model in models() if _parts(model)[0] == architecture]
    return next((model for wanted in (size, SIZE) for model in known if _parts(model)[1] == wanted), None)


def model_name(architecture: str, size: str = SIZE) -> str:
    """Return the same in words; empty where none are."""
    model = model_of(architecture, size)
    return title(model) if model else ""


def printed(architecture: str, share: float, keys: Sequence[str], size: str = SIZE) -> list[Printed]:
    """Return the printed rows at a budget, best first, those without a mean last.

    Args:
        architecture: Of the model.
        share: The budget, as a share of all image tokens.
        keys: The benchmarks of the table.
        size: Of the model.
    """
    model = model_of(architecture, size)
    return _chosen(row for row in printed_rows(model or "", tuple(keys)) if abs(row.share - share) <= _CLOSE)


@cache
def printed_rows(model: str, keys: tuple[str, ...]) -> list[Printed]:
    """Return all rows of a model at a budget, of every source that prints one of the benchmarks.

    They come in the file's order. `AVERAGE` as a benchmark is a mean that a source prints without its parts.
    """
    sources = _sources(model)
    whole = _vanilla(sources)
    found = (
        _row(source, strategy, budget, scores, whole, keys)
        for (source, strategy, budget), scores in sources.items()
        if strategy != VANILLA and (budget.share is not None or (budget.tokens is not None and whole[0]))
    )
    return [row for row in found if row.scores]


def blocks(model: str, keys: Sequence[str]) -> list[tuple[float, list[Printed]]]:
    """Return all that is printed of a model, a block a budget, the largest first, as (share, rows)."""
    found: list[tuple[float, list[Printed]]] = []
    for row in sorted(printed_rows(model, tuple(keys)), key=lambda one: -one.share):
        if not found or found[-1][0] - row.share > _CLOSE:
            found.append((row.share, []))
        found[-1][1].append(row)
    return [(share, _chosen(rows)) for share, rows in found]


def without_dropping(model: str, keys: Sequence[str]) -> list[Printed]:
    """Return a model's printed scores with all image tokens, a row a source, those with the most first."""
    whole = _vanilla(_sources(model))
    rows = [
        _row(source, VANILLA, _Budget(budget.tokens, 1.0), scores, whole, tuple(keys))
        for (source, strategy, budget), scores in _sources(model).items()
        if strategy == VANILLA
    ]
    return sorted((row for row in rows if row.scores), key=lambda row: -len(row.scores))


def sources_of(rows: Iterable[Printed]) -> list[str]:
    """Return where rows are printed, each source once."""
    return list(dict.fromkeys(row.source for row in rows))


def _chosen(rows: Iterable[Printed]) -> list[Printed]:
    """Of the rows at a budget, each strategy's from the source that prints the most of them."""
    found: dict[str, list[Printed]] = defaultdict(list)
    for row in rows:
        found[row.source].append(row)
    kept: dict[str, Printed] = {}
    for source in sorted(found, key=lambda one: -len(found[one])):  # of equal ones, the first in the file
        for row in found[source]:
            before = kept.setdefault(row.strategy, row)
            if before.percent is None and row.percent is not None:
                kept[row.strategy] = row
    return sorted(kept.values(), key=lambda row: (row.percent is None, -(row.percent or 0), row.strategy))


def _row(
    source: str,
    strategy: str,
    budget: _Budget,
    scores: Mapping[str, float],
    whole: tuple[int, Mapping[str, Mapping[str, float]]],
    keys: Sequence[str],
) -> Printed:
    """A printed row with the columns of a table; vanilla's scores are its source's own, or any other's."""
    size, vanilla = whole
    others = {name: score for own in vanilla.values() for name, score in own.items()}
    reference = {**others, **vanilla.get(source, {})}
    shown, percents, total = {}, {}, False
    for key in keys:
        name = next((name for name in (key, *_NAMES.get(key, ())) if name in scores), None)
        if name is not None:
            shown[key] = scores[name]
            total |= name == _TOTAL
            if reference.get(name):
                percents[key] = 100 * scores[name] / reference[name]
    percent = sum(percents.values()) / len(percents) if len(percents) == len(keys) else None
    share = (budget.tokens or 0) / size if budget.share is None else budget.share
    return Printed(strategy, budget.tokens, share, source, shown, percents, percent, total)


def _vanilla(sources: Mapping[tuple[str, str, _Budget], Mapping[str, float]]) -> tuple[int, dict]:
    """How many image tokens there are without dropping, 0 if no source says it, and the scores by source."""
    found = {source: scores for (source, strategy, _), scores in sources.items() if strategy == VANILLA}
    sizes = [budget.tokens or 0 for _, strategy, budget in sources if strategy == VANILLA]
    return max(sizes, default=0), found


def _parts(model: str) -> tuple[str, str]:
    """The architecture and the size of a model of the file."""
    found = re.fullmatch(r"(.+)-(\d+(?:\.\d+)?b)", model)
    return (found[1], found[2]) if found else (model, "")


def _budget(text: str) -> _Budget:
    if text.isdigit():
        return _Budget(int(text))
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    return _Budget(share=float(percent[1]) / 100) if percent else _Budget()


@cache
def _sources(model: str) -> dict[tuple[str, str, _Budget], dict[str, float]]:
    """The scores of a model by source, strategy and budget; those of the PyramidDrop paper come first."""
    paper = {which: scores for (of, which), scores in _paper().items() if of == model}
    return paper | {which: scores for (of, which), scores in _file().items() if of == model}


@cache
def _file() -> dict[tuple[str, tuple[str, str, _Budget]], dict[str, float]]:
    found: dict[tuple[str, tuple[str, str, _Budget]], dict[str, float]] = defaultdict(dict)
    with FILE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            which = line["source"], line["strategy"], _budget(line["image_tokens"])
            found[line["model"], which][line["benchmark"]] = float(line["score"])
    return dict(found)


@cache
def _paper() -> dict[tuple[str, tuple[str, str, _Budget]], dict[str, float]]:
    """Table 5 of the PyramidDrop paper; its budgets are those of the settings that it names."""
    return {
        (f"{row.architecture}-{TABLES[5].size}", (PAPER, row.strategy, _Budget(share=share))): row.scores
        for row in TABLES[5].published
        if (share := {VANILLA: 1.0, **_SHARES}.get(row.strategy)) is not None
    }
