"""Records of earlier versions, brought to the present schema when they are read.

The files stay as they are.

Schema 2 knows more of a model (architecture, tiles, size, how it was trained) and the state of a task
(`scored`, or `needs_judge`). Schema 3 has the strategy's settings once, says which settings are not the
default (`changes`), and knows what each task was (`task_sha256`); its identity has a hash of the settings.
"""

from typing import Any

from pdrop_eval.models import families
from pdrop_eval.records.rows.overrides import recorded_settings
from pdrop_eval.records.run_identity import settings_sha256

SCHEMA = 3

_SIZES = {"mini": "mini", "llava_1_5_7b": "7b", "llava_next_7b": "7b"}


def migrate(record: dict[str, Any]) -> dict[str, Any]:
    """The record in the present schema. Raises ValueError with the reason if it can't be had."""
    written = record["schema"]
    found = _from_1(record) if written == 1 else record
    found = _settings_once(found) if "strategy" in (found.get("config") or {}) else found
    return found if written == SCHEMA else {**_from_2(found), "schema": SCHEMA, "migrated_from": written}


def _settings_once(record: dict[str, Any]) -> dict[str, Any]:
    """The strategy's settings, which stood in the configuration too."""
    strategy = record["strategy"]
    parts = recorded_settings(record["config"], strategy["name"], strategy.get("fields"))
    return {**parts, **record, "config": parts["config"], "strategy": {**strategy, **parts["strategy"]}}


def _from_2(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 had a configuration in its identity, and the data of all tasks."""
    identity = {**(record.get("identity") or {})}
    if not isinstance(config := identity.pop("config", None), dict):
        return record
    return {**record, "identity": {**identity, "settings_sha256": settings_sha256(config), "data_sha256": {}}}


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """What schema 1 left out is known: all of its models were trained without dropping."""
    model = record["model"]
    if not families.is_multimodal(model.get("family")):
        raise ValueError(f"it doesn't name the model's family (found: {model.get('family')!r})")
    family = families.multimodal(model["family"])
    known = {
        "architecture": family.architecture,
        "patches": family.default_patches(),
        "size": _SIZES.get(model["name"], model["name"]),
        "train": "vanilla",
        "train_ratio": None,
        "anyres": None,
        "system_prompt": None,
        "training": None,
    }
    tasks = {name: {"status": "scored", **entry} for name, entry in record["tasks"].items()}
    return {**record, "model": {**known, **model}, "tasks": tasks}
