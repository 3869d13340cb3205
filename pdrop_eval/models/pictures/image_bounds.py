"""How large a picture may be to a model that takes it at its own size, by the user. Needs no torch."""

from dataclasses import dataclass, fields
from typing import Any

from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class ImageBounds:
    """Settings of a processor; None leaves the checkpoint's own.

    Attributes:
        min_pixels: pixels that a picture is enlarged to at least (Qwen-VL).
        max_pixels: pixels that a picture is shrunk to at most (Qwen-VL).
        max_patches: tiles that a picture is cut into at most, without the thumbnail (InternVL).
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    max_patches: int | None = None

    def given(self) -> dict[str, int]:
        """Return the settings that are set, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


NO_BOUNDS = ImageBounds()


def check_bounds(bounds: ImageBounds, taken: tuple[str, ...], family: str) -> None:
    """Refuse settings that a family's processor doesn't have, or that can't be.

    Args:
        bounds: the settings.
        taken: the names of those that the family's processor has.
        family: its name, for the message.

    Raises:
        UserError: with the setting to use.
    """
    for name, value in bounds.given().items():
        if name not in taken:
            own = f" It has {', '.join(f'model.{one}' for one in taken)}." if taken else ""
            raise UserError(
                f"model.{name}={value} is no setting of {family}'s processor.{own} Use model.{name}=null."
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"model.{name}={value!r} is not allowed: use a whole number from 1 up, or null.")


def check_range(least: Any, most: Any, side: int) -> None:
    """Refuse bounds in pixels that no picture fits between.

    Args:
        least: pixels of a picture at least.
        most: pixels at most.
        side: pixels of a token's side.

    Raises:
        UserError: with what to change.
    """
    if least > most:
        raise UserError(
            f"model.min_pixels={least} is more than model.max_pixels={most}: no picture fits between them. "
            "Set both."
        )
    if most < side**2:
        raise UserError(
            f"model.max_pixels={most} is less than one image token covers: use at least {side**2} "
            f"({side}x{side} pixels)."
        )
