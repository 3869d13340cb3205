"""Wrong input is found here, before a model is loaded; most of it before torch is even imported.

Every check raises UserError with the value, what is allowed and the fix, or returns what it found out.
"""

import os
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pdrop_eval.configs import check_choice, check_sections
from pdrop_eval.efficiency.budget import KINDS, check_value
from pdrop_eval.errors import UserError
from pdrop_eval.paths import MINI_CHECKPOINT, MINI_CHECKPOINTS
from pdrop_eval.weights import check_config, check_folder, read_object

FAMILIES = ("llava", "llava_next")
DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's config.json says, read without loading anything."""

    family: str
    config: dict[str, Any]


def check_settings(config: Any) -> None:
    """The plain values: limit, batch size, dtype, device, attention, seeds and the model's choices."""
    check_sections(config)
    if config.size is not None and config.runs is None:
        raise UserError(f"size={config.size} picks runs of an experiment. Name one: experiment=table5.")
    if config.data.root is not None and not str(config.data.root).strip():
        raise UserError("data.root= names no folder. Use data.root=<folder>, or data.root=null.")
    check_choice("dtype", config.dtype, DTYPES)
    check_choice("attention", config.attention, ATTENTIONS)
    if config.batch_size != "auto":
        check_whole("batch_size", config.batch_size, 1, "Or batch_size=auto.")
    check_whole("seed", config.seed, 0)
    if config.seed >= 2**32:
        raise UserError(f"seed={config.seed} is not allowed: NumPy takes seeds from 0 to {2**32 - 1}.")
    check_whole("bootstrap", config.bootstrap, 0)
    check_whole("workers", config.workers, 0, "0 prepares each question when its turn comes.")
    cache = config.feature_cache
    if isinstance(cache, bool) or not isinstance(cache, (int, float)) or not 0 <= cache < float("inf"):
        raise UserError(
            f"feature_cache={cache} is not allowed: use a number of GiB from 0 (keeps nothing), such as 0.5."
        )
    check_whole("model.max_new_tokens", config.model.max_new_tokens, 1)
    if config.model.get("context") is not None:
        check_whole("model.context", config.model.context, 1, "Use null for the checkpoint's own.")
    if config.model.threads is not None:
        check_whole("model.threads", config.model.threads, 1, "Use null for as many as torch takes.")
    check_choice("model.chat_template", config.model.chat_template, ("checkpoint", "vicuna"))
    check_choice("model.image_processing", config.model.image_processing, ("checkpoint", "pad"))
    check_budget(config.get("budget"))
    kind = str(config.device).split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        check_choice("device", config.device, ("cpu", "cuda", "cuda:0", "mps"))
    if config.attention == "flash_attention_2":
        _check_flash_attention(config)
    if config.limit is not None:
        check_whole("limit", config.limit, 1, "Use limit=null for all questions.")
    if config.get("downsample") is not None:
        check_whole("downsample", config.downsample, 2, "Use downsample=null for images as they are.")


def check_budget(budget: Any) -> dict[str, Any]:
    """The budget that is asked for, at most one: `{"tokens": 64}`, or an empty dict for none."""
    if budget is None:
        return {}
    if not hasattr(budget, "items"):
        raise UserError(f"budget={budget} is none: give budget.tokens, budget.share or budget.tflops.")
    asked = {str(kind): value for kind, value in budget.items() if value is not None}
    for kind, value in asked.items():
        check_choice("budget", kind, KINDS)
        check_value(f"budget.{kind}", value)
    if len(asked) > 1:
        named = ", ".join(f"budget.{kind}={value}" for kind, value in asked.items())
        raise UserError(f"{named} are {len(asked)} budgets: give one of them.")
    return asked


def check_tasks(asked: Any, suite_tasks: list[str], suite: str, limit: int | None) -> list[str]:
    """The tasks to run: those asked for, in the suite's order, or all of the suite."""
    if asked is None:
        tasks = list(suite_tasks)
    else:
        names = [asked] if isinstance(asked, str) else list(asked)
        if not names:
            raise UserError("tasks=[] asks for nothing. Name some tasks, or use tasks=null for all.")
        for name in names:
            check_choice(f"task of suite={suite}", name, suite_tasks)
        tasks = [task for task in suite_tasks if task in names]
    if "mme" in tasks and limit is not None and limit % 2:
        raise UserError(
            f"limit={limit} would cut one of MME's pairs of questions in two, and MME scores only pairs. "
            f"Use an even limit, such as {limit + 1}, or leave out mme with tasks=[...]."
        )
    return tasks


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


class MissingCheckpointError(UserError):
    """A checkpoint that is not there yet; an experiment goes on without it."""


def resolve_checkpoint(pretrained: str) -> Path | str:
    """The checkpoint's folder, or its id on the Hub.

    "embedded" is the package's own miniature, "embedded:<name>" another one of its family. What starts with
    "checkpoints/" is always a folder, never an id. Raises MissingCheckpointError.
    """
    if pretrained == "embedded" or pretrained.startswith("embedded:"):
        return _embedded(pretrained.partition(":")[2])
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        return folder
    parts = pretrained.split("/")
    if parts[0] == "checkpoints":
        raise MissingCheckpointError(
            f"The checkpoint {pretrained!r} isn't there: none is published, it has to be trained. "
            "Give your own, a folder with config.json and *.safetensors, as model.pretrained=<folder>."
        )
    if len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~") or folder.exists():
        raise MissingCheckpointError(
            f"The checkpoint folder {pretrained!r} doesn't exist. Give a folder that holds config.json and "
            "*.safetensors, an id on the Hugging Face Hub (organisation/name), or embedded."
        )
    return pretrained


def _embedded(name: str) -> Path:
    folder = MINI_CHECKPOINTS / name if name else MINI_CHECKPOINT
    if (folder / "config.json").is_file():
        return folder
    if name:
        raise MissingCheckpointError(
            f"The embedded checkpoint {name!r} isn't trained yet. Use model=mini, or give a checkpoint of "
            "your own with model.pretrained=<folder>."
        )
    raise MissingCheckpointError(
        "The embedded miniature is missing from this installation. Install the package again, train it with "
        "make train-mini, or give another checkpoint with model.pretrained=<folder>."
    )


def check_checkpoint(pretrained: str, revision: str | None, trust_remote_code: bool = False) -> Checkpoint:
    """Reads a checkpoint's config.json, from the Hub if it is there; checks its family, weights and code."""
    source = resolve_checkpoint(pretrained)
    if isinstance(source, Path):
        path = source / "config.json"
        if not path.is_file():
            raise UserError(
                f"{pretrained} holds no config.json, so it is no checkpoint in Hugging Face format. "
                "Give the folder that save_pretrained wrote."
            )
    else:
        path = _hub_config(source, revision)
    config = read_object(path)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"The checkpoint {pretrained} is of type {family!r}, which is no vision-language model that "
            f"pdrop-eval knows. Supported: {', '.join(FAMILIES)} (in transformers' own format)."
        )
    if isinstance(source, Path):
        check_folder(pretrained, source, trust_remote_code)
    check_config(pretrained, config, trust_remote_code)
    return Checkpoint(str(family), config)


def check_image_processing(choice: str, family: str) -> None:
    """Refuses what LLaVA-NeXT can't do: it cuts an image into tiles, where there is nothing to pad."""
    if choice == "pad" and family != "llava":
        raise UserError(
            f"model.image_processing=pad is for LLaVA-1.5; a checkpoint of type {family} cuts images into "
            "tiles. Use model.image_processing=checkpoint."
        )


def check_device(device: str) -> None:
    """Makes sure that the device is there; imports torch only for one that isn't the CPU."""
    if device == "cpu":
        return
    import torch

    kind, _, index = str(device).partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if index and not index.isdigit():
            raise UserError(f"device={device}: write cuda or cuda:0.")
        if int(index or 0) >= count:
            found = "no GPU that torch can use" if count == 0 else f"only {count} GPU(s), counted from 0"
            raise UserError(
                f"device={device} asks for a GPU, but there is {found} here. Use device=cpu, or check the "
                "driver and that the installed torch is one with CUDA."
            )
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={device} asks for Apple's GPU, but there is none here. Use device=cpu.")


def _check_flash_attention(config: Any) -> None:
    if find_spec("flash_attn") is None:
        raise UserError("attention=flash_attention_2 needs the package flash-attn. Install it, or use sdpa.")
    if config.dtype == "float32" or config.device == "cpu":
        raise UserError(
            f"attention=flash_attention_2 can't be used with dtype={config.dtype}, device={config.device}: "
            "it needs float16 or bfloat16 on a GPU. Use attention=sdpa, or change these."
        )


def check_whole(name: str, value: Any, least: int, hint: str = "") -> None:
    """Raises UserError unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            f"{name}={value} is not allowed: it must be a whole number of at least {least}. {hint}".rstrip()
        )


def _hub_config(repository: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    from pdrop_eval.hub import hub_commit

    commit = hub_commit(repository, "model", revision)
    try:
        return Path(hf_hub_download(repository, "config.json", revision=commit))
    except OSError as error:
        raise UserError(
            f"{repository} on the Hugging Face Hub has no readable config.json: {error}"
        ) from error
