"""`pdrop-eval-calibrate`: finds settings of a strategy that belong to a model, and writes them as a recipe.

Nothing heavy is imported up here: `--help`, a wrong setting and a finished calibration never load torch.
"""

import os
import shutil
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pdrop_eval.run.calibrate.plan import make_plan
from pdrop_eval.run.calibrate.spec import CalibrateSpec, make_spec
from pdrop_eval.run.calibrate.text import calibration_text
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.utils.terminal import cli, log
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.validation import check_choice


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries; our own bar is shown all the same
    goes_on = "interrupted. Run the same command to go on."
    cli.run(_job, "calibrate", check_command_line, goes_on)


def _job(config: DictConfig) -> None:
    spec = make_spec(config, str(HydraConfig.get().runtime.choices["strategy"]))
    document, path = calibrate(spec)
    print(calibration_text(document, path, min(shutil.get_terminal_size().columns, 80)))


def calibrate(spec: CalibrateSpec) -> tuple[dict[str, Any], str]:
    """Find what is asked for, unless its file is there.

    Returns:
        (the recipe with all that it says, its file).

    Raises:
        UserError: wrong input, before a model is loaded; a model for which the rule finds nothing.
        SampleError: a question that can't be asked.
    """
    check_choice("log", spec.log, log.KINDS)
    log.configure(spec.log)
    plan = make_plan(spec)
    document = None if spec.again else plan.existing()
    if document is not None:
        log_rank_zero("Nothing to do: the recipe is there. again=true makes it again.")
        return document, str(plan.path)
    log_rank_zero("Loading torch and transformers")
    from pdrop_eval.run.calibrate.session import run_calibration

    return run_calibration(plan), str(plan.path)


if __name__ == "__main__":
    main()
