"""Presets: the official settings of a method at the token counts that papers compare."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.utils.errors import UserError

PATCHES, NEXT = 576, "next_"  # of a tile of CLIP ViT-L/14-336; what begins the names of LLaVA-NeXT's presets
_TILES = 5  # of LLaVA-NeXT, at most: the overview and four


def shares(setting: str) -> dict[str, dict[str, float]]:
    """Return the presets of a method whose setting is the share of an image's tokens that remains.

    Args:
        setting: its name.
    """
    one = {str(count): {setting: count / PATCHES} for count in (192, 128, 64)}
    return one | {f"{NEXT}{count}": {setting: count / (_TILES * PATCHES)} for count in (640, 320, 160)}


def fill(strategy: Any, usual: Mapping[str, Any], scaled: Sequence[str] = ()) -> None:
    """Give the settings of a strategy that are None the values of its preset, or else the usual ones.

    Args:
        strategy: its class has the table `presets`, and itself the field `preset`.
        usual: by setting, the value without a preset.
        scaled: settings that stay None where they aren't given: their values depend on the model's depth.

    Raises:
        UserError: an unknown preset, and one that says something else than a setting.
    """
    said = dict(usual)
    if strategy.preset is not None:
        strategy.preset = str(strategy.preset)
        if strategy.preset not in strategy.presets:
            raise UserError(
                f"preset={strategy.preset!r} is not allowed: {strategy.display_name} has "
                f"{', '.join(strategy.presets) or 'none'}."
            )
        said |= strategy.presets[strategy.preset]
        for name, value in strategy.presets[strategy.preset].items():
            if getattr(strategy, name) not in (None, value):
                raise UserError(
                    f"preset={strategy.preset} says {name}={value}, and {name}={getattr(strategy, name)} is "
                    "given beside it: leave one of them out (null on the command line)."
                )
    for name, value in said.items():
        if name not in scaled and getattr(strategy, name) is None:
            setattr(strategy, name, value)


def preset_note(strategy: Any, counts: str, num_layers: int, image_tokens: int) -> list[str]:
    """Return what a record says of a preset in the decoder: what its number counts, and what it came to.

    Args:
        strategy: of which nothing is said without a preset.
        counts: "mean", image tokens a layer in the mean over the layers; "final", those left in the end.
        num_layers: the model's depth.
        image_tokens: of an image, before any drop.
    """
    if strategy.preset is None:
        return []
    what = {
        "mean": "image tokens a layer in the mean over the layers",
        "final": "the final count as its paper counts",
    }[counts]
    mean = sum(strategy.schedule(num_layers, image_tokens)) / num_layers
    left = strategy.retained(num_layers, image_tokens)[-1]
    most = "at most " if strategy.adaptive else ""
    return [
        f"preset={strategy.preset} is {what}: {most}{mean:.4g} of {image_tokens} a layer here, and {left} in "
        "the end."
    ]


def check_preset(strategy: Any, shape: TokenShape) -> None:
    """Refuse a preset for images that it isn't made for.

    Raises:
        UserError: otherwise.
    """
    preset = strategy.preset
    if preset is None:
        return
    several = preset.startswith(NEXT)
    if shape.patches != PATCHES or (shape.tiles > 1) != several:
        kinds = {False: f"one tile of {PATCHES} patches", True: f"several tiles of {PATCHES} patches"}
        if shape.patches == PATCHES and shape.tiles > 1:
            fix = f"take one of the presets {NEXT}*"
        elif shape.patches == PATCHES:
            fix = "take a preset without next_"
        else:
            fix = "give the settings themselves, or a budget"
        raise UserError(
            f"preset={preset} of {strategy.display_name} is made for {kinds[several]} (LLaVA-"
            f"{'NeXT' if several else '1.5'}), and an image here has {shape.tiles} of {shape.patches}: {fix}."
        )
