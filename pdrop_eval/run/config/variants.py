"""An entry of a list of strategies, as bench and sweep take it: a name, or a name with settings. No torch."""

from collections.abc import Collection, Mapping
from typing import Any

from pdrop_eval.strategies.combinations import check_name
from pdrop_eval.strategies.make import combination_of, make_strategy, without_torch
from pdrop_eval.utils.errors import UserError


def read_entry(entry: Any, more: Collection[str] = ()) -> tuple[str, dict[str, Any]]:
    """Read `fastv`, `{pdrop: {ratio: 0.4}}` or `{combine: [visionzip, pdrop]}`.

    Args:
        entry: One of the list `strategies`.
        more: Names that are allowed beside those of `conf/strategy`.

    Returns:
        The name, and the settings that are given.

    Raises:
        UserError: An unknown name, or what is no entry.
    """
    name, fields = entry, None
    if isinstance(entry, Mapping):
        if len(entry) != 1:
            raise UserError(
                f"strategies has {entry}: write one strategy with its settings, {{pdrop:{{ratio:0.4}}}}."
            )
        ((name, fields),) = entry.items()
        if name == "combine":
            name, fields = combination_of(fields, "strategies' combine")
    check_name(str(name), more=more)
    if fields is not None and not isinstance(fields, Mapping):
        raise UserError(f"strategies has {name}: {fields!r}; write its settings by name, {{ratio:0.4}}.")
    return str(name), dict(fields or {})


def label_of(name: str, fields: Mapping[str, Any]) -> str:
    """Return an entry in words: `pdrop ratio=0.4`."""
    return " ".join([name, *(f"{key}={value}" for key, value in fields.items())])


def check_entry(name: str, fields: Mapping[str, Any]) -> None:
    """Refuse settings that the strategy refuses, as far as its file says it without torch.

    Raises:
        UserError: With the entry's name.
    """
    try:
        without_torch(lambda: make_strategy(name, fields))
    except UserError as error:
        raise UserError(f"strategies has {label_of(name, fields)}: {error}") from error
