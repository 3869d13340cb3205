"""The model families, one file each. A file is imported when its family is first asked for.

Names are known without torch, and a family's file imports none until it has to handle tensors.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pdrop_eval.models.family import Family, MultimodalFamily
from pdrop_eval.models.text_model import check_text_type
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice

# Types of config.json that people ask for, and why they aren't here.
REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ("gemma3", "gemma3n", "gemma4"),
        "its image tokens see each other in both directions and most of its layers see a window only, which "
        "tokens that are dropped would move; use another family",
    ),
    "internvl_chat": "it needs code of its own; use the conversion whose name ends in -hf (-HF)",
    **dict.fromkeys(
        ("llavaonevision1_5", "llava_onevision1_5"),
        "it needs code of its own, which transformers doesn't have; use LLaVA-OneVision (llava_onevision)",
    ),
    "qwen2_5_omni": "it hears and speaks, too; use Qwen2.5-VL (qwen2_5_vl)",
    "qwen3_vl_moe": "its feed-forward chooses experts, whose cost isn't counted; use Qwen3-VL (qwen3_vl)",
    "idefics3": "its processor and tiles are like SmolVLM's, which is used as a model only",
}


@cache
def names() -> tuple[str, ...]:
    """Return the names of all families: the `model_type`s of their transformers configs."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def module_of(name: str) -> str:
    """Return the module of a family by its name, without importing it."""
    return f"{__name__}.{name}"


def get(name: str) -> Family:
    """Return a family by its name.

    Raises:
        UserError: an unknown name.
    """
    check_choice("model family", name, names())
    family: Family = import_module(module_of(name)).FAMILY
    return family


def multimodal(name: str) -> MultimodalFamily:
    """Return a family that takes images, by its name.

    Raises:
        UserError: an unknown name, or a bare decoder's.
    """
    family = get(name) if name in names() else None
    if not isinstance(family, MultimodalFamily):
        check_choice("vision-language model", name, [one.name for one in all_multimodal()])
        raise AssertionError(name)
    return family


@cache
def all_multimodal() -> tuple[MultimodalFamily, ...]:
    """Return every family that takes images; this imports all files."""
    return tuple(family for family in map(get, names()) if isinstance(family, MultimodalFamily))


def is_multimodal(name: Any) -> bool:
    """Tell whether a `model_type` is that of a family that takes images."""
    return name in names() and get(name).multimodal


def why_refused(name: Any) -> str | None:
    """Return why a `model_type` that people ask for isn't here, or None. A config may say anything there."""
    return REFUSED.get(name) if isinstance(name, str) else None


def type_of(config: Any) -> Any:
    """Return the `model_type` of a transformers config or of a config.json, or None."""
    return config.get("model_type") if isinstance(config, Mapping) else getattr(config, "model_type", None)


def of_config(config: Any) -> Family | None:
    """Return the family of a transformers config or of a config.json; None if it is of none."""
    name = type_of(config)
    return get(name) if name in names() else None


def multimodal_of(config: Any) -> MultimodalFamily:
    """Return the family of the config of a vision-language model.

    Raises:
        UserError: a config of another kind.
    """
    return multimodal(str(type_of(config)))


def of_model(model: Any) -> Family:
    """Return the family of a model, whose text model it can work with.

    Raises:
        UserError: a model of no family, a wrapped one, or one with another text model.
    """
    family = of_config(getattr(model, "config", None))
    if family is None or family.model_class not in [cls.__name__ for cls in type(model).__mro__]:
        known = ", ".join(get(name).model_class for name in names())
        raise UserError(
            f"{type(model).__name__} is not a known model family: use one of {known} (unwrapped: the model "
            "itself, not a data-parallel or adapter wrapper around it)."
        )
    text = model.config.get_text_config().model_type
    check_text_type(type(model).__name__, text, family.text_types)
    return family


def of_architecture(architecture: str) -> MultimodalFamily:
    """Return the family of an architecture as `conf/model` and the records name it, such as "llava-1.5".

    Raises:
        UserError: an unknown one.
    """
    known = {family.architecture: family for family in all_multimodal()}
    check_choice("architecture", architecture, known)
    return known[architecture]


@cache
def display_names() -> dict[str, str]:
    """Return the name in tables and figures of each architecture."""
    return {family.architecture: family.display_name for family in all_multimodal()}


@cache
def published() -> dict[str, tuple[MultimodalFamily, str]]:
    """Return the family and the size of every published model whose sizes are known, by its name."""
    return {
        f"{family.published_prefix}_{size}": (family, size)
        for family in all_multimodal()
        for size in family.published
    }


def published_name(architecture: str, size: str) -> str | None:
    """Return the name of the published model of an architecture and a size, or None."""
    found = [
        name
        for name, (family, known) in published().items()
        if (family.architecture, known) == (architecture, size)
    ]
    return found[0] if found else None


def published_config(name: str, anyres: Any = None) -> Any:
    """Return the transformers config of a published model, so that a random one needs no download.

    Args:
        name: in `published()`, such as "llava_1_5_7b".
        anyres: grids of tiles (see `models.tiling`); None: the published ones.

    Raises:
        UserError: an unknown name.
    """
    check_choice("published model", name, published())
    family, size = published()[name]
    return family.published_config(size, anyres)


def published_text(name: str) -> tuple[str, dict[str, Any]]:
    """Return the family of a published model, and of its config.json what is known without transformers.

    Args:
        name: in `published()`, such as "llava_1_5_7b".
    """
    family, size = published()[name]
    return family.name, {"model_type": family.name, "text_config": dict(family.published[size])}
