"""Where lmms-eval's own task files lie."""

from importlib.util import find_spec
from pathlib import Path


def installed_tasks() -> Path | None:
    """The folder of lmms-eval's task files; None if it isn't installed. It is not imported."""
    spec = find_spec("lmms_eval")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "tasks"
