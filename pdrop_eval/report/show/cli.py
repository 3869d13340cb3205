"""`pdrop-eval-show`: single samples with what a strategy retains of them, or what the model attends to.

Nothing heavy is imported up here: `--help` and a wrong setting never load torch.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn


def main() -> None:
    """The console script. Exits with 2 and one message, no traceback, for what the user can mend."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries; our own bars are shown all the same
    from pdrop_eval.utils import log
    from pdrop_eval.utils.errors import SampleError, UserError

    log.configure(log.asked_for(sys.argv[1:]))
    try:
        print(_answer(sys.argv[1:]), flush=True)
    except UserError as error:
        _leave(str(error), 2)
    except KeyboardInterrupt:
        _leave("interrupted. What was drawn before is there.", 130)
    except BrokenPipeError:  # the reader of our output has left, as `| head` does; the files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SampleError as error:
        _leave(f"{type(error).__name__}: {error}", 1)
    except Exception as error:
        _leave(f"{type(error).__name__}: {error}\n{traceback.format_exc()}", 1)


def _answer(arguments: Sequence[str]) -> str:
    from pdrop_eval.report.show.settings import help_text, read_settings

    if {"-h", "--help"} & {*arguments}:
        return help_text().rstrip()
    settings = read_settings(arguments)
    from pdrop_eval.report.show.session import prepare, show
    from pdrop_eval.run.config.compose import CONFIG_ERRORS, explain

    try:
        session = prepare(settings)
    except CONFIG_ERRORS as error:  # an interpolation that is only looked at now
        raise explain(error) from error
    return "\n".join(["Written:", *(f"  {stem}.{{png,svg,pdf}}" for stem in show(session))])


def _leave(message: str, status: int) -> NoReturn:
    from pdrop_eval.utils import log
    from pdrop_eval.utils.redact import redact

    if log.kind() == "json":
        log.event("error", level="error", message=message, status=status)
    else:
        print(f"pdrop-eval-show: {redact(message)}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
