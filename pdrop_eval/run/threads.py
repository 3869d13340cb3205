"""How many threads of the processor a run has: `threads=auto` and `workers=auto`, decided once in a process.

Answers are those of one thread, up to the last bits of float32: no run is another one by it. Small products
are slower on several threads, as each has to be handed out, and so is everything where other processes keep
the cores busy: threads wait for one another at each operator.
"""

import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdrop_eval.run.config.spec import RunSpec

AUTO = "auto"
_WORK = 250_000  # numbers that a layer handles at once, for each thread: less is not worth handing out
_GLANCE = 0.2  # seconds that others are watched
_WORKERS = 2  # threads that prepare questions, where they have cores


def threads_for(config: "RunSpec", model_config: Any) -> int:
    """Return how many threads a run's model computes with.

    Args:
        config: of the run.
        model_config: the model's transformers config.
    """
    from pdrop_eval.efficiency.architecture import nominal_image_tokens
    from pdrop_eval.run.lmms.inputs.batching import first_batch_size

    kind = str(config.device).partition(":")[0]
    if config.threads == AUTO and kind != "cpu":
        return config.model.threads or usual_threads()
    rows = first_batch_size(kind, model_config) if config.batch_size == AUTO else int(config.batch_size)
    numbers = model_config.get_text_config().hidden_size * nominal_image_tokens(model_config) * rows
    return settled_threads(config.threads, config.model.threads, numbers)


def settled_threads(asked: int | str | None, of_model: int | None, numbers: int) -> int:
    """Return the number of threads.

    Args:
        asked: `threads`: a number, "auto", or None for what the model's settings say.
        of_model: `model.threads`; None: as many as torch begins with.
        numbers: that a layer of the decoder handles at once.
    """
    if asked is None:
        return of_model or usual_threads()
    if asked != AUTO:
        return int(asked)
    worth = max(1, numbers // _WORK)
    return 1 if worth == 1 else min(_free_cores(), worth)


def workers_for(config: "RunSpec", threads: int) -> int:
    """Return how many threads prepare questions while the model answers.

    On a processor as many as the model's threads leave cores to: without one of their own they take turns
    with the model, and both are slower than one after the other.

    Args:
        config: of the run.
        threads: that the model computes with.
    """
    if config.workers != AUTO:
        return int(config.workers)
    if not str(config.device).startswith("cpu"):
        return _WORKERS
    cores = _free_cores() if config.threads == AUTO else usual_threads() // _processes()
    return max(0, min(_WORKERS, cores - threads))


@cache
def usual_threads() -> int:
    """Return as many as torch begins with: by `OMP_NUM_THREADS`, or the cores that the process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), cores))


@cache
def _free_cores() -> int:
    """Return how many of these other processes leave; those of the same run share them."""
    from pdrop_eval.run.bench.machine import Load

    most = usual_threads() // _processes()
    if most < 2:
        return 1
    load = Load()
    time.sleep(_GLANCE)
    return max(1, most - round(load.seen()["others"]))


def _processes() -> int:
    """Return how many processes of the run this machine has."""
    from pdrop_eval.utils.distributed import world_size

    return int(os.environ.get("LOCAL_WORLD_SIZE") or world_size())
