"""Where the project's own data lie, in a checkout and in an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _shipped(name: str) -> Path:
    """The folder `name` inside an installed wheel, or beside the package in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


CONF = _shipped("conf")
TASKS = _shipped("tasks")
MINI_CHECKPOINT = PACKAGE / "mini" / "checkpoint"
MINI_CHECKPOINTS = PACKAGE / "mini" / "checkpoints"  # of the other miniatures, by name
MINI_BASE = MINI_CHECKPOINTS / "mini_base"  # what all of them go back to
