"""An endpoint's record header: what is known of the run before the first question. Needs no torch."""

from typing import TYPE_CHECKING, Any

from pdrop_eval.records.rows.overrides import changes_from_default
from pdrop_eval.run.config.endpoint import OF_THE_SERVER
from pdrop_eval.utils.code import provenance, versions
from pdrop_eval.utils.text.redact import redact, redact_all

if TYPE_CHECKING:
    from pdrop_eval.run.evaluate.plan import Plan

_NOT_FIXED = ["the server's version, settings and batches", "answers on another machine"]


def make_header(plan: "Plan", command: str, offer: dict[str, Any]) -> dict[str, Any]:
    """Return the header; what only the server knows is missing, not guessed.

    Args:
        plan: The run's.
        command: That makes it.
        offer: What the server says of itself, see `server.ask_offer`.
    """
    config, endpoint = plan.config, plan.config.endpoint
    assert endpoint is not None
    settings = config.to_dict()
    dropped = ("strategy", "budget", *OF_THE_SERVER)
    return {
        "command": redact(command),
        "config": redact_all({key: value for key, value in settings.items() if key not in dropped}),
        "changes": changes_from_default({**settings, "model": {}, "strategy": {}}),
        "seed": config.seed,
        "code": provenance.code_identity(),
        "packages": provenance.package_versions(),
        "untested_packages": versions.untested(),
        "hardware": provenance.hardware(),
        "model": {
            "name": endpoint.name,
            "served": endpoint.served,
            "revision": endpoint.revision,
            "generation": {"choice": "greedy", "max_new_tokens": endpoint.max_new_tokens},
        },
        "server": redact_all(offer),
        "strategy": {
            "name": plan.strategy,
            "target": config.strategy.target,
            "fields": {},
            "display_name": "Server's own",
            "notes": ["Which tokens are dropped is up to the server; what that costs isn't known."],
        },
        "budget": None,
        "suite": {"name": config.suite.name, "source": config.suite.source},
        "inputs": {
            "images": "png",
            "downsample": config.downsample,
            "system_prompt": None,
            "textvqa_ocr": config.suite.textvqa_ocr,
        },
        "batch_size": None,
        "processes": 1,
        "limit": config.limit,
        "subset": config.subset,
        "determinism": {"repeatable": False, "threads": None, "not_fixed": _NOT_FIXED},
        "efficiency": dict.fromkeys(
            ("image_tokens", "image_tokens_per_layer", "tflops", "convention", "kv_cache_bytes")
        ),
    }
