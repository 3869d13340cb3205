"""The settings `prefix_cache` and `prefix_memory`: what they may be. Needs no torch."""

from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, is_finite_number

AUTO, ON, OFF = CHOICES = ("auto", "on", "off")
GIB = 1 << 30


def setting_of(value: Any) -> str:
    """Return the choice; YAML reads on and off as true and false.

    Raises:
        UserError: none of the choices.
    """
    if isinstance(value, bool):
        value = ON if value else OFF
    if isinstance(value, str) and value.lower() in ("true", "false"):  # by lmms-eval
        value = ON if value.lower() == "true" else OFF
    check_choice("prefix_cache", value, CHOICES)
    return str(value)


def check_memory(gib: Any, total: int | None = None) -> None:
    """Refuse what is no memory, or more than there is.

    Args:
        gib: the setting, in GiB.
        total: bytes of the device's memory, where they are known.

    Raises:
        UserError: with what is allowed.
    """
    number = gib
    if isinstance(gib, str):  # by lmms-eval
        try:
            number = float(gib)
        except ValueError:
            number = None
    if not is_finite_number(number) or number <= 0:
        raise UserError(
            f"prefix_memory={gib} is not allowed: use a number of GiB above 0, such as 2. With "
            "prefix_cache=off, nothing is held."
        )
    if total is not None and number * GIB > total:
        raise UserError(
            f"prefix_memory={gib} is more than the {total / GIB:.1f} GiB of memory that there are: use less, "
            "beside what model and batches take."
        )


def refuse(reason: str) -> None:
    """Refuse `prefix_cache=on`, if there is a reason. Raises UserError."""
    if reason:
        raise UserError(f"prefix_cache=on is not possible: {reason}. Use prefix_cache=auto, or off.")
