"""The console script `pdrop-eval-page`: all results as a page that opens from disk; runs nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.run.config.compose import check_settings
from pdrop_eval.run.config.spec import DataSpec
from pdrop_eval.run.config.typed import typed_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.process import console_script


@console_script
def main() -> None:
    """Builds the page."""
    cli.run(_job, "page", check_settings)


@dataclass(frozen=True)
class Settings:
    """What `pdrop-eval-page` is asked for; `conf/page.yaml` says what each setting is."""

    root: str
    out: str
    pictures: int
    bench: str | None
    compare: str | None
    data: DataSpec


def _job(composed: Any) -> None:
    from pdrop_eval.report.site.build import Sources, make_page

    config = typed_config(Settings, composed)
    pictures = _whole("pictures", config.pictures)
    root, out = _folder("root", config.root), _folder("out", config.out)
    folders = {name: _beside(root, name, getattr(config, name)) for name in ("bench", "compare")}
    data = None if config.data.root is None else _data(config.data.root)
    print(make_page(Sources(root, **folders, pictures=pictures, data=data), out), end="")


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


if __name__ == "__main__":
    main()
