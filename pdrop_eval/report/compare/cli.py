"""`pdrop-eval-compare`: two runs on the same questions, and whether the second one may pass.

Its exit status is what a CI reads: 0 passed, 1 regressed, 2 could not compare. Whatever goes wrong, foreseen
or not, is a 2: a crash must look neither like a pass nor like a regression. Python itself leaves with 1 where
an import fails, so nothing of the package is imported up here; `--help` and a wrong setting never load torch.
"""

import contextlib
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pdrop_eval.report.compare.place import Place
    from pdrop_eval.report.compare.settings import Settings

PASSED, REGRESSED, NOT_COMPARED = 0, 1, 2


def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries; our own bar is shown all the same
    status = NOT_COMPARED
    try:
        from pdrop_eval.utils.terminal.collecting import collecting_seldom
        from pdrop_eval.utils.terminal.signals import ended_by_signals

        with (
            collecting_seldom(),
            ended_by_signals(lambda name, _: _say(f"{name}: interrupted. Run the same command to resume.")),
        ):
            status = _guarded(sys.argv[1:])
    except ImportError:  # nothing of the package works, so nobody else will take an old verdict away
        _forget(sys.argv[1:])
        traceback.print_exc()
    except BaseException:  # even what says what went wrong may go wrong
        traceback.print_exc()
    finally:
        _settle()
        _leave(status)


def _guarded(arguments: Sequence[str]) -> int:
    from pdrop_eval.utils.errors import UserError
    from pdrop_eval.utils.terminal.signals import EndedBySignal
    from pdrop_eval.utils.text.redact import redact

    try:
        return _answer(arguments)
    except EndedBySignal:
        raise
    except KeyboardInterrupt:
        return _say("interrupted. Run the same command to resume.")
    except SystemExit as leaving:  # of a library: its status says nothing about the comparison
        return _say(f"could not compare: the program was asked to exit ({leaving.code}).")
    except UserError as error:
        return _say(str(error))
    except BaseException as error:
        print(redact(traceback.format_exc()), end="", file=sys.stderr)
        return _say(f"could not compare: {type(error).__name__}: {error}")


def _answer(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & {*arguments}:
        from pdrop_eval.run.config.compose import help_text

        _show(help_text("compare"))
        return PASSED
    if any(one.partition("=")[0] == "power" for one in arguments):
        from pdrop_eval.report.compare.settings import read_settings

        if (settings := read_settings(arguments)).power:
            from pdrop_eval.report.compare.power import make_power, text_of

            _show(text_of(make_power(settings)))
            return PASSED
    return _compare(arguments)


def _compare(arguments: Sequence[str]) -> int:
    """Compares, and writes the files; what stops it stands in them too: old ones would lie about this one."""
    try:
        from pdrop_eval.report.compare.output.files import held, write_failure
        from pdrop_eval.report.compare.place import find
    except BaseException:
        _forget(arguments)
        raise
    place, read = find(arguments), list["Settings"]()
    with held(place):
        try:
            return _compared(place, arguments, read)
        except BaseException as error:
            write_failure(place, arguments, read[0] if read else None, error)
            raise


def _compared(place: "Place", arguments: Sequence[str], read: "list[Settings]") -> int:
    """The exit status; the settings come into `read` once they could be read."""
    from pdrop_eval.report.compare.settings import read_settings

    settings = read_settings(arguments)  # before the imports that take their time
    read.append(settings)
    from pdrop_eval.report.compare.output.document import make_document
    from pdrop_eval.report.compare.output.files import write
    from pdrop_eval.report.compare.output.terminal import terminal
    from pdrop_eval.report.compare.runs import complete, make_sides
    from pdrop_eval.utils.terminal.cli import CONFIG_ERRORS, explain

    try:
        sides = make_sides(settings)
        complete(sides)
        document, rows = make_document(settings, sides)
    except CONFIG_ERRORS as error:  # an interpolation that is only looked at now
        raise explain(error) from error
    write(place, settings, sides, document, rows)
    _show(terminal(document, min(shutil.get_terminal_size().columns, 80)))
    return int(document["exit"])


def _show(text: str) -> None:
    from pdrop_eval.utils.errors import UserError
    from pdrop_eval.utils.terminal import output

    output.never_refuse()
    failed = False
    try:
        print(text)
    except OSError:  # a full disk, or a reader that has left, as `| head` does
        failed = True
    if why := output.lost(failed):  # a verdict that nobody could read is none
        raise UserError(why)


def _settle() -> None:
    """Empties both outputs, into nothing where they can't be: Python would leave with another status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave(status: int) -> NoReturn:
    """Ends with a status, whatever else fails."""
    with contextlib.suppress(BaseException):
        from pdrop_eval.utils.terminal.process import leave

        leave(status)
    sys.exit(status)


def _forget(arguments: Sequence[str]) -> None:
    with contextlib.suppress(ImportError):
        from pdrop_eval.report.compare.place import find

        find(arguments).forget()


def _say(message: str) -> int:
    from pdrop_eval.utils.terminal.cli import report

    report("pdrop-eval-compare", message, NOT_COMPARED)
    return NOT_COMPARED


if __name__ == "__main__":
    main()
