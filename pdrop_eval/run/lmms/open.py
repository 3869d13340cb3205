"""A plan's model and tasks, opened."""

import gc
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pdrop_eval.benchmarks.own.task import info_of, write_task
from pdrop_eval.benchmarks.task_files import TaskInfo, materialise
from pdrop_eval.run.lmms.model import PdropLlava
from pdrop_eval.utils import distributed

if TYPE_CHECKING:
    from pdrop_eval.benchmarks.data.prepare import Data
    from pdrop_eval.run.config.spec import SuiteSpec
    from pdrop_eval.run.evaluate.plan import Plan


def open_model(plan: "Plan", strategy: Any, **changes: Any) -> PdropLlava:
    """The model of a plan under a strategy; `changes` replace the configured arguments of `PdropLlava`."""
    # By its name: no answer depends on it, and what a statement imports here counts in a run's identity.
    threads = import_module("pdrop_eval.run.threads")
    threads.usual_threads()  # before any is set
    gc.collect()  # in a sweep, the model of the run before may still wait for it
    model = PdropLlava(plan.config.model.pretrained, strategy, **{**model_settings(plan), **changes})
    number = threads.threads_for(plan.config, model.config)
    torch.set_num_threads(number)
    model.workers = threads.workers_for(plan.config, number)
    return model


def model_settings(plan: "Plan") -> dict[str, Any]:
    """The arguments of a plan's `PdropLlava`, beside the checkpoint and the strategy."""
    config = plan.config
    return {
        "revision": plan.commit,
        "device": distributed.local_device(config.device),
        "dtype": config.dtype,
        "batch_size": config.batch_size,
        "attention": config.attention,
        "chat_template": config.model.chat_template,
        "anyres": config.model.anyres,
        "image_processing": config.model.image_processing,
        "downsample": config.downsample,
        "context": config.model.context,
        "max_new_tokens": config.model.max_new_tokens,
        "trust_remote_code": config.model.trust_remote_code,
        "adapter": plan.adapter,
        "generation": config.model.generation,
        "devices": config.model.devices,
        **config.model.bounds.given(),
        "workers": 0 if config.workers == "auto" else config.workers,  # `open_model` decides
        "feature_cache": config.feature_cache,
        "prefix_cache": config.prefix_cache,
        "prefix_memory": config.prefix_memory,
    }


def open_task(plan: "Plan", task: str, scratch: Path) -> tuple[TaskInfo, Path]:
    """What a task is, and the folder with its YAML; `scratch` has to stay until the task has run."""
    return task_folder(plan.data, plan.config.suite, task, scratch)


def task_folder(data: "Data", suite: "SuiteSpec", task: str, scratch: Path) -> tuple[TaskInfo, Path]:
    """As `open_task`, from the data of a suite."""
    info = info_of(suite, task)
    if suite.own is not None:
        return info, write_task(suite, data.local[task].files[0], scratch)
    return info, materialise(
        info,
        suite.source,
        scratch,
        data.folder,
        data.commits.get(task),
        suite.textvqa_ocr,
        data.local.get(task),
    )
