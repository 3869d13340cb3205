"""Records of earlier versions, brought to the present schema when they are read.

The files stay as they are.

Schema 2 knows more of a model (architecture, tiles, size, how it was trained) and the state of a task
(`scored`, or `needs_judge`).
"""

from typing import Any

SCHEMA = 2

_ARCHITECTURES = {"llava": ("llava-1.5", 1), "llava_next": ("llava-next", 5)}
_SIZES = {"mini": "mini", "llava_1_5_7b": "7b", "llava_next_7b": "7b"}


def migrate(record: dict[str, Any]) -> dict[str, Any]:
    """The record in the present schema. Raises ValueError with the reason if it can't be had."""
    return _from_1(record) if record["schema"] == 1 else record


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """What schema 1 left out is known: all of its models were trained without dropping."""
    model = record["model"]
    if model.get("family") not in _ARCHITECTURES:
        raise ValueError(f"it doesn't name the model's family (found: {model.get('family')!r})")
    architecture, patches = _ARCHITECTURES[model["family"]]
    known = {
        "architecture": architecture,
        "patches": patches,
        "size": _SIZES.get(model["name"], model["name"]),
        "train": "vanilla",
        "train_ratio": None,
        "anyres": None,
        "system_prompt": None,
        "training": None,
    }
    tasks = {name: {"status": "scored", **entry} for name, entry in record["tasks"].items()}
    return {**record, "schema": SCHEMA, "migrated_from": 1, "model": {**known, **model}, "tasks": tasks}
