"""Whether the gaps in position ids are closed after a drop: what a strategy says, and what a family allows.

Importing this needs no torch.
"""

from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_setting


class UnsetPositions(str):
    """A strategy's `positions` that nobody has asked for: "keep" is taken where there is no other way."""


RENUMBER_IF_POSSIBLE = UnsetPositions("renumber")


def check_positions(given: Any) -> None:
    """Refuse what is neither "keep" nor "renumber". Raises UserError."""
    check_setting("positions", given, ("keep", "renumber"))


def settled_positions(positions: str, model: str, can_renumber: bool) -> str:
    """Return "keep" or "renumber".

    The position ids of M-RoPE say where on an image a token lies, so there is no renumbering them.

    Args:
        positions: the strategy's.
        model: for the message.
        can_renumber: whether the model's family allows it.

    Raises:
        UserError: "renumber" was asked for, and can't be; with the setting to use.
    """
    if positions == "renumber" and not can_renumber:
        if isinstance(positions, UnsetPositions):
            return "keep"
        raise UserError(
            f"positions='renumber' is not possible with {model}, whose position ids say where on an image a "
            "token lies: use positions='keep'."
        )
    return str(positions)
