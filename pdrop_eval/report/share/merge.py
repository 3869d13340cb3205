"""The console script `pdrop-eval-merge`: results folders of several machines as one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.run.config.compose import check_settings
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.validation import check_truth

_EXAMPLE = "from=[results/runs,/mnt/other/runs] into=results/all"


@console_script
def main() -> None:
    """Joins results folders."""
    cli.run(_job, "merge", check_settings)


def _job(composed: Any) -> None:
    settings: Any = OmegaConf.to_container(composed, resolve=True)
    sources, into = _folders(settings)
    check_truth("public", settings["public"])
    print(merge_text(sources, into, settings["public"]), end="")


def merge_text(sources: Sequence[Path], into: Path, public: bool = False) -> str:
    """Joins folders, and says in words what it came to.

    Raises:
        UserError: See `merging.merge`.
    """
    from pdrop_eval.report.share.merging import merge

    found = merge(sources, into, public)
    lines = [
        f"{into}: {_many(found.runs, 'run')} with {_many(found.tasks, 'finished task')}; "
        f"{_many(found.written, 'run')} written, {_many(found.same, 'task')} found more than once and alike."
    ]
    if found.unfinished:
        lines.append(
            f"{_many(found.unfinished, 'run')} not finished; answers in journals stay where they are. "
            f"Their own commands with results={into} run what is missing."
        )
    lines.append(f"Tables: {script('pdrop-eval-tables')} root={into}")
    return "\n".join(lines) + "\n"


def _folders(settings: Mapping[str, Any]) -> tuple[list[Path], Path]:
    """The folders that are joined, and the one that they become."""
    given, into = settings["from"], settings["into"]
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list) or not named or not all(isinstance(one, str) and one for one in named):
        raise UserError(f"from={given}: name the folders of records that are joined, such as {_EXAMPLE}.")
    if not isinstance(into, str) or not into.strip():
        raise UserError(f"into={into}: name the folder that gets all runs, such as {_EXAMPLE}.")
    return [Path(one).expanduser() for one in named], Path(into).expanduser()


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    main()
