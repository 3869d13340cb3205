"""What the records of a comparison say of themselves, and where they differ: it stands in every output."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pdrop_eval.records.imported import is_imported
from pdrop_eval.report.compare.runs import BASELINE, CANDIDATE, Side

# Settings that change no answer by themselves, or that have a line of their own.
_LEFT_OUT = (
    "results", "judge", "data", "runs", "size", "tasks", "workers", "feature_cache", "prefix_memory", "log"
)  # fmt: skip
_CODE = ("version", "commit", "dirty")
_MACHINE = ("cpu", "gpus")
_SHORT = 12  # letters of a hash that are shown


def facts(side: Side) -> dict[str, Any]:
    """Where a run's numbers come from: enough to find it again."""
    record = side.record or {}
    model, identity = record["model"], record.get("identity") or {}
    return {
        "role": side.role,
        "name": side.name,
        "run_id": record["run_id"],
        "folder": record.get("folder"),
        "command": record.get("command"),
        "created": record.get("created"),
        "strategy": record["strategy"],
        "overrides": list(side.overrides),
        "model": {key: model.get(key) for key in ("name", "pretrained", "sha256", "commit", "revision")},
        "suite": record.get("suite"),
        "limit": record.get("limit"),
        "subset": record.get("subset"),
        "dtype": model.get("dtype"),
        "device": _of(record, "config", "device"),
        "code": {**(record.get("code") or {}), "sha256": (identity.get("code") or {}).get("sha256")},
        "packages": record.get("packages"),
        "hardware": record.get("hardware"),
        "efficiency": record.get("efficiency"),
    }


def differences(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Return what differs between baseline and candidate, except for the strategy.

    Returns:
        For each difference `what` differs, both values, and `asked`: whether the overrides of one side set
        it, so that it is intended.
    """
    compared = [side for side in sides if side.role in (BASELINE, CANDIDATE)]
    one, other = map(_described, compared)
    asked = {override.partition("=")[0].lstrip("+~") for side in compared for override in side.overrides}
    return [
        {
            "what": what,
            "baseline": one[what],
            "candidate": other[what],
            "asked": any(what.startswith(key) for key in asked),
        }
        for what in one
        if what in other and one[what] != other[what]  # a setting that an older record doesn't know is none
    ]


def warnings(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """The differences that nobody asked for, in words."""
    return [
        f"{one['what']} differs: {_short(one['baseline'])} (baseline), {_short(one['candidate'])} (candidate)"
        for one in found
        if not one["asked"]
    ]


def _described(side: Side) -> dict[str, Any]:
    """What decides a run's numbers, flat; of two models only their names and weights."""
    record = side.record or {}
    config, model = record.get("config") or {}, record["model"]
    plain = {key: value for key, value in config.items() if key not in (*_LEFT_OUT, "strategy", "model")}
    settings = _flat(plain)
    settings |= _flat({"model": {k: v for k, v in (config.get("model") or {}).items() if k in _OF_MODEL}})
    settings |= {"model": model.get("name"), "model weights": model.get("sha256") or model.get("commit")}
    settings |= {"model dtype": model.get("dtype")} if "dtype" not in config else {}
    for name in _CODE:
        settings[f"code {name}"] = _of(record, "code", name)
    settings["code that decides"] = _of(record.get("identity") or {}, "code", "sha256")
    settings |= {f"package {name}": v for name, v in (record.get("packages") or {}).items()}
    settings |= {f"machine's {name}": _of(record, "hardware", name) for name in _MACHINE}
    if is_imported(record):
        settings = {name: value for name, value in settings.items() if value is not None}
    shas = {task: entry.get("data_sha256") for task, entry in record["tasks"].items()}
    return settings | {f"data of {task}": sha for task, sha in shas.items() if sha or not is_imported(record)}


def imports(sides: Sequence[Side]) -> list[str]:
    """Return a sentence for each side that was imported: nothing that isn't known of it is a difference."""
    return [
        f"the {side.role} is imported: its weights, settings, code, FLOPs and machine are not known"
        for side in sides
        if is_imported(side.record or {})
    ]


_OF_MODEL = (
    "anyres",
    "image_processing",
    "chat_template",
    "max_new_tokens",
    "trust_remote_code",
    "threads",
    "generation",
)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def _of(record: Mapping[str, Any], part: str, name: str) -> Any:
    return (record.get(part) or {}).get(name)


def _short(value: Any) -> str:
    if value is None:
        return "not recorded or null"
    text = str(value)
    return text[:_SHORT] if len(text) >= 40 and all(c in "0123456789abcdef" for c in text) else text
