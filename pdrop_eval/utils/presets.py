"""The presets in `conf/`, without Hydra, which is slow: what there is to choose from, with its values.

They say what can be run: which command measures what is missing, and the defaults of records from before
schema 3. What was run, its record says; a report doesn't look it up here.
"""

from functools import cache
from pathlib import Path
from typing import Any

from pdrop_eval.utils.paths import CONF

DEFAULT_MODEL = "mini576"  # of a run that names none
DEFAULT_SIZE = "mini576"  # of the models of an experiment that names none


@cache
def presets(group: str, conf: Path = CONF) -> dict[str, dict[str, Any]]:
    """Return the YAML files of a config group by name, each with what it takes over from the others."""
    return {path.stem: _inherited(path) for path in sorted((conf / group).glob("*.yaml"))}


@cache
def read_yaml(path: Path) -> dict[str, Any]:
    """Return the values of a file, interpolations as they are written; empty where there is none."""
    from omegaconf import OmegaConf

    loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path.is_file() else None
    return {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else {}


def _inherited(path: Path) -> dict[str, Any]:
    """A file with the files of its own `defaults` list beneath it."""
    own = dict(read_yaml(path))
    bases = [entry for entry in own.pop("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    merged: dict[str, Any] = {}
    for base in bases:
        merged |= _inherited(path.with_name(f"{base}.yaml"))
    return merged | own


def suite_of(size: str) -> str:
    """Return the suite that models of a size are run on: the real data for 7B, else the rendered one."""
    return "paper" if size == "7b" else "mini"


def model_configs() -> dict[str, dict[str, Any]]:
    """Return the models that have a checkpoint by name, each with what it takes over from another one."""
    return {name: model for name, model in presets("model").items() if "pretrained" in model}
