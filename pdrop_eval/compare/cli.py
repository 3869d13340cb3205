"""`pdrop-eval-compare`: two runs on the same questions, and whether the second one may pass.

Its exit status is what a CI reads: 0 passed, 1 regressed, 2 could not compare. Whatever goes wrong, foreseen
or not, is a 2: a crash must look neither like a pass nor like a regression. Nothing heavy is imported up
here: `--help` and a wrong setting never load torch.
"""

import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pdrop_eval.errors import UserError

if TYPE_CHECKING:
    from pdrop_eval.compare.settings import Settings

PASSED, REGRESSED, NOT_COMPARED = 0, 1, 2


def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries; our own bar is shown all the same
    try:
        status = _answer(sys.argv[1:])
    except KeyboardInterrupt:
        status = _say("interrupted. The same command goes on where this one stopped.")
    except SystemExit as leaving:  # of a library: its status says nothing about the comparison
        status = _say(f"could not compare: something has called for an exit ({leaving.code}).")
    except UserError as error:
        status = _say(str(error))
    except BaseException as error:
        traceback.print_exc()
        status = _say(f"could not compare: {type(error).__name__}: {error}")
    sys.exit(status)


def _answer(arguments: Sequence[str]) -> int:
    from pdrop_eval.compare.settings import help_text, read_settings

    if {"-h", "--help"} & {*arguments}:
        _show(help_text())
        return PASSED
    settings = read_settings(arguments)
    document = _compare(settings)
    from pdrop_eval.compare.terminal import terminal

    _show(terminal(document, min(shutil.get_terminal_size().columns, 80)))
    return int(document["exit"])


def _compare(settings: "Settings") -> dict[str, Any]:
    """Compares, and writes the files; what stops it stands in them too: old ones would lie about this one."""
    from pdrop_eval.compare.outputs import prepare, write, write_failure

    place = prepare(settings)
    try:
        from pdrop_eval.compare.document import make_document
        from pdrop_eval.compare.runs import complete, make_sides

        sides = make_sides(settings)
        complete(sides)
        document, rows = make_document(settings, sides)
        write(place, settings, sides, document, rows)
        return document
    except BaseException as error:
        write_failure(place, settings, error)
        raise


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does; the verdict stands
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> int:
    from pdrop_eval.compare.escaping import visible

    lines = [visible(line) for line in message.splitlines()]
    print("pdrop-eval-compare:", "\n".join(lines), file=sys.stderr)
    return NOT_COMPARED


if __name__ == "__main__":
    main()
