"""Wrong input is found here, before a model is loaded; most of it before torch is even imported.

Every check raises UserError with the value, what is allowed and the fix, or returns what it found out.
"""

import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.installed.choose import expanded, nearest
from pdrop_eval.benchmarks.installed.index import is_installed
from pdrop_eval.benchmarks.installed.kinds import missing_packages
from pdrop_eval.benchmarks.registry import by_task, check_benchmark
from pdrop_eval.benchmarks.subset import check_subset
from pdrop_eval.efficiency.budget import KINDS, check_value
from pdrop_eval.models.loading.checkpoint import settled_dtype
from pdrop_eval.models.loading.spread import check_devices
from pdrop_eval.models.prompts import CHAT_TEMPLATES
from pdrop_eval.run.config.prefix import check_device_memory
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.prefix_setting import setting_of
from pdrop_eval.utils.validation import check_choice, check_whole

if TYPE_CHECKING:
    from pdrop_eval.run.config.spec import RunSpec

DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")


def _check_threads(config: "RunSpec") -> None:
    """How many threads the model computes with, and how many prepare questions."""
    if config.workers != "auto":
        fix = "0 prepares each question when its turn comes; workers=auto takes as many as have a core."
        check_whole("workers", config.workers, 0, fix)
    if config.threads not in (None, "auto"):
        fix = "A model computes with at least one; threads=auto takes as many as pay on this machine."
        check_whole("threads", config.threads, 1, fix)


def check_settings(config: "RunSpec") -> None:
    """The plain values: limit, batch size, dtype, device, attention, seeds and the model's choices."""
    if config.data.root is not None and not str(config.data.root).strip():
        raise UserError("data.root= names no folder. Use data.root=<folder>, or data.root=null.")
    check_choice("dtype", config.dtype, ("auto", *DTYPES))
    check_choice("attention", config.attention, ATTENTIONS)
    if config.batch_size != "auto":
        check_whole("batch_size", config.batch_size, 1, "Or batch_size=auto.")
    check_whole("seed", config.seed, 0)
    if config.seed >= 2**32:
        raise UserError(f"seed={config.seed} is not allowed: NumPy takes seeds from 0 to {2**32 - 1}.")
    check_whole("bootstrap", config.bootstrap, 0)
    _check_threads(config)
    cache = config.feature_cache
    if isinstance(cache, bool) or not isinstance(cache, (int, float)) or not 0 <= cache < float("inf"):
        raise UserError(
            f"feature_cache={cache} is not allowed: use a number of GiB from 0 (keeps nothing), such as 0.5."
        )
    setting_of(config.prefix_cache)
    check_device_memory(config.prefix_memory, config.device)
    check_whole("model.max_new_tokens", config.model.max_new_tokens, 1)
    if config.model.context is not None:
        check_whole("model.context", config.model.context, 1, "Use null for the checkpoint's own.")
    if config.model.threads is not None:
        check_whole("model.threads", config.model.threads, 1, "Use null for as many as torch takes.")
    check_devices(config.model.devices, str(config.device))
    check_choice("model.chat_template", config.model.chat_template, CHAT_TEMPLATES)
    check_choice("model.image_processing", config.model.image_processing, ("checkpoint", "pad"))
    check_budget(config.budget)
    if config.endpoint is None:
        config.strategy.check()
    kind = str(config.device).split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        check_choice("device", config.device, ("cpu", "cuda", "cuda:0", "mps"))
    if config.attention == "flash_attention_2":
        _check_flash_attention(config)
    if config.limit is not None:
        check_whole("limit", config.limit, 1, "Use limit=null for all questions.")
    check_subset(config.subset, config.limit)
    if config.downsample is not None:
        check_whole("downsample", config.downsample, 2, "Use downsample=null for images as they are.")


def check_budget(budget: Any) -> dict[str, Any]:
    """The budget that is asked for, at most one: `{"tokens": 64}`, or an empty dict for none."""
    if budget is None:
        return {}
    budget = asdict(budget) if is_dataclass(budget) and not isinstance(budget, type) else budget
    if not hasattr(budget, "items"):
        raise UserError(f"budget={budget} is no budget: give budget.tokens, budget.share or budget.tflops.")
    asked = {str(kind): value for kind, value in budget.items() if value is not None}
    for kind, value in asked.items():
        check_choice("budget", kind, KINDS)
        check_value(f"budget.{kind}", value)
    if len(asked) > 1:
        named = ", ".join(f"budget.{kind}={value}" for kind, value in asked.items())
        raise UserError(f"{named} are {len(asked)} budgets: give one of them.")
    return asked


def check_tasks(
    asked: Any, suite_tasks: list[str], suite: str, limit: int | None, packages: bool = True
) -> list[str]:
    """The tasks to run: those asked for, in the suite's order, or all of the suite.

    Args:
        asked: The setting `tasks`.
        suite_tasks: Of the suite.
        suite: Its name.
        limit: The setting.
        packages: Whether tasks are refused whose packages aren't installed.

    Raises:
        UserError: A task that there isn't, or that can't be run.
    """
    if asked is None:
        tasks = list(suite_tasks)
    else:
        names = [asked] if isinstance(asked, str) else list(asked)
        if not names:
            raise UserError("tasks=[] is empty. Name some tasks, or use tasks=null for all.")
        found: list[str] = []
        for name in names:
            if name not in suite_tasks and name not in by_task() and is_installed(name):
                found += expanded(name, suite_tasks)
                continue
            found.append(name)
            if name not in suite_tasks:
                other = name in by_task()
                fix = (
                    f"{name} is in no list of this suite: suite.tasks=[{name}] takes it in." if other else ""
                )
                check_benchmark(f"task of suite={suite}", name, suite_tasks, fix or nearest(name))
        more = [task for task in dict.fromkeys(found) if task not in suite_tasks]
        tasks = [*(task for task in suite_tasks if task in found), *more]
        if packages:
            _check_packages(more)
    if "mme" in tasks and limit is not None and limit % 2:
        raise UserError(
            f"limit={limit} would cut one of MME's pairs of questions in two, and MME scores only pairs. "
            f"Use an even limit, such as {limit + 1}, or leave out mme with tasks=[...]."
        )
    return tasks


def _check_packages(tasks: Sequence[str]) -> None:
    """Refuses tasks of lmms-eval that import what isn't installed, with what installs it."""
    lacking = {task: missing for task in tasks if (missing := missing_packages(task))}
    if lacking:
        packages = " ".join(dict.fromkeys(one for missing in lacking.values() for one in missing))
        raise UserError(
            f"{', '.join(lacking)} can't be run: lmms-eval's task needs {packages.replace(' ', ', ')}. "
            f"Install it with: pip install {packages}"
        )


def check_results_folder(folder: Path) -> None:
    """Makes sure, by writing, that records can be written to a folder; makes it if it is missing."""
    probe = folder / f".write-test-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # An administrator may write anywhere; a folder that was made read-only is respected all the same.
        if not os.access(folder, os.W_OK | os.X_OK) or not folder.stat().st_mode & 0o222:
            raise PermissionError(13, "it is read-only")
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Results can't be written to {folder}: {error.strerror or error}. Choose another folder with "
            "results=<folder>, or change the permissions of this one."
        ) from error


def _check_flash_attention(config: Any) -> None:
    if find_spec("flash_attn") is None:
        raise UserError("attention=flash_attention_2 needs the package flash-attn. Install it, or use sdpa.")
    dtype = settled_dtype(config.dtype, config.device, {})
    if dtype == "float32" or config.device == "cpu":
        raise UserError(
            f"attention=flash_attention_2 can't be used with dtype={dtype}, device={config.device}: "
            "it needs float16 or bfloat16 on a GPU. Use attention=sdpa, or change these."
        )
