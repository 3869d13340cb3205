"""A run's record header: everything about it that is known before the first sample. Imports torch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from transformers import AutoConfig

from pdrop_eval import provenance
from pdrop_eval.checks import resolve_checkpoint
from pdrop_eval.configs import instantiate_strategy
from pdrop_eval.efficiency.flops import kv_cache_bytes, theoretical_flops
from pdrop_eval.errors import UserError

if TYPE_CHECKING:
    from pdrop_eval.evaluate import Plan

Tflops = Callable[[Sequence[int]], float]


def make_header(plan: "Plan", command: str) -> tuple[Any, dict[str, Any], Tflops]:
    """The strategy, the header, and the TFLOPs of given image tokens per layer.

    Raises UserError for a strategy that doesn't fit the model: wrong values, layers outside of it.
    """
    config = plan.config
    strategy = instantiate_strategy(config.strategy)
    source = str(resolve_checkpoint(config.model.pretrained))
    transformers_config = _read_config(source, plan)
    layers = transformers_config.get_text_config().num_hidden_layers
    image_tokens = nominal_image_tokens(transformers_config)
    schedule = strategy.schedule(layers, image_tokens)
    flops = theoretical_flops(transformers_config, schedule)
    header = {
        "command": command,
        "config": OmegaConf.to_container(config, resolve=True),
        "seed": config.seed,
        "code": provenance.code_identity(),
        "packages": provenance.package_versions(),
        "hardware": provenance.hardware(),
        "model": _model(plan, layers, image_tokens),
        "strategy": {"name": plan.strategy, "fields": asdict(strategy)},
        "suite": {"name": config.suite.name, "source": config.suite.source},
        "batch_size": config.batch_size,
        "limit": config.limit,
        "efficiency": {
            "image_tokens": image_tokens,
            "image_tokens_per_layer": list(schedule),
            "tflops": flops.total / 1e12,
            "convention": flops.convention,
            "kv_cache_bytes": kv_cache_bytes(transformers_config, schedule, config.dtype),
        },
    }
    return strategy, header, lambda tokens: theoretical_flops(transformers_config, tokens).total / 1e12


def nominal_image_tokens(config: Any) -> int:
    """The image tokens of one image by the config: what the theoretical figures stand on.

    LLaVA-NeXT's number depends on the image; here it is the largest grid without newline and padding effects
    (2,880 for 4 tiles and the overview of 336 pixels, as in the paper's Table 5).
    """
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    per_tile = patches + (1 if config.vision_feature_select_strategy == "full" else 0)
    if config.model_type != "llava_next":
        return per_tile
    size = vision.image_size
    tiles = max((height // size) * (width // size) for height, width in config.image_grid_pinpoints)
    return per_tile * (1 + tiles)


def _read_config(source: str, plan: "Plan") -> Any:
    try:
        return AutoConfig.from_pretrained(
            source,
            revision=plan.commit or "main",
            trust_remote_code=plan.config.model.trust_remote_code,
        )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"The config.json of {plan.config.model.pretrained} can't be read by the installed transformers: "
            f"{error} Use a checkpoint that transformers itself has saved."
        ) from error


def _model(plan: "Plan", layers: int, image_tokens: int) -> dict[str, Any]:
    model = plan.config.model
    return {
        "name": model.name,
        "pretrained": model.pretrained,
        "revision": model.revision,
        "commit": plan.commit,
        "sha256": plan.identity["model_sha256"],
        "family": plan.checkpoint.family,
        "dtype": plan.config.dtype,
        "layers": layers,
        "image_tokens": image_tokens,
        "image_processing": model.image_processing,
        "chat_template": model.chat_template,
    }
