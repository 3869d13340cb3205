"""The console script `pdrop-eval-check-results`: whether shared results can be taken."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.run.config.compose import check_settings
from pdrop_eval.run.config.typed import typed_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.validation import is_finite_number


@console_script
def main() -> None:
    """Checks submissions."""
    cli.run(_job, "check-results", check_settings)


@dataclass(frozen=True)
class Settings:
    """What `pdrop-eval-check-results` is asked for; `conf/check-results.yaml` says what each setting is."""

    root: str
    max_file_mb: Any
    max_mb: Any


def _job(composed: Any) -> None:
    from pdrop_eval.report.share.checking import Limits, check

    config = typed_config(Settings, composed)
    limits = Limits(_size("max_file_mb", config.max_file_mb), _size("max_mb", config.max_mb))
    found = check(Path(config.root).expanduser(), limits)
    counts = f"{_many(found.submissions, 'submission')} with {_many(found.runs, 'run')}"
    if not found.faults:
        print(f"{config.root}: {counts}, all as they should be.")
        return
    for fault in found.faults:
        print(visible(fault))
    print(f"{config.root}: {counts}, {_many(len(found.faults), 'fault')}.")
    sys.exit(1)


def _size(name: str, value: Any) -> float:
    if not is_finite_number(value) or value <= 0:
        raise UserError(f"{name}={value}: expected a size in MB above 0, such as {name}=20.")
    return float(value)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    main()
