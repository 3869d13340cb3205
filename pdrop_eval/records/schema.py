"""What the fields of records and samples are, as far as anything is computed from them or shown of them."""

from typing import Any

from pdrop_eval.utils.validation import find_wrong_kind, parse

_MODEL = {
    "name": "text", "pretrained?": "text", "revision?": "text", "commit?": "text", "sha256?": "text",
    "family?": "text", "architecture?": "text", "patches?": "whole", "train_patches?": "whole",
    "size?": "text", "train?": "text", "train_ratio?": "number", "training?": "object", "dtype?": "text",
    "layers?": "whole", "image_tokens?": "whole", "anyres?": "list", "image_processing?": "text",
    "chat_template?": "text", "system_prompt?": "text",
}  # fmt: skip
_CONFIG = {
    "model?": "object",
    "strategy?": "object",
    "suite?": "object",
    "data?": "object",
    "budget?": "object",
}
_IDENTITY = {
    "model_sha256?": "text", "data_sha256?": "object of texts", "packages?": "object of texts",
    "code?": {"version?": "text", "sha256?": "text"},
}  # fmt: skip
_EFFICIENCY = {
    "image_tokens?": "whole", "image_tokens_per_layer?": "numbers", "tflops?": "number",
    "convention?": "text", "kv_cache_bytes?": "whole",
}  # fmt: skip
RECORD = {
    "run_id": "name", "status": "text", "created": "text", "updated?": "text", "command?": "text",
    "error?": "text", "seed?": "whole", "limit?": "whole", "batch_size?": "number or text",
    "processes?": "whole", "model": _MODEL, "strategy": {"name": "text", "fields?": "object"},
    "suite?": {"name?": "text", "source?": "text"},
    "inputs?": {"images?": "text", "downsample?": "whole", "system_prompt?": "text"},
    "config?": _CONFIG, "identity?": _IDENTITY, "efficiency?": _EFFICIENCY,
    "code?": {"version?": "text", "commit?": "text", "dirty?": "flag"},
    "packages?": "object", "hardware?": "object", "budget?": "object", "resumed?": "list", "tasks": "object",
}  # fmt: skip
TASK = {
    "benchmark": "text", "metric?": "text", "stderr?": "number", "clusters?": "whole",
    "parts?": "object of numbers", "scale?": "text", "higher_is_better?": "flag",
    "metrics?": "object of numbers", "batch_size?": "whole", "wall_seconds?": "number",
    "usage?": {"model_seconds?": "number", "images?": "whole", "encoded?": "whole"},
    "retained_tokens_per_layer?": "numbers", "image_tokens_mean?": "number",
    "image_tokens_max?": "whole", "tflops_mean?": "number", "data_sha256?": "text", "predictions?": "path",
    "judge?": {"model?": "text"},
}  # fmt: skip
SAMPLE = {
    "doc_id?": "number or text", "prompt?": "text", "answer?": "text", "score?": "number",
    "cluster?": "whole", "part?": "text", "content_sha256?": "text", "images_sha256?": "text",
    "prompt_tokens?": "whole", "image_tokens?": "whole", "image_tokens_per_layer?": "wholes",
    "new_tokens?": "whole", "image_sizes?": "sizes", "image_grids?": "grids", "retained?": "masks",
    "to_judge?": "object of texts",
}  # fmt: skip


def read_sample(line: str) -> dict[str, Any]:
    """A sample from its line in a file. Raises ValueError, in words, for one that is damaged."""
    sample = parse(line)
    fault = find_wrong_kind(sample, SAMPLE) if isinstance(sample, dict) else "a line holds no object"
    if fault:
        raise ValueError(fault)
    return sample
