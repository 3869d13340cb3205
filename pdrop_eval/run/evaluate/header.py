"""A run's record header: everything about it that is known before the first sample. Imports torch."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig
from transformers.models.auto.image_processing_auto import get_image_processor_config

from pdrop_eval.efficiency.architecture import architecture_of, nominal_image_tokens
from pdrop_eval.efficiency.flops import kv_cache_bytes, theoretical_flops
from pdrop_eval.efficiency.schedules import has_schedule, notes_of, schedule_of
from pdrop_eval.engine.before_decoder.fits import check_fits
from pdrop_eval.models import families
from pdrop_eval.models.loading.adapter import recorded
from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.models.loading.gpu import recorded_backends
from pdrop_eval.models.loading.processors import unloadable
from pdrop_eval.models.prompts import system_prompt
from pdrop_eval.records.rows.overrides import recorded_settings
from pdrop_eval.run.config.checks import check_budget
from pdrop_eval.run.config.fits import within_budget
from pdrop_eval.run.threads import threads_for
from pdrop_eval.strategies.recipe_settings import recipes_in
from pdrop_eval.strategies.registry import recorded_facts
from pdrop_eval.utils.code import provenance, versions
from pdrop_eval.utils.distributed import world_size
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text
from pdrop_eval.utils.text.redact import redact, redact_all

if TYPE_CHECKING:
    from pdrop_eval.run.evaluate.plan import Plan

Tflops = Callable[[Sequence[int]], float]


def make_header(plan: "Plan", command: str) -> tuple[Any, dict[str, Any], Tflops]:
    """The strategy, the header, and the TFLOPs of given image tokens per layer.

    Raises:
        UserError: A strategy that doesn't fit the model: wrong values, layers outside of it.
    """
    config = plan.config
    strategy = config.strategy.build()
    source = str(resolve_checkpoint(config.model.pretrained))
    transformers_config = _read_config(source, plan)
    if asked := check_budget(config.budget):
        strategy = within_budget(config.strategy, strategy, transformers_config, asked)
    layers = transformers_config.get_text_config().num_hidden_layers
    image_tokens = nominal_image_tokens(transformers_config)
    tile_tokens = architecture_of(transformers_config).tile_tokens
    with config.strategy.named():
        check_fits(families.multimodal_of(transformers_config), transformers_config, strategy)
        schedule = (
            schedule_of(strategy, layers, image_tokens, tile_tokens) if has_schedule(strategy) else None
        )
    recorded = redact_all(recorded_settings(config.to_dict(), config.strategy.preset, strategy.settings()))
    header = {
        "command": redact(command),
        **recorded,
        "seed": config.seed,
        "code": provenance.code_identity(),
        "packages": provenance.package_versions(),
        "untested_packages": versions.untested(),
        "hardware": provenance.hardware(),
        "model": _model(plan, transformers_config),
        "strategy": {
            **recorded["strategy"],
            **recorded_facts(strategy),
            **_recipes(config),
            "notes": notes_of(strategy, layers, image_tokens, tile_tokens),
        },
        "budget": {"asked": asked, "reached": asdict(strategy.reached)} if asked else None,
        "suite": {"name": config.suite.name, "source": config.suite.source},
        "inputs": {
            "images": _image_preparation(source, plan),
            "downsample": config.downsample,
            "system_prompt": system_prompt(config.model.chat_template),
            "textvqa_ocr": config.suite.textvqa_ocr,
        },
        "batch_size": config.batch_size,
        "processes": world_size(),
        "limit": config.limit,
        "subset": config.subset,
        "determinism": determinism(config, threads_for(config, transformers_config)),
        **recorded_backends(config.device),
        "efficiency": _efficiency(transformers_config, image_tokens, schedule, config.dtype),
    }
    return strategy, header, lambda tokens: theoretical_flops(transformers_config, tokens).total / 1e12


def _recipes(config: Any) -> dict[str, Any]:
    """Which recipes gave the strategy its settings, with the hashes of their content; nothing without one."""
    found = [recipe.facts() for recipe in recipes_in(config.to_dict())]
    return {"recipes": redact_all(found)} if found else {}


def _efficiency(config: Any, image_tokens: int, schedule: Sequence[int] | None, dtype: str) -> dict[str, Any]:
    """What a question costs by the schedule; without one, the run's samples will say it (`measured`)."""
    known = schedule if schedule is not None else (image_tokens,) * config.get_text_config().num_hidden_layers
    flops = theoretical_flops(config, known)
    return {
        "image_tokens": image_tokens,
        "image_tokens_per_layer": None if schedule is None else list(schedule),
        "tflops": None if schedule is None else flops.total / 1e12,
        "convention": flops.convention,
        "kv_cache_bytes": None if schedule is None else kv_cache_bytes(config, known, dtype),
        **({"measured": True} if schedule is None else {}),
    }


def determinism(config: Any, threads: int) -> dict[str, Any]:
    """Whether the same run gives the same samples byte for byte, and what isn't fixed where it may not."""
    on_cpu = str(config.device).split(":")[0] == "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 says that the names are to change
        tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    why = [
        "sums are added in an order that kernels choose by device, driver and shape",
        "kernels of attention and matrix products differ between GPU models and library versions",
        *(["TF32 is allowed in convolutions or matrix products"] if tf32 else []),
        *(["cuDNN picks convolutions by timing them"] if torch.backends.cudnn.benchmark else []),
    ]
    exact = on_cpu and config.dtype == "float32"
    return {
        "repeatable": on_cpu,
        "threads": threads if on_cpu else None,
        "not_fixed": ["answers on another processor or with other packages"] if on_cpu else why,
        "batch_size": f"answers {'do not' if exact else 'may'} depend on it",
    }


def _read_config(source: str, plan: "Plan") -> Any:
    model, family = plan.config.model, families.multimodal(plan.checkpoint.family)
    try:
        config = AutoConfig.from_pretrained(
            source, revision=plan.commit or "main", trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # what a damaged one raises depends on where transformers stumbles
        raise unloadable(model.pretrained, family, error) from error
    family.set_anyres(model.anyres, config)
    return config


def _model(plan: "Plan", config: Any) -> dict[str, Any]:
    model, family = plan.config.model, families.multimodal(plan.checkpoint.family)
    return {
        "name": model.name,
        "pretrained": model.pretrained,
        "revision": model.revision,
        "commit": plan.commit,
        "sha256": plan.identity["model_sha256"],
        "family": family.name,
        # What it is, read from the checkpoint; what can't be read there, from the configuration.
        "architecture": family.architecture,
        "patches": family.patches(config),
        "train_patches": model.patches,
        "size": model.size,
        "train": model.train,
        "train_ratio": model.train_ratio,
        "training": training_record(resolve_checkpoint(model.pretrained)),
        "dtype": plan.config.dtype,
        "layers": config.get_text_config().num_hidden_layers,
        "image_tokens": nominal_image_tokens(config),
        "anyres": family.resolutions(config),
        "image_processing": model.image_processing,
        "adapter": recorded(plan.adapter),
        "generation": {"choice": model.generation or "benchmark", "checkpoint": plan.checkpoint.generation},
        "chat_template": model.chat_template,
        "system_prompt": system_prompt(model.chat_template),
    }


def training_record(source: Path | str) -> dict[str, Any] | None:
    """What the checkpoint's folder says about its training, if it does. Raises UserError if it is damaged."""
    path = Path(source) / "training_record.json"
    if not isinstance(source, Path) or not path.is_file():
        return None
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no valid JSON ({error}). Copy the checkpoint again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object. Copy the checkpoint again.")
    return found


def _image_preparation(source: str, plan: "Plan") -> str:
    """Return what becomes of an image that is no square, in one word."""
    found = get_image_processor_config(source, revision=plan.commit or "main")
    pad = plan.config.model.image_processing == "pad"
    return families.multimodal(plan.checkpoint.family).image_preparation(found, pad)
