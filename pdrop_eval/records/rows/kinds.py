"""The kinds of a record's fields, each with the words for a value that isn't of it."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict
from pydantic_core import core_schema

from pdrop_eval.utils.validation import is_inner_path, is_plain_name

_MOST = 2**53  # the largest whole number that all programs read alike
_SIDE = 10_000  # rows or columns of a grid of image tokens


class Words:
    """Says of a value that doesn't fit what it isn't: one message for all of a list or an object."""

    def __init__(self, words: str):
        self.words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="kind", custom_error_message=self.words
        )


def must(fits: Callable[[Any], Any]) -> AfterValidator:
    """Refuses the values of which `fits` is false, or that it can't take."""

    def check(value: Any) -> Any:
        if not fits(value):
            raise ValueError
        return value

    return AfterValidator(check)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return False
    return True


Text = Annotated[str, Words("no text")]
Flag = Annotated[bool, Words("no true or false")]
Whole = Annotated[int, Field(ge=0, le=_MOST), Words("no whole number from 0")]
Number = Annotated[float, Field(ge=-1e300, le=1e300), Words("no number")]
NumberOrText = Annotated[Number | str, Words("no number or text")]
Name = Annotated[str, must(is_plain_name), Words("no plain name of a folder")]
InnerPath = Annotated[str, must(is_inner_path), Words("no path beneath the run's folder")]
Time = Annotated[str, must(_is_time), Words("no time in ISO form")]
Anything = Annotated[dict[str, Any], Words("no object")]
Texts = Annotated[dict[str, str], Words("no object of texts")]
Numbers = Annotated[dict[str, Number], Words("no object of numbers")]
List = Annotated[list[Any], Words("no list")]
ListOfTexts = Annotated[list[str], Words("no list of texts")]
ListOfNumbers = Annotated[list[Number], Words("no list of numbers")]
ListOfWholes = Annotated[list[Whole], Words("no list of whole numbers from 0")]
_Lax = Strict(False)  # JSON has no tuples: a list is one
Sizes = Annotated[list[Annotated[tuple[Whole, Whole], _Lax]], Words("no list of [width, height]")]
Masks = Annotated[list[Annotated[tuple[Whole, str], _Lax]], Words("no list of [layer, mask]")]
# A grid of `TokenGrid`. It may have no row or no column: LLaVA-NeXT takes all tiles of a line of 3000x30
# pixels for padding.
_Side = Annotated[int, Field(ge=0, le=_SIDE)]
_Grid = Annotated[tuple[Whole, str, Number, Number, Number, Number, _Side, _Side, bool], _Lax]
Grids = Annotated[list[_Grid], Words("no list of grids of image tokens")]
