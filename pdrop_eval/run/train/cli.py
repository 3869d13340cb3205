"""`pdrop-eval-train`: trains a LLaVA model with a strategy, or without dropping.

Nothing heavy is imported up here: `--help` and a wrong setting never load torch.
"""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pdrop_eval.run.config.compose import CONFIG_ERRORS, check_command_line, explain
from pdrop_eval.run.train.plan import make_plan
from pdrop_eval.utils import distributed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.log import say
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.rank import rank


def main() -> None:
    """The console script. Exits with 2 and one message, no traceback, for what the user can mend."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of exiting
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        sys.argv[1:] = check_command_line(sys.argv[1:], "train")
        hydra.main(config_path=str(CONF), config_name="train", version_base="1.3")(_job)()
    except UserError as error:
        _leave(str(error), 2)
    except CONFIG_ERRORS as error:
        _leave(str(explain(error)), 2)
    except KeyboardInterrupt:
        _leave("interrupted. The same command goes on from the last checkpoint.", 130)
    finally:
        distributed.stop()


def _leave(message: str, status: int) -> None:
    print(f"pdrop-eval-train: {message}", file=sys.stderr)
    sys.exit(status)


def _job(config: DictConfig) -> None:
    distributed.join_slurm_job()
    try:
        run(config, str(HydraConfig.get().runtime.choices["strategy"]))
    except UserError as error:
        _leave(str(error), 2)  # here, because Hydra adds a line of its own to an exception that reaches it


def run(config: DictConfig, strategy: str) -> None:
    """Check a composed config, then estimate or train what it asks for. Raises UserError."""
    if config.dry_run:
        from pdrop_eval.run.train.estimate.dry_run import dry_run
        from pdrop_eval.run.train.estimate.text import render

        print(render(dry_run(config, strategy)))
        return
    plan = make_plan(config, strategy)
    say("Loading torch and transformers")
    from pdrop_eval.run.train.session import train

    record = train(plan)
    if rank() == 0:
        hours = f"{record['device_hours']:.2f} {record['device_label']}"
        model = f"model={config.model.name} model.pretrained={plan.output}"
        print(f"Trained in {hours}: {plan.output}\nEvaluate it: pdrop-eval {model} strategy={strategy}")


if __name__ == "__main__":
    main()
