"""Tables as data: one YAML says which rows and columns a table has, and what is published of it.

The shipped ones are in `specs/`; one of your own is `pdrop-eval-tables table=my.yaml`. `Table` describes the
fields. A column is a benchmark's key; `columns: measured` stands
for all that most of the rows have. A row is a published one, or a run that `rows` asks for:

    rows: {train: vanilla, strategy: {not: [vanilla, fastv]}, settings: [default, budget]}

Each condition is a value, a list of values, or `not` with either; all must hold. `ASKED` names the fields.
Where there are published rows, only runs on their models are asked for.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from pdrop_eval.benchmarks.registry import benchmarks, check_benchmark
from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.records.rows.run import Run
from pdrop_eval.strategies.registry import VANILLA, info_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text
from pdrop_eval.utils.text.numbers import natural
from pdrop_eval.utils.validation import check_choice

SPECS = Path(__file__).with_name("specs")
CITATION = (
    "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction, "
    "arXiv 2410.17247"
)
# What can be printed before the scores.
HOURS, PATCHES, TFLOPS, TOKENS = "hours", "patches", "tflops", "tokens"
# What `rows` may ask of a run. settings: of its strategy, "default", "budget" or "changed".
_AS_MEASURED = "measured"
ASKED = ("architecture", "patches", "train", "train_ratio", "strategy", "ratio", "settings", "model", "limit")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Delta(_Part):
    """A row of differences: the row with this training and strategy, minus another."""

    minuend: tuple[str, str]
    subtrahend: tuple[str, str]
    words: str


class Model(_Part):
    """A model that a published table doesn't have."""

    architecture: str
    patches: int


class PublishedRow(_Part):
    """A row as it is printed: scores in the order of the columns, and the printed average.

    The fields are those of `RowKey`. hours: of the training, on GPUs.
    """

    architecture: str
    patches: int
    train: str = VANILLA
    train_ratio: float | None = None
    strategy: str
    ratio: float | None = None
    hours: float | None = None
    tflops: float | None = None
    scores: dict[str, float]
    average: float | None = None

    @property
    def key(self) -> RowKey:
        """What row it is."""
        return RowKey(
            self.architecture, self.patches, self.train, self.train_ratio, self.strategy, self.ratio
        )


class Table(_Part):
    """A table.

    Attributes:
        name: The stem of its files: that of the YAML.
        number: In the paper; None for others.
        title: What it is of, in words.
        labels: The heads of the columns that name a row, with the property of `RowKey` behind each.
        facts: The columns between them and the scores.
        columns: The benchmarks.
        measured_columns: Whether `columns` was "measured": of all benchmarks, those that most rows have.
        average: The head of the average.
        normalisation: "raw" scores, or "relative": in percent of vanilla's on the same model and questions.
        rows: Which runs are rows, beside the published ones. Then a model of which nothing is measured has no
            empty rows, but is named beneath.
        order: Of these rows: by "strategy", or by "budget".
        delta: A line of differences.
        beyond: Models that the publication doesn't have in this table, shown where they are measured.
        published: The printed rows. They come first, in this order.
        source: Where they are printed.
        size: Of the models in them.
        misprint: Where the printed averages and differences are not those of the printed scores.
        layout: "rows"; "budgets": a block a budget, with a row for every strategy; or "frontier": the
            strategies that no other beats at its FLOPs or less. See `report.budgets`.
        form: Of blocks: "shelf", or "field", as papers print it: published rows beneath the measured ones,
            the difference from the best of a block, costs in a table of their own.
        controls: Of blocks: the strategies that the others should beat.
        notes: Of blocks: what has to be known of the models of a size, by size.
    """

    name: str
    number: int | None = None
    title: str
    labels: dict[str, Literal["inferred", "trained", "lam"]] = {"Strategy": "inferred"}
    facts: tuple[Literal["hours", "patches", "tflops", "tokens"], ...] = ()
    columns: tuple[str, ...]
    measured_columns: bool = False
    average: str = "Avg"
    normalisation: Literal["raw", "relative"] = "raw"
    rows: dict[str, Any] | None = None
    order: Literal["strategy", "budget"] = "strategy"
    delta: Delta | None = None
    beyond: tuple[Model, ...] = ()
    published: tuple[PublishedRow, ...] = ()
    source: str = CITATION
    size: str = "7b"
    misprint: str = ""
    layout: Literal["rows", "budgets", "frontier"] = "rows"
    form: Literal["shelf", "field"] = "shelf"
    controls: tuple[str, ...] = ()
    notes: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _columns_as_measured(cls, found: Any) -> Any:
        """All benchmarks in the place of the word that stands for those that were measured."""
        if found.get("columns") != _AS_MEASURED:
            return found
        if found.get("layout", "rows") == "rows":
            raise ValueError(f"columns: {_AS_MEASURED} is for the layouts budgets and frontier")
        return {**found, "columns": list(benchmarks()), "measured_columns": True}

    @model_validator(mode="before")
    @classmethod
    def _named_scores(cls, found: Any) -> Any:
        """The lists of scores by the names of their columns."""
        columns = found.get("columns")
        rows = found.get("published")
        if not isinstance(columns, list) or not isinstance(rows, list):
            return found
        for number, row in enumerate(rows, 1):
            scores = row.get("scores") if isinstance(row, dict) else None
            if isinstance(scores, list) and len(scores) != len(columns):
                raise ValueError(
                    f"row {number} of published has {len(scores)} scores for {len(columns)} columns"
                )
        named = [
            {**row, "scores": dict(zip(columns, row["scores"], strict=True))}
            if isinstance(row, dict) and isinstance(row.get("scores"), list)
            else row
            for row in rows
        ]
        return {**found, "published": named}

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for key in columns:
            check_benchmark("column", key, benchmarks())
        if not columns:
            raise ValueError("a table needs a column")
        return columns

    @field_validator("rows")
    @classmethod
    def _asked(cls, rows: dict[str, Any] | None) -> dict[str, Any] | None:
        for name, value in (rows or {}).items():
            check_choice("condition of rows", name, ASKED)
            if isinstance(value, Mapping) and set(value) != {"not"}:
                raise ValueError(
                    f"{name}: {dict(value)} is no condition: write a value, a list, or {{not: value}}"
                )
        return rows

    @model_validator(mode="after")
    def _has_rows(self) -> "Table":
        if self.rows is None and not self.published:
            raise ValueError("there are neither rows nor published rows: rows: {} takes every run")
        if self.in_blocks and self.published:
            raise ValueError("a table by budgets takes its published rows from report/budgets/published.csv")
        return self

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The columns of scores."""
        return self.columns

    @property
    def label(self) -> str:
        """What it is called: `Table 5`."""
        return f"Table {self.name if self.number is None else self.number}"

    @property
    def heading(self) -> str:
        """The title as the beginning of a sentence."""
        return self.title[0].upper() + self.title[1:]

    @property
    def in_blocks(self) -> bool:
        """Whether it is made of strategies at budgets: blocks, or the front of all of them."""
        return self.layout != "rows"

    @property
    def relative(self) -> bool:
        """Whether its scores are in percent of vanilla's."""
        return self.normalisation == "relative"

    def groups(self) -> dict[str, list[RowKey]]:
        """The published rows by architecture."""
        found: dict[str, list[RowKey]] = {}
        for row in self.published:
            found.setdefault(row.architecture, []).append(row.key)
        return found

    def groups_beyond(self) -> dict[str, list[RowKey]]:
        """Rows of models that aren't published here: those of the first one, in another architecture."""
        first = next(iter(self.groups().values()), [])
        first = [key for key in first if key.patches == first[0].patches]
        return {
            model.architecture: [
                RowKey(model.architecture, model.patches, key.train, key.train_ratio, key.strategy, key.ratio)
                for key in first
            ]
            for model in self.beyond
        }

    def asks_for(self, run: Run) -> bool:
        """Whether a run is a row beside the published ones, if its model is one of the table's."""
        key = run.key
        if self.rows is None or key is None:
            return False
        budget = any(change.startswith("budget.") for change in key.settings)
        settings = "budget" if budget else "changed" if key.settings else "default"
        known = {**vars(key), "settings": settings, "model": run.model, "limit": run.limit}
        return all(_holds(value, known[name]) for name, value in self.rows.items())

    def place(self, key: RowKey) -> tuple:
        """Where a row stands among those that `rows` asks for."""
        strategy, settings = info_of(key.strategy).order, natural(" ".join(key.settings))
        own = (settings, strategy) if self.order == "budget" else (strategy, settings)
        return key.patches, key.train, key.train_ratio or 0, *own, key.ratio or 0


def load_table(path: Path) -> Table:
    """Return the table of a YAML.

    Raises:
        UserError: It can't be read, or something in it isn't allowed.
    """
    try:
        found = yaml.safe_load(read_text(path))
        return Table(**{**(found if isinstance(found, dict) else {}), "name": path.stem})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}. Name a table or the file of one."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {f'{place}: ' if place else ''}{said}.") from error


@cache
def shipped() -> dict[str, Table]:
    """Return the tables of this package by name: the paper's by number, then the others."""
    found = [load_table(path) for path in SPECS.glob("*.yaml")]
    ordered = sorted(found, key=lambda table: (table.number is None, table.number or 0, table.name))
    return {table.name: table for table in ordered}


def find_table(which: str) -> Table:
    """Return a table by its number, its name, or the path of its YAML.

    Raises:
        UserError: There is none.
    """
    if which.endswith((".yaml", ".yml")):
        return load_table(Path(which))
    named = {str(table.number or table.name): table for table in shipped().values()}
    check_choice("table", which, [*named, "all", "overview"], "One of your own: the path of its YAML.")
    return named[which]


def _holds(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping):
        return not _holds(wanted["not"], found)
    return found in wanted if isinstance(wanted, list) else found == wanted


TABLES = {table.number: table for table in shipped().values() if table.number is not None}
