"""Several processes, started by torchrun, that share one run: each answers its part of the questions.

    torchrun --nproc_per_node=2 --no-python pdrop-eval strategy=pdrop

Only the first process writes and prints. Answers and scores are those of one process; lmms-eval's own means,
under `metrics`, add up in another order and may differ in the last digit. In a single process all of this
does nothing and imports no torch.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.exits import library_exits_failing

T = TypeVar("T")
_PATIENCE = timedelta(hours=12)  # a process that is done waits for the others
_TOLD = 8  # differences in a message
_failed_together = False


class ElsewhereError(RuntimeError):
    """Another process of the run has failed; the message is its own."""


def local_device(device: str) -> str:
    """This process's own GPU where the device is just "cuda"."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if world_size() > 1 and device == "cuda" else device


def start() -> None:
    """Connects the processes. Harmless when called twice. Raises UserError without torchrun's variables."""
    if world_size() == 1 or _connected():
        return
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if lacking:
        raise UserError(
            f"WORLD_SIZE={world_size()}, but {', '.join(lacking)} is not set. Start several processes with "
            "torchrun --nproc_per_node=2 --no-python pdrop-eval ..., or unset WORLD_SIZE."
        )
    import torch.distributed

    # gloo on GPUs too: what is exchanged are answers and numbers, never a model's tensors
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)


def stop() -> None:
    """Takes leave of the other processes."""
    if _connected():
        import torch.distributed

        if _failed_together:  # torchrun ends the rest as soon as one has left: none before all have spoken
            gather(None)
        torch.distributed.destroy_process_group()


def gather(value: T) -> list[T]:
    """The value of every process, in their order, in every process."""
    if not _connected():
        return [value]
    import torch.distributed

    values: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def check_same(asked: Mapping[str, Any]) -> None:
    """Makes sure that every process was asked the same. Raises UserError, in each of them, if one wasn't.

    Args:
        asked: What has to be the same, in dicts of dicts.
    """
    global _failed_together  # noqa: PLW0603 - a process fails once
    all_asked = [dict(_flat(one)) for one in gather(asked)]
    names = dict.fromkeys(name for one in all_asked for name in one)
    differ = [name for name in names if any(one.get(name) != all_asked[0].get(name) for one in all_asked)]
    if not differ:
        return
    _failed_together = True
    told = [
        f"{name} ({', '.join(f'process {n}: {one.get(name)}' for n, one in _first_of_each(name, all_asked))})"
        for name in differ[:_TOLD]
    ]
    more = f" and {len(differ) - _TOLD} more" if len(differ) > _TOLD else ""
    raise UserError(
        f"The processes of this run were not asked the same: they differ in {'; '.join(told)}{more}. Start "
        "all of them with the same command, code, packages and files."
    )


def check_alone(program: str) -> None:
    """Refuse several processes where a command is made for one. Raises UserError."""
    if world_size() > 1:
        raise UserError(
            f"{program} is one process, and WORLD_SIZE={world_size()} says that it is one of several. Start "
            "it without torchrun, or unset WORLD_SIZE."
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _first_of_each(name: str, all_asked: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The first process with each value."""
    found: list[tuple[int, dict[str, Any]]] = []
    for number, one in enumerate(all_asked):
        if all(one.get(name) != other.get(name) for _, other in found):
            found.append((number, one))
    return found


def run_on_all_ranks(action: Callable[[], T]) -> T:
    """Runs an action in every process. If it fails in one it fails in all, so that none waits for another."""
    if not _connected():
        return action()
    return _agree(*_attempt(action))


def main_process_first(action: Callable[[], T]) -> T:
    """As `run_on_all_ranks`, but the first process finishes before the others begin: they find its files."""
    if not _connected():
        return action()
    first = _agree(*(_attempt(action) if rank() == 0 else (None, None)))
    return _agree(*(_attempt(action) if rank() > 0 else (first, None)))


def _connected() -> bool:
    if world_size() == 1:
        return False
    import torch.distributed

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _attempt(action: Callable[[], T]) -> tuple[Any, Exception | None]:
    try:
        with library_exits_failing():  # the others would wait for a process that has left
            return action(), None
    except Exception as error:
        return None, error


def _agree(result: Any, error: Exception | None) -> Any:
    global _failed_together  # noqa: PLW0603 - a process fails once
    failed = [text for text in gather(None if error is None else str(error)) if text is not None]
    _failed_together = bool(failed)
    if error is not None:
        raise error
    if failed:
        raise ElsewhereError(failed[0])
    return result


def join_slurm_job() -> None:
    """Tell this process which of the job's processes it is, in torchrun's variables.

    Harmless outside of such a job, and where the variables are set already.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ or "WORLD_SIZE" in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment

    # every process sees all GPUs and takes the one with its local rank, as under torchrun
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False)


def world_size() -> int:
    """How many processes share the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is; 0 is the one that writes and prints."""
    return int(os.environ.get("RANK", "0"))
