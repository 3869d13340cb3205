"""A run whose processes were started by submitit (`hydra/launcher=slurm`) and not by torchrun."""

import os


def join() -> None:
    """Tell this process which of the job's processes it is, in torchrun's variables.

    Harmless outside of such a job, and where the variables are set already.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ or "WORLD_SIZE" in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment

    # every process sees all GPUs and takes the one with its local rank, as under torchrun
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
