"""What the fields of records and samples are, as far as anything is computed from them or shown of them.

    python -m pdrop_eval.records.schema

prints the JSON schemas of both. A field without a default must be there, the others may be missing or null;
fields that are not named here may be anything.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic import field_validator as validator
from pydantic_core import PydanticCustomError

from pdrop_eval.records.json_text import parsed
from pdrop_eval.records.rows.kinds import (
    Anything,
    Flag,
    Grids,
    InnerPath,
    List,
    ListOfNumbers,
    ListOfTexts,
    ListOfWholes,
    Masks,
    Name,
    Number,
    NumberOrText,
    Numbers,
    Sizes,
    Text,
    Texts,
    Time,
    Whole,
    Words,
)
from pdrop_eval.utils.validation import shortened

TASK_STATUSES = ("scored", "needs_judge")


class Part(BaseModel):
    """A part of a record: its values are of their kind without conversion."""

    model_config = ConfigDict(strict=True)


class RecordedModel(Part):
    """The model of a run."""

    name: Text
    pretrained: Text | None = None
    revision: Text | None = None
    commit: Text | None = None
    sha256: Text | None = None
    family: Text | None = None
    architecture: Text | None = None
    patches: Whole | None = None
    train_patches: Whole | None = None
    size: Text | None = None
    train: Text | None = None
    train_ratio: Number | None = None
    training: Anything | None = None
    dtype: Text | None = None
    layers: Whole | None = None
    image_tokens: Whole | None = None
    anyres: List | None = None
    image_processing: Text | None = None
    chat_template: Text | None = None
    adapter: Anything | None = None
    generation: Anything | None = None
    system_prompt: Text | None = None


class RecordedStrategy(Part):
    """The strategy of a run: its settings, and what reports say of it.

    Attributes:
        preset: Its file in `conf/strategy`.
        target: Its class.
        recipes: The recipes that gave it settings, with the hashes of their content.
        notes: What its settings came to on the run's model, in sentences.
    """

    name: Text
    preset: Text | None = None
    target: Text | None = None
    recipes: List | None = None
    fields: Anything | None = None
    display_name: Text | None = None
    paper: Text | None = None
    stage: Text | None = None
    series_style: Anything | None = None
    label_fields: List | None = None
    notes: ListOfTexts | None = None


class RecordedSuite(Part):
    """The suite of a run."""

    name: Text | None = None
    source: Text | None = None


class RecordedInputs(Part):
    """What a run did to its questions."""

    images: Text | None = None
    downsample: Whole | None = None
    system_prompt: Text | None = None


class RecordedPreset(Part):
    """A strategy's settings in a configuration, where schemas before 3 have them; its class among them."""

    target: Text | None = Field(None, alias="_target_")


class RecordedConfig(Part):
    """The composed configuration, as far as it is read again."""

    model: Anything | None = None
    strategy: RecordedPreset | None = None
    suite: Anything | None = None
    data: Anything | None = None
    budget: Anything | None = None


class RecordedCode(Part):
    """The code that a run was made with."""

    version: Text | None = None
    sha256: Text | None = None
    strategy: Text | None = None
    commit: Text | None = None
    dirty: Flag | None = None


class RecordedIdentity(Part):
    """What decides the numbers of a run."""

    model_sha256: Text | None = None
    data_sha256: Texts | None = None
    packages: Texts | None = None
    code: RecordedCode | None = None


class RecordedEfficiency(Part):
    """What a question costs by the schedule."""

    image_tokens: Whole | None = None
    image_tokens_per_layer: ListOfNumbers | None = None
    tflops: Number | None = None
    convention: Text | None = None
    kv_cache_bytes: Whole | None = None


class RecordedUsage(Part):
    """What a task's answers took."""

    model_seconds: Number | None = None
    images: Whole | None = None
    encoded: Whole | None = None


class RecordedJudge(Part):
    """The judge of a task."""

    model: Text | None = None


class RecordedDefinition(Part):
    """What a benchmark is that the registry doesn't have; the registry's entries have the same fields."""

    name: Text | None = None
    split: Text | None = None
    scale: Text | None = None
    direction: Text | None = None
    scoring: Text | None = None
    cluster: Text | None = None
    why: Text | None = None


class RecordedSubset(Part):
    """The questions of a task that a fixed subset has, and a hash of their ids."""

    name: Text
    ids_sha256: Text


class RecordedImport(Part):
    """What is known of an imported task.

    Attributes:
        scored_by: Whose scores they are.
        pairs_by: By what its questions are known: "content", "doc_id", "question_id".
        pictures_known: Whether it is known which questions are about one picture.
        unconfirmed: Why it isn't known whether these are all questions.
        claimed: The score that the other program says, on its own scale.
        other_version: That it is of another version of the task than was installed at the import.
    """

    scored_by: Text | None = None
    pairs_by: ListOfTexts | None = None
    pictures_known: Flag | None = None
    unconfirmed: Text | None = None
    claimed: Number | None = None
    other_version: Text | None = None


class RecordedTally(Part):
    """What a task's samples add up to, see `benchmarks.stored_tally`.

    Attributes:
        asked: A hash of the questions, in order.
        values: What comparisons compute with.
        samples: The first digits of `samples_sha256` of the file that it is of.
    """

    asked: Text
    values: Text
    samples: Text


class RecordedTask(Part):
    """The result of a task: scored, or with answers that need a judge.

    Attributes:
        definition: Of a benchmark that the registry doesn't have.
        samples_sha256: Of its file of samples; records of earlier versions have none.
        next_samples_sha256: Of the file that is about to replace it.
        tally: What the samples add up to; records of earlier versions have none.
    """

    benchmark: Text
    metric: Text | None = None
    status: Annotated[Literal["scored", "needs_judge"], Words("not one of scored, needs_judge")]
    score: Number | None = Field(None, validate_default=True)
    n: Annotated[int, Field(ge=1), Words("no whole number from 1")]
    stderr: Number | None = None
    clusters: Whole | None = None
    parts: Numbers | None = None
    scale: Text | None = None
    higher_is_better: Flag | None = None
    metrics: Numbers | None = None
    batch_size: Whole | None = None
    wall_seconds: Number | None = None
    usage: RecordedUsage | None = None
    retained_tokens_per_layer: ListOfNumbers | None = None
    image_tokens_mean: Number | None = None
    image_tokens_max: Whole | None = None
    tflops_mean: Number | None = None
    data_sha256: Text | None = None
    task_sha256: Text | None = None
    samples_sha256: Text | None = None
    next_samples_sha256: Text | None = None
    tally: RecordedTally | None = None
    predictions: InnerPath | None = None
    judge: RecordedJudge | None = None
    definition: RecordedDefinition | None = None
    subset: RecordedSubset | None = None
    imported: RecordedImport | None = None

    @validator("score")
    @classmethod
    def _score_suits_status(cls, score: float | None, info: ValidationInfo) -> float | None:
        status = info.data.get("status")
        if status is not None and (score is None) != (status == "needs_judge"):
            raise PydanticCustomError("status", f"although the task is {status}")
        return score


class Record(Part):
    """A run: its `record.json`."""

    run_id: Name
    number: int = Field(alias="schema")
    status: Annotated[
        Literal["started", "completed", "failed"], Words("not one of started, completed, failed")
    ]
    created: Time
    updated: Text | None = None
    command: Text | None = None
    error: Text | None = None
    seed: Whole | None = None
    limit: Whole | None = None
    subset: Text | None = None
    batch_size: NumberOrText | None = None
    processes: Whole | None = None
    model: RecordedModel
    strategy: RecordedStrategy
    suite: RecordedSuite | None = None
    inputs: RecordedInputs | None = None
    config: RecordedConfig | None = None
    changes: ListOfTexts | None = None
    identity: RecordedIdentity | None = None
    efficiency: RecordedEfficiency | None = None
    code: RecordedCode | None = None
    packages: Anything | None = None
    hardware: Anything | None = None
    budget: Anything | None = None
    imported: Anything | None = None
    resumed: List | None = None
    tasks: dict[str, RecordedTask]


class RecordedSample(Part):
    """A question and its answer: a line of `samples/<task>.jsonl`."""

    doc_id: NumberOrText | None = None
    question_id: Text | None = None
    prompt: Text | None = None
    answer: Text | None = None
    said: Text | None = None
    score: Number | None = None
    cluster: Whole | None = None
    part: Text | None = None
    content_sha256: Text | None = None
    images_sha256: Text | None = None
    prompt_tokens: Whole | None = None
    image_tokens: Whole | None = None
    image_tokens_per_layer: ListOfWholes | None = None
    new_tokens: Whole | None = None
    image_sizes: Sizes | None = None
    image_grids: Grids | None = None
    retained: Masks | None = None
    to_judge: Texts | None = None


def find_fault(record: dict[str, Any]) -> str | None:
    """What is wrong with a record of a schema that is known, in words after "it is damaged:"; or None."""
    return first_fault(Record, _with_statuses(record) if record["schema"] == 1 else record)


def read_sample(line: str) -> dict[str, Any]:
    """A sample from its line in a file. Raises ValueError, in words, for one that is damaged."""
    sample = parsed(line)
    fault = first_fault(RecordedSample, sample) if isinstance(sample, dict) else "a line holds no object"
    if fault:
        raise ValueError(fault)
    return sample


def read_samples(lines: Sequence[str]) -> list[dict[str, Any]] | None:
    """The samples of some lines, looked at together; None where one of them is damaged, or isn't alone."""
    try:
        found = parsed(f"[{','.join(lines)}]")
        _all_samples().validate_python(found)
    except ValueError:  # ValidationError is one
        return None
    return found if len(found) == len(lines) else None


@cache
def _all_samples() -> TypeAdapter[list[RecordedSample]]:
    return TypeAdapter(list[RecordedSample])


def _with_statuses(record: dict[str, Any]) -> dict[str, Any]:
    """A record of schema 1, where every task was scored and none said so."""
    tasks = record.get("tasks")
    if not isinstance(tasks, dict):
        return record
    scored = {**tasks}
    for name, task in tasks.items():
        if isinstance(task, dict):
            scored[name] = {"status": "scored", **task}
    return {**record, "tasks": scored}


def first_fault(kind: type[BaseModel], value: dict[str, Any]) -> str | None:
    """The first field that isn't of its kind, such as "its field 'model.name' is 3, no text"."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = repr(".".join(map(str, fault["loc"])))
        if fault["type"] == "missing" or (fault["input"] is None and fault["type"] != "status"):
            return f"its field {place} is missing"
        words = fault["msg"] if fault["type"] in ("kind", "status") else "no object"
        return f"its field {place} is {shortened(fault['input'])}, {words}"
    return None


if __name__ == "__main__":
    schemas = {"record": Record.model_json_schema(), "sample": RecordedSample.model_json_schema()}
    print(json.dumps(schemas, indent=1))
