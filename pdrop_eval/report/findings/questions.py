"""The paper's claims, asked of the records: four questions, each answered by a number.

A comparison is two rows with the same questions: what one scores minus what the other does, for each
benchmark and in the mean, with a paired 95% interval. The answer follows from the interval alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.difference import Difference, mean_difference
from pdrop_eval.models.families import display_names
from pdrop_eval.records.rows.row_key import RowKey, family_name
from pdrop_eval.records.rows.run import Run, pick
from pdrop_eval.records.rows.training_info import differences
from pdrop_eval.report.paired.pairing import CannotCompareError, compare
from pdrop_eval.report.tables.commands import Fill, fill
from pdrop_eval.report.tables.spec import TABLES

MATCH, GAIN, FASTV, UNTRAINED = "match", "gain", "fastv", "untrained"


@dataclass(frozen=True)
class Question:
    """One of the paper's claims as a question.

    Attributes:
        one, other: (training, inference) of the rows whose difference answers it; "lambda" stands for
            PyramidDrop with the ratio of the training.
        tables: Those of the paper whose averages say something of it.
    """

    name: str
    title: str
    one: tuple[str, str]
    other: tuple[str, str]
    words: str
    tables: tuple[int, ...]


QUESTIONS = (
    Question(
        MATCH,
        "Does a model trained and used with PDrop match one trained and used without dropping?",
        ("pdrop", "pdrop"),
        ("vanilla", "vanilla"),
        "PDrop-trained with PDrop, minus vanilla-trained without dropping",
        (1, 2, 4),
    ),
    Question(
        GAIN,
        "With PDrop at inference, is a PDrop-trained model better than a vanilla-trained one?",
        ("pdrop", "pdrop"),
        ("vanilla", "pdrop"),
        "PDrop-trained minus vanilla-trained, both with PDrop at inference",
        (),
    ),
    Question(
        FASTV,
        "Is FastV better on a PDrop-trained model than on a vanilla-trained one?",
        ("pdrop", "fastv"),
        ("vanilla", "fastv"),
        "FastV on the PDrop-trained model minus FastV on the vanilla-trained one",
        (3,),
    ),
    Question(
        UNTRAINED,
        "At inference only, without training for it, does PDrop score higher than FastV?",
        ("vanilla", "pdrop"),
        ("vanilla", "fastv"),
        "PDrop minus FastV, both on the vanilla-trained model, each at its own setting",
        (5,),
    ),
)


@dataclass
class Comparison:
    """A question, asked of the models of one architecture and λ.

    Attributes:
        by_benchmark: The differences, in the registry's order.
        skipped: Benchmarks that can't be compared, with the reason.
        averages: The paper's own averages, by table, where all of their benchmarks are there.
        missing: The rows that would have to be measured first.
        unfair: In what the trainings differ beside the strategy.
        settings: What the two runs were made with, where it isn't the same.
    """

    question: Question
    size: str
    suite: str
    one: RowKey
    other: RowKey
    runs: tuple[Run, Run] | None = None
    by_benchmark: dict[str, Difference] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    averages: dict[int, Difference] = field(default_factory=dict)
    missing: list[tuple[RowKey, Fill]] = field(default_factory=list)
    unfair: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The models in words: `LLaVA-NeXT mini p5, λ=0.5`."""
        patches = f" p{self.one.patches}" if self.one.patches > 1 else ""
        return f"{family_name(self.one.architecture, self.size)}{patches}, λ={_ratio(self.one):g}"

    @cached_property
    def mean(self) -> Difference | None:
        """Over all benchmarks that can be compared."""
        return mean_difference(list(self.by_benchmark.values())) if self.by_benchmark else None

    def beyond(self, sign: int) -> list[str]:
        """The benchmarks whose interval lies on one side of zero."""
        return [key for key, difference in self.by_benchmark.items() if difference.sign == sign]


def find(runs: Iterable[Run]) -> list[Comparison]:
    """All comparisons of the models that were measured, by size, suite, question, architecture and λ.

    A model trained with PyramidDrop brings its comparisons, also those that lack the other row.
    """
    sets: dict[tuple[str, str], dict[RowKey, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.key is not None and run.contradiction is None:
            sets[run.size, run.suite][run.key].append(run)
    found = []
    for (size, suite), rows in sorted(sets.items()):
        for question in QUESTIONS:
            for model in _models(question, rows):
                found.append(_comparison(question, size, suite, model, rows))
    return found


def printed(question: Question, model: RowKey) -> list[tuple[int, float]]:
    """What the paper prints for a question: the difference of its averages, by table."""
    found = []
    for number in question.tables:
        averages = {row.key: row.average for row in TABLES[number].published}
        pair = (averages.get(_row(model, question.one)), averages.get(_row(model, question.other)))
        if pair[0] is not None and pair[1] is not None:
            found.append((number, round(pair[0] - pair[1], 1)))
    return found


def _models(question: Question, rows: Iterable[RowKey]) -> list[RowKey]:
    """A key for each model that was trained with PyramidDrop, or used with it, in the order of the tables."""
    order = {name: place for place, name in enumerate(display_names())}
    trained, inferred = question.one
    keys = {
        (key.architecture, key.patches, ratio)
        for key in rows
        if key.train == trained
        and (trained == "pdrop" or (key.strategy == inferred and not key.settings))
        and (ratio := _ratio(key)) is not None
    }
    return [
        RowKey(architecture, patches, "pdrop", ratio, "pdrop", ratio)
        for architecture, patches, ratio in sorted(
            keys, key=lambda key: (order.get(key[0], len(order)), *key)
        )
    ]


def _row(model: RowKey, row: tuple[str, str]) -> RowKey:
    (train, strategy), ratio = row, _ratio(model)
    return RowKey(
        model.architecture,
        model.patches,
        train,
        ratio if train == "pdrop" else None,
        strategy,
        ratio if strategy == "pdrop" else None,
    )


def _ratio(key: RowKey) -> float | None:
    """PyramidDrop's ratio in a row: that of the training, or of its use without one."""
    return key.train_ratio if key.train_ratio is not None else key.ratio


def _comparison(
    question: Question, size: str, suite: str, model: RowKey, rows: dict[RowKey, list[Run]]
) -> Comparison:
    keys = _row(model, question.one), _row(model, question.other)
    made = Comparison(question, size, suite, *keys)
    chosen = [pick(rows.get(key, []), benchmarks())[0] for key in keys]
    one, other = chosen
    limits = {f"limit={run.limit}" for run in chosen if run and run.limit}  # of the one that is there
    made.missing = [
        (key, fill(size, suite, key, settings=limits))
        for key, run in zip(keys, chosen, strict=True)
        if run is None
    ]
    if one is None or other is None:
        return made
    made.runs = (one, other)
    made.unfair = differences([other.training, one.training])
    made.settings = sorted(set(one.deviations) ^ set(other.deviations))
    for key in benchmarks():
        if key not in one.results and key not in other.results:
            continue
        try:
            made.by_benchmark[key] = compare(one, other, key)
        except CannotCompareError as error:
            made.skipped[key] = error.reason
    for number in question.tables:
        wanted = TABLES[number].benchmarks
        if all(key in made.by_benchmark for key in wanted):
            made.averages[number] = mean_difference([made.by_benchmark[key] for key in wanted])
    return made


def answer(question: Question, difference: Difference) -> str:
    """The answer in words, by the sign of the difference and by whether its interval contains zero."""
    if not difference.changed:
        return "No question came out differently"
    low, high = difference.interval
    if question.name == MATCH:
        return {
            -1: "No: it scores lower (the interval excludes zero)",
            0: f"No difference is seen; a loss of {max(-low, 0):.1f} points isn't ruled out",
            1: "It scores higher (the interval excludes zero)",
        }[difference.sign]
    return {
        -1: "No: it scores lower (the interval excludes zero)",
        0: f"Not seen: the interval contains zero; a gain of {max(high, 0):.1f} points isn't ruled out",
        1: "Yes (the interval excludes zero)",
    }[difference.sign]


def by_set(found: Sequence[Comparison]) -> dict[tuple[str, str], list[Comparison]]:
    """The comparisons of each size and suite."""
    sets: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for comparison in found:
        sets[comparison.size, comparison.suite].append(comparison)
    return dict(sets)
