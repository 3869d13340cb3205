"""Errors that the user can fix, errors of a sample, and of runs that went on without the others."""


class UserError(Exception):
    """A wrong input. The message names the value, what is allowed and how to fix it.

    Command-line entry points print it without a traceback and exit with status 2. Anything else that is
    raised is a bug and keeps its traceback.
    """


class SampleError(RuntimeError):
    """A sample could not be answered; the message names its task and id."""


class RunsFailedError(RuntimeError):
    """Runs of an experiment that failed while the others went on; the message names them, with reasons."""
