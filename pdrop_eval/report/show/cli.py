"""`pdrop-eval-show`: single samples with what a strategy retains of them, or what the model attends to.

Nothing heavy is imported up here: `--help` and a wrong setting never load torch.
"""

import os
import sys
from collections.abc import Sequence

from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.process import console_script


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries; our own bars are shown all the same
    with cli.ending("pdrop-eval-show", "interrupted. The figures drawn so far are complete."):
        print(_answer(sys.argv[1:]), flush=True)


def _answer(arguments: Sequence[str]) -> str:
    from pdrop_eval.report.show.settings import read_settings
    from pdrop_eval.run.config.compose import help_text

    if {"-h", "--help"} & {*arguments}:
        return help_text("show").rstrip()
    settings = read_settings(arguments)
    from pdrop_eval.report.show.session import prepare, show

    return "\n".join(["Written:", *(f"  {stem}.{{png,svg,pdf}}" for stem in show(prepare(settings)))])


if __name__ == "__main__":
    main()
