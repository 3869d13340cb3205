"""How every console script begins and ends: its exit status, and the one message that goes with it.

0 it did what was asked · 1 a bug, or a sample that can't be answered · 2 wrong input (`UserError`, or a
configuration that can't be composed) · 130 interrupted · that of the signal that has ended it (143 for TERM,
129 for HUP). `pdrop-eval-compare` has statuses of its own.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pdrop_eval.utils import distributed
from pdrop_eval.utils.errors import RunsFailedError, SampleError, UserError
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.terminal import log, output
from pdrop_eval.utils.terminal.console import as_typed_here
from pdrop_eval.utils.terminal.signals import EndedBySignal, ended_by_signals
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.text.redact import redact

# What goes wrong in composing a configuration: choices, interpolations, files (a Python tag among it).
CONFIG_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a write to a full or broken disk says


def run(
    job: Callable[[DictConfig], None],
    config_name: str,
    check: Callable[[Sequence[str], str], list[str]],
    interrupted: str = "interrupted.",
) -> None:
    """Runs a job on the configuration `conf/<config_name>.yaml` with the overrides of the command line.

    Each message begins with the script's name, `pdrop-eval-<config_name>`.

    Args:
        job: What the script does with the composed configuration.
        config_name: The configuration's name in `conf`.
        check: Checks the command line for `config_name` before Hydra sees it; returns it in the order that
            Hydra understands. Raises UserError.
        interrupted: The message after Ctrl-C.
    """
    program = program_of(config_name)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of exiting

    def guarded(config: DictConfig) -> None:
        with ending(program, interrupted):  # here, too: Hydra adds a line to each exception that reaches it
            job(config)

    with ending(program, interrupted):
        sys.argv[1:] = check(sys.argv[1:], config_name)
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(guarded)()


def program_of(config_name: str) -> str:
    """Return the console script of a configuration in `conf`; that of an evaluation is the plain one."""
    return "pdrop-eval" if config_name == "evaluate" else f"pdrop-eval-{config_name}"


@contextlib.contextmanager
def ending(program: str, interrupted: str = "interrupted.") -> Iterator[None]:
    """Turns whatever ends a script into a message and an exit status; a traceback is shown of bugs only."""
    log.configure(log.asked_for(sys.argv[1:]))  # so that a wrong setting is an event, too
    output.never_refuse()

    def tell(signal: str, status: int) -> None:
        report(program, f"{signal}: {interrupted}", status)

    with ended_by_signals(tell), _ending(program, interrupted):
        yield


@contextlib.contextmanager
def _ending(program: str, interrupted: str) -> Iterator[None]:
    others = True
    try:
        yield
        _check_output(program)
    except SystemExit:  # of a help that is printed
        _check_output(program)
        raise
    except UserError as error:
        leave(program, str(error), 2)
    except CONFIG_ERRORS as error:
        leave(program, str(explain(error)), 2)
    except EndedBySignal:
        others = False  # they may be gone, or told to end as well
        raise
    except KeyboardInterrupt:
        leave(program, interrupted, 130)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does; the files are written
        output.discard()
    except distributed.ElsewhereError:
        sys.exit(1)  # the process that failed says why
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            _check_output(program, failed=True)
        message = f"{type(error).__name__}: {error}"
        expected = isinstance(error, SampleError) and isinstance(error.__cause__, ArithmeticError)
        if isinstance(error, RunsFailedError):  # each was told when it failed
            leave(program, str(error), 1)
        leave(program, message if expected else f"{message}\n{traceback.format_exc()}", 1)
    finally:
        if others:
            distributed.stop()


def _check_output(program: str, failed: bool = False) -> None:
    """Leaves with a message if standard output took less than was printed, as on a full disk."""
    if why := output.lost(failed):
        leave(program, why, 2)


def leave(program: str, message: str, status: int) -> NoReturn:
    """Prints a message and exits."""
    report(program, message, status)
    sys.exit(status)


def report(program: str, message: str, status: int) -> None:
    """Prints why a script ends: as an event with log=json, else as a line; without secrets."""
    if log.kind() == "json":
        log.event("error", level="error", message=message, status=status)
    else:
        lines = [visible(line) for line in redact(as_typed_here(message)).splitlines()]
        with contextlib.suppress(OSError):  # it is full, too: the status says it
            print(f"{program}:", "\n".join(lines), file=sys.stderr)


def explain(error: Exception) -> UserError:
    """A complaint about a configuration, one of `CONFIG_ERRORS`, as a UserError."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return UserError(f"The configuration can't be composed: {' '.join(lines)} See pdrop-eval --help.")
