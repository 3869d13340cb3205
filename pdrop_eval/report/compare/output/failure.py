"""What stands in the place of a comparison that there is none of, and how every document begins."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pdrop_eval import __version__
from pdrop_eval.report.compare.place import asked
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.text.redact import redact_all

if TYPE_CHECKING:
    from pdrop_eval.report.compare.settings import Settings

SCHEMA = 1
PASSED, REGRESSED, NOT_COMPARED = "passed", "regressed", "not compared"
EXIT = {PASSED: 0, REGRESSED: 1, NOT_COMPARED: 2}


def head(settings: "Settings | None") -> dict[str, Any]:
    """What every document begins with; no settings where they could not be read."""
    return {
        "schema": SCHEMA,
        "kind": "pdrop-eval comparison",
        "version": __version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([script("pdrop-eval-compare"), *sys.argv[1:]]),
        "settings": {**asdict(settings), "out": str(settings.out)} if settings else None,
        "files": None,
    }


def failed_document(arguments: Sequence[str], settings: "Settings | None", reason: str) -> dict[str, Any]:
    """The document of a command line that could not be followed, for the reason given."""
    sides = {role: {"name": name} for role, name in asked(arguments).items()}
    verdict = {"status": NOT_COMPARED, "words": reason, "checks": []}
    begin = {**head(settings), "verdict": verdict, "exit": EXIT[NOT_COMPARED], "runs": sides}
    empty: dict[str, Any] = {"overall": None, "groups": None}
    lists = ("benchmarks", "left_out", "method", "differences", "warnings")
    return redact_all({**begin, **empty, **{name: [] for name in lists}})
