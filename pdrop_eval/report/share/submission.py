"""What a shared folder of results says of itself: `submission.yaml` beside its records."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text

FILE = "submission.yaml"
LICENSES = ("CC0-1.0", "CC-BY-4.0", "Apache-2.0", "MIT")

_NEEDED = f"title, by and license ({', '.join(LICENSES)})"


def _plain(text: str) -> str:
    if not text.isprintable() or text != text.strip() or set(text) & set("<>`"):
        raise ValueError("it must be a line of plain text, without < > and backticks")
    return text


def _licence(text: str) -> str:
    if text not in LICENSES:
        raise ValueError(f"it must be one of {', '.join(LICENSES)}")
    return text


_Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]


class Submission(BaseModel):
    """Who shares results, and under what licence.

    Attributes:
        title: What was measured, in a line.
        by: A name or handle of whoever ran it.
        license: That others may use the answers under.
        hardware: On what it ran, in a line.
        command: The command of the sweep.
        notes: What a reader should know.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: _Line
    by: _Line
    license: Annotated[str, AfterValidator(_licence)]
    hardware: _Line | None = None
    command: Annotated[str, Field(max_length=1000)] | None = None
    notes: Annotated[str, Field(max_length=2000)] | None = None


def read_submission(folder: Path) -> Submission:
    """Return what a folder says of itself.

    Raises:
        UserError: It says nothing, or something isn't allowed.
    """
    path = folder / FILE
    try:
        found = yaml.safe_load(read_text(path))
        if not isinstance(found, dict):
            raise UserError(f"{path}: write fields with values: {_NEEDED}.")
        return Submission.model_validate(found)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing. It says {_NEEDED}, and may say hardware, command and notes."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        known = ", ".join(Submission.model_fields)
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {said} (fields: {known}).") from error
