"""Where the project's own data lie, in a checkout and in an installed wheel."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(name: str) -> Path:
    """The folder `name` inside an installed wheel, or beside the package in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


CONF = _shipped("conf")
TASKS = _shipped("tasks")
MINI_CHECKPOINTS = PACKAGE / "models" / "checkpoints"  # of the miniatures, by name
MINI_CHECKPOINT = MINI_CHECKPOINTS / "mini"  # the smallest: tests and benchmarks of speed use it


def options(group: str) -> list[str]:
    """The choices of a group: the names of the YAML files in `conf/<group>`."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def cache_folder() -> Path:
    """Where what was made once is kept: `$PDROP_EVAL_CACHE`, else `~/.cache/pdrop-eval`."""
    return Path(os.environ.get("PDROP_EVAL_CACHE") or Path.home() / ".cache" / "pdrop-eval").expanduser()
