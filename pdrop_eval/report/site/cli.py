"""The console script `pdrop-eval-page`: all results as a page that opens from disk; runs nothing."""

import sys
from pathlib import Path
from typing import Any

import hydra

from pdrop_eval.run.config.compose import check_settings
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF

SETTINGS = ("root", "bench", "compare", "out", "pictures", "data.root")


def main() -> None:
    """Builds the page; exits with 2 and one line of advice where a user can mend the cause."""
    try:
        check_settings(sys.argv[1:], SETTINGS, "pdrop-eval-page")
        _run()
    except UserError as error:
        _leave(error)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="page")
def _run(config: Any) -> None:
    try:
        from pdrop_eval.report.site.build import Sources, make_page

        pictures = _whole("pictures", config.pictures)
        root, out = _folder("root", config.root), _folder("out", config.out)
        folders = {name: _beside(root, name, config[name]) for name in ("bench", "compare")}
        data = None if config.data.root is None else _data(config.data.root)
        print(make_page(Sources(root, **folders, pictures=pictures, data=data), out), end="")
    except UserError as error:  # here, because Hydra prints a traceback of what leaves this function
        _leave(error)


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UserError(f"{name}={value}: expected a whole number from 0 (none) on, such as {name}=1000.")
    return value


def _folder(name: str, value: Any) -> Path:
    if value is None or not str(value).strip():
        raise UserError(f"{name} is empty: name a folder, {name}=DIR.")
    return Path(str(value)).expanduser()


def _beside(root: Path, name: str, value: Any) -> Path:
    """The folder that was named, or the one of this name beside the records, where results lie together."""
    from pdrop_eval.report.site.data.records import above

    return above(root) / name if value is None else _folder(name, value)


def _data(value: Any) -> Path:
    folder = _folder("data.root", value)
    if not folder.is_dir():
        raise UserError(
            f"data.root={value} is no folder. Name the one that holds your data sets (tasks/README.md says "
            "how), or leave it out: data.root=null."
        )
    return folder


def _leave(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
