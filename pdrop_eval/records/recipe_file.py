"""What `pdrop-eval-calibrate` writes: settings of a strategy for a model, and where they come from.

    python -m pdrop_eval.records.recipe_file

prints the JSON schema. A strategy reads the parts that it needs by `strategies.recipe`, without pydantic.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pdrop_eval.records.rows.kinds import Anything, Flag, List, Name, Number, Text, Texts, Time, Whole, Words
from pdrop_eval.records.schema import Part, first_fault
from pdrop_eval.strategies.recipe import FORMAT, VERSION
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text, write_atomically, writing_to
from pdrop_eval.utils.validation import parse, to_plain

Layers = Annotated[int, Field(ge=1), Words("no whole number from 1")]


class RecipeModel(Part):
    """The model that the settings belong to."""

    name: Text
    pretrained: Text
    revision: Text | None = None
    commit: Text | None = None
    sha256: Text
    family: Text | None = None
    layers: Layers
    image_tokens: Whole | None = None


class RecipeQuestions(Part):
    """The questions that were asked.

    Attributes:
        split: calibration: no evaluation asks them; evaluation: those of the suite itself.
        tasks: the number of questions of each task.
        sha256: of the hashes of prompt and pixels of all questions, in their order.
        data_sha256: of each task's data.
    """

    suite: Text
    source: Text
    split: Annotated[Literal["calibration", "evaluation"], Words("not one of calibration, evaluation")]
    seed: Whole
    n: Layers
    tasks: Annotated[dict[str, Whole], Words("no object of whole numbers")]
    sha256: Text
    data_sha256: Texts


class RecipeRule(Part):
    """How the settings were chosen.

    Attributes:
        name: of the rule: a strategy's own, or search.
        settings: of the rule.
        found: what it found beside the strategy's settings.
    """

    name: Text
    words: Text
    settings: Anything
    found: Anything | None = None


class Tried(Part):
    """One of the settings that were tried.

    Attributes:
        settings: of the strategy.
        loss: the mean divergence from the model with all image tokens.
        stderr: of the mean.
        agreement: the share of the questions whose answer begins with the same token.
        tokens: image tokens a layer, in the mean.
        usual: whether a budget alone gives these.
        cost: multiply-adds, as a share of those without removal.
    """

    settings: Anything
    loss: Number | None = None
    stderr: Number | None = None
    agreement: Number | None = None
    tokens: Number | None = None
    usual: Flag | None = None
    cost: Number | None = None


class RecipeMade(Part):
    """With what it was made; `preset` is the strategy's file in `conf/strategy`."""

    at: Time
    command: Text
    preset: Text
    seed: Whole
    code: Anything
    packages: Texts
    config: Anything


class RecipeFile(Part):
    """A recipe: a file that `pdrop-eval-calibrate` has written."""

    format: Annotated[Literal["pdrop-eval recipe"], Words(f"not {FORMAT}")]
    version: Annotated[Literal[1], Words(f"not {VERSION}")]
    strategy: Name
    settings: Anything
    model: RecipeModel
    questions: RecipeQuestions
    rule: RecipeRule
    tried: Annotated[list[Tried], Words("no list of settings")]
    budget: Anything | None = None
    made: RecipeMade
    identity: Anything
    notes: List | None = None


def write_recipe(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Write a recipe, whole or not at all; returns it as it can be read again.

    Raises:
        UserError: the file can't be written.
        ValueError: a bug: the document isn't what the schema says.
    """
    plain = to_plain(document)
    if fault := first_fault(RecipeFile, plain):
        raise ValueError(f"the recipe isn't what its schema says: {fault}")
    with writing_to(path.parent):
        write_atomically(path, json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    return dict(plain)


def read_recipe_file(path: Path) -> dict[str, Any] | None:
    """A recipe with all that it says; None where there is no file.

    Raises:
        UserError: what lies there is no recipe.
    """
    try:
        found = parse(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _no_recipe(path, str(error)) from error
    fault = first_fault(RecipeFile, found) if isinstance(found, dict) else "it holds no object"
    if fault:
        raise _no_recipe(path, fault)
    return dict(found)


def _no_recipe(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is no recipe that could be gone on with: {why}. Move it away, or replace it: again=true."
    )


if __name__ == "__main__":
    print(json.dumps(RecipeFile.model_json_schema(), indent=1))
