"""What papers print of strategies at a budget, from `published.csv`, where each number has its source.

Most are third parties' copies; a number that isn't there stays empty. A row comes from one source: at each
budget from the one that prints the most of the strategies, and of what that lacks from the next.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pdrop_eval.strategies.registry import VANILLA

FILE = Path(__file__).with_name("published.csv")
# The checkpoint of an architecture whose numbers are printed.
_MODELS = {"llava-1.5": ("llava-1.5-7b", "LLaVA-1.5-7B"), "llava-next": ("llava-next-7b", "LLaVA-NeXT-7B")}
_TOTAL = "mme_total"
# How the file calls benchmarks; MME's perception is our score of it, its total is another one.
_NAMES = {"mme": ("mme_perception", _TOTAL), "scienceqa_image": ("sqa",), "seed_image": ("seed",)}
_CLOSE = 0.01  # budgets whose shares differ by no more are the same


@dataclass(frozen=True)
class Printed:
    """A strategy at a budget, as one source prints it.

    Attributes:
        tokens: Image tokens, in the source's own convention: in the mean over layers, or those that are left.
        share: The same, as a share of all.
        scores: By benchmark; those that it lacks are not in it.
        percent: The mean of the scores in percent of the same model's without dropping; None where one lacks.
        total: Whether its score of MME is the total, with the cognition part.
    """

    strategy: str
    tokens: int
    share: float
    source: str
    scores: Mapping[str, float]
    percent: float | None
    total: bool = False


def model_name(architecture: str) -> str:
    """Return the checkpoint whose printed numbers are shown beside an architecture; empty where none are."""
    return _MODELS.get(architecture, ("", ""))[1]


def printed(architecture: str, share: float, keys: Sequence[str]) -> list[Printed]:
    """Return the printed rows at a budget, best first, those without a mean last.

    Args:
        architecture: Of the model.
        share: The budget, as a share of all image tokens.
        keys: The benchmarks of the table.
    """
    model = _MODELS.get(architecture, ("", ""))[0]
    sources = _sources(model)
    whole = _vanilla(sources)
    found: dict[str, list[Printed]] = defaultdict(list)
    for (source, strategy, tokens), scores in sources.items():
        if strategy != VANILLA and whole and abs(tokens / whole[0] - share) <= _CLOSE:
            row = _row(source, strategy, tokens, scores, whole, keys)
            if row.scores:
                found[source].append(row)
    rows: dict[str, Printed] = {}
    for source in sorted(found, key=lambda one: -len(found[one])):  # of equal ones, the first in the file
        for row in found[source]:
            kept = rows.setdefault(row.strategy, row)
            if kept.percent is None and row.percent is not None:
                rows[row.strategy] = row
    return sorted(rows.values(), key=lambda row: (row.percent is None, -(row.percent or 0), row.strategy))


def sources_of(rows: Iterable[Printed]) -> list[str]:
    """Return where rows are printed, each source once."""
    return list(dict.fromkeys(row.source for row in rows))


def _row(
    source: str,
    strategy: str,
    tokens: int,
    scores: Mapping[str, float],
    whole: tuple[int, Mapping[str, Mapping[str, float]]],
    keys: Sequence[str],
) -> Printed:
    """A printed row with the columns of a table; vanilla's scores are its source's own, or any other's."""
    size, vanilla = whole
    others = {name: score for own in vanilla.values() for name, score in own.items()}
    reference = {**others, **vanilla.get(source, {})}
    shown, shares, total = {}, [], False
    for key in keys:
        name = next((name for name in _NAMES.get(key, (key,)) if name in scores), None)
        if name is not None:
            shown[key] = scores[name]
            total |= name == _TOTAL
            shares += [100 * scores[name] / reference[name]] if reference.get(name) else []
    percent = sum(shares) / len(shares) if len(shares) == len(keys) else None
    return Printed(strategy, tokens, tokens / size, source, shown, percent, total)


def _vanilla(sources: Mapping[tuple[str, str, int], Mapping[str, float]]) -> tuple[int, dict] | None:
    """How many image tokens there are without dropping, and the scores by source."""
    found = {source: scores for (source, strategy, _), scores in sources.items() if strategy == VANILLA}
    sizes = [tokens for _, strategy, tokens in sources if strategy == VANILLA]
    return (max(sizes), found) if sizes else None


@cache
def _sources(model: str) -> dict[tuple[str, str, int], dict[str, float]]:
    """The scores of a model by source, strategy and image tokens; budgets that are no count are left out."""
    found: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
    with FILE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["model"] == model and line["image_tokens"].isdigit():
                which = line["source"], line["strategy"], int(line["image_tokens"])
                found[which][line["benchmark"]] = float(line["score"])
    return dict(found)
