"""`pdrop-eval-train`: trains a LLaVA model with a strategy, or without dropping.

Nothing heavy is imported up here: `--help` and a wrong setting never load torch.
"""

import os

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.run.train.config.settings import check_settings
from pdrop_eval.run.train.config.spec import TrainSpec, make_spec
from pdrop_eval.run.train.plan import make_plan
from pdrop_eval.utils import distributed
from pdrop_eval.utils.distributed import rank
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.console import command
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.terminal.process import console_script


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    goes_on = "interrupted. Run the same command to resume from the last checkpoint."
    cli.run(_job, "train", check_command_line, goes_on)


def _job(config: DictConfig) -> None:
    distributed.join_slurm_job()
    run(make_spec(config, str(HydraConfig.get().runtime.choices["strategy"])))


def run(config: TrainSpec) -> None:
    """Check settings, then estimate or train what they ask for. Raises UserError."""
    if config.dry_run:
        check_settings(config)
        from pdrop_eval.run.train.estimate.dry_run import dry_run
        from pdrop_eval.run.train.estimate.phase import render

        print(render(dry_run(config)))
        return
    plan = make_plan(config)
    log_rank_zero("Loading torch and transformers")
    from pdrop_eval.run.train.session import train

    record = train(plan)
    if rank() == 0:
        hours = f"{record['device_hours']:.2f} {record['device_label']}"
        settings = [
            f"model={config.model.name}",
            f"model.pretrained={plan.output}",
            f"strategy={plan.strategy}",
        ]
        print(f"Trained in {hours}: {plan.output}\nEvaluate it: {command('pdrop-eval', settings)}")


if __name__ == "__main__":
    main()
