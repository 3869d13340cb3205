"""The console script `pdrop-eval-tables`: records to tables on the screen and on disk."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra

from pdrop_eval.configs import check_choice
from pdrop_eval.errors import UserError
from pdrop_eval.paths import CONF

SETTINGS = ("table", "root", "out", "readme")
START, END = "<!-- table5 -->", "<!-- /table5 -->"


def main() -> None:
    """Prints Table 5 and writes it; exits with 2 and one line of advice where a user can mend the cause."""
    try:
        _check_arguments(sys.argv[1:])
        _run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="tables")
def _run(config: Any) -> None:
    try:
        check_choice("table", str(config.table), ["5"])
        print(make_tables(Path(config.root), Path(config.out), config.readme and Path(config.readme)), end="")
    except UserError as error:  # here, because Hydra prints a traceback of what leaves this function
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def make_tables(root: Path, out: Path, readme: Path | None = None) -> str:
    """Writes Table 5 of the records beneath `root` to `out`, and returns it for a terminal.

    Raises UserError if there is nothing to show, a record can't be read, or the files can't be written.
    """
    # pandas takes a second to import: --help and wrong arguments shall not wait for it.
    from pdrop_eval.records import load_records, unwritable, write_atomically
    from pdrop_eval.report.frame import to_frame
    from pdrop_eval.report.layout import command, sections
    from pdrop_eval.report.render import latex, markdown, terminal
    from pdrop_eval.report.table5 import as_frame, measured_groups, published_groups

    groups = measured_groups(to_frame(load_records(root)))
    if not groups:
        raise UserError(
            f"No benchmark of Table 5 is finished in {root}. Run first: {command('pdrop', 'mini', 'table5')} "
            "(or name the folder of your records: root=DIR)."
        )
    parts = sections(groups)
    numbers = as_frame({"measured": groups, "published": published_groups()})
    files = {
        out / "table5.md": markdown(parts),
        out / "table5.csv": numbers.to_csv(index=False, float_format="%.10g"),
        out / "table5.tex": latex(parts),
    }
    if readme is not None:
        files[readme] = with_table(readme, markdown(parts))
    for path, text in files.items():
        try:
            write_atomically(path, text)
        except OSError as error:
            raise unwritable(path.parent, error) from error
    width = shutil.get_terminal_size().columns
    return terminal(parts, width) + "\nWritten: " + ", ".join(str(path) for path in files) + "\n"


def with_table(path: Path, table: str) -> str:
    """A Markdown file's text with `table` between its two markers. Raises UserError if they are not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}. Name a Markdown file: readme=README.md"
        ) from error
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise UserError(
            f"{path} has no place for the table. Put a line {START} and a line {END} where it shall be."
        )
    return f"{before}{START}\n{table.rstrip()}\n{END}{after}"


def _check_arguments(arguments: Sequence[str]) -> None:
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if equals and not name.startswith(("-", "hydra.")):
            check_choice("setting", name.lstrip("+~"), SETTINGS, "pdrop-eval-tables --help lists them.")


if __name__ == "__main__":
    main()
