"""The paper's five tables as data: what tells their rows apart, and what is printed beside the scores.

Rows, their order and the benchmarks with their order are those of the published numbers.
"""

from dataclasses import dataclass, field

from pdrop_eval.records.row_key import RowKey
from pdrop_eval.report.tables.published import PublishedRow, published

# What can be printed before the scores.
HOURS, PATCHES, TFLOPS = "hours", "patches", "tflops"
LAMBDA = "λ"


@dataclass(frozen=True)
class Delta:
    """A row of differences: the row with this training and strategy, minus another."""

    minuend: tuple[str, str]
    subtrahend: tuple[str, str]
    words: str


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    labels: the heads of the columns that name a row, with the property of `RowKey` behind each. facts: the
    columns between them and the scores. beyond: rows of models that the paper doesn't have in this table, as
    (architecture, patches). own: a table of any model's strategies at inference: those that the paper doesn't
    know are added, and a model of which nothing is measured is named beneath instead of having empty rows.
    """

    number: int
    title: str
    labels: dict[str, str]
    facts: tuple[str, ...]
    average: str = "Avg"
    delta: Delta | None = None
    beyond: tuple[tuple[str, int], ...] = ()
    own: bool = False
    benchmarks: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "benchmarks", tuple(self.published[0].scores))

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"table{self.number}"

    @property
    def heading(self) -> str:
        """The title as the beginning of a sentence."""
        return self.title[0].upper() + self.title[1:]

    @property
    def published(self) -> tuple[PublishedRow, ...]:
        """The rows as the paper prints them."""
        return published(self.number)

    @property
    def strategies(self) -> set[str]:
        """The strategies that the paper has in it."""
        return {row.key.strategy for row in self.published}

    def groups(self) -> dict[str, list[RowKey]]:
        """The paper's rows by architecture."""
        found: dict[str, list[RowKey]] = {}
        for row in self.published:
            found.setdefault(row.key.architecture, []).append(row.key)
        return found

    def groups_beyond(self) -> dict[str, list[RowKey]]:
        """Rows of models that the paper doesn't have here: those of its first, in another architecture."""
        first = next(iter(self.groups().values()))
        first = [key for key in first if key.patches == first[0].patches]
        return {
            architecture: [
                RowKey(architecture, patches, key.train, key.train_ratio, key.strategy, key.ratio)
                for key in first
            ]
            for architecture, patches in self.beyond
        }


_TRAINED = {"Train & Infer": "inferred"}
TABLES = {
    table.number: table
    for table in (
        Table(1, "models trained with and without PyramidDrop", _TRAINED, (HOURS, PATCHES, TFLOPS)),
        Table(
            2,
            "fine-grained benchmarks, models trained with and without PyramidDrop",
            _TRAINED,
            (HOURS, PATCHES, TFLOPS),
            beyond=(("llava-1.5", 1),),
        ),
        Table(
            3,
            "FastV on a model trained with PyramidDrop",
            {"Train": "trained", "Infer": "inferred"},
            (TFLOPS,),
            average="Average",
            delta=Delta(
                ("pdrop", "fastv"),
                ("vanilla", "fastv"),
                "FastV on the PDrop-trained model minus FastV on the vanilla-trained one",
            ),
            beyond=(("llava-1.5", 1),),
        ),
        Table(4, "PyramidDrop's λ in training", {LAMBDA: "lam"}, (HOURS, PATCHES, TFLOPS)),
        Table(
            5,
            "strategies at inference only",
            {"Strategy": "inferred"},
            (TFLOPS,),
            delta=Delta(("vanilla", "pdrop"), ("vanilla", "fastv"), "PDrop minus FastV"),
            own=True,
        ),
    )
}
