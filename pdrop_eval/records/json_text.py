"""The JSON of records and samples, of which a sweep has many: parsed in a third of the time.

pydantic's parser refuses all that `validation.parse` refuses but for numbers that are too large for a float,
which it takes for infinite: a look at what they would be written as finds them. Whatever isn't plainly right
is left to `parse`, whose words say what is wrong.
"""

from typing import Any

from pydantic_core import from_json, to_json

from pdrop_eval.utils.validation import parse


def parsed(text: str) -> Any:
    """The value of a JSON text, as `validation.parse` finds it. Raises ValueError as it does."""
    try:
        found = from_json(text, allow_inf_nan=False)
        if b"Infinity" not in to_json(found, inf_nan_mode="constants"):
            return found
    except ValueError:  # of pydantic's two, the one that a value can't be written is another one of its kind
        pass
    return parse(text)
