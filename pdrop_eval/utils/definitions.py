"""What records say of benchmarks that the registry doesn't have: remembered as the records are read.

A record is complete in itself. Whoever reads it, on another machine and without the task or the data, knows
from it how the benchmark is called and scored.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_FIELDS = ("name", "task", "split", "metric", "scale", "direction", "scoring", "cluster", "why")
_DECIDES = ("task", "metric", "scale", "direction", "scoring")  # scores of others don't compare
_known: dict[str, dict[str, Any]] = {}


def remember(key: str, definition: Mapping[str, Any]) -> str:
    """Remembers a benchmark; returns the key that it goes by.

    It is another one than given where a record that was read before says something else of that key: two
    benchmarks of one name then stand beside each other.
    """
    said = {name: definition[name] for name in _FIELDS if definition.get(name) is not None}
    first = _known.setdefault(key, said)
    if _decisive(first) == _decisive(said):
        return key
    other = f"{key}-{hashlib.sha256(_decisive(said).encode()).hexdigest()[:6]}"
    _known.setdefault(other, {**said, "name": f"{said.get('name', key)} ({said.get('metric', 'other')})"})
    return other


def known() -> dict[str, dict[str, Any]]:
    """All that is remembered, by key."""
    return _known


def _decisive(said: Mapping[str, Any]) -> str:
    return json.dumps([said.get(name) for name in _DECIDES], default=str)
