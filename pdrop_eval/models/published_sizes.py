"""Sizes of published LLaVA models, so that one with random weights can be built without a download.

As in the config.json files of llava-hf's conversions. Nothing here needs torch before a config is asked for.
"""

from typing import Any

from pdrop_eval.models.tiling import pinpoints
from pdrop_eval.utils.validation import check_choice

_VOCABULARY = 32064
# The decoders: Vicuna 7B and 13B, Mistral 7B (v0.2, without a window), Yi 34B.
_DECODERS: dict[str, dict[str, Any]] = {
    "vicuna_7b": {},  # what transformers takes where a config says nothing else
    "vicuna_13b": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
    },
    "mistral_7b": {"model_type": "mistral", "rope_theta": 1e6, "sliding_window": None},
    "yi_34b": {
        "vocab_size": 64064,
        "hidden_size": 7168,
        "intermediate_size": 20480,
        "num_hidden_layers": 60,
        "num_attention_heads": 56,
        "num_key_value_heads": 8,
        "rope_theta": 5e6,
    },
}
PUBLISHED = {
    "llava_1_5_7b": ("llava", "vicuna_7b"),
    "llava_1_5_13b": ("llava", "vicuna_13b"),
    "llava_next_7b": ("llava_next", "vicuna_7b"),
    "llava_next_mistral_7b": ("llava_next", "mistral_7b"),
    "llava_next_13b": ("llava_next", "vicuna_13b"),
    "llava_next_34b": ("llava_next", "yi_34b"),
}


def published_config(name: str, anyres: Any = None) -> Any:
    """Return the transformers config of a published model, by its name in `PUBLISHED`.

    The vision tower is CLIP-L at 336 pixels with patches of 14: 576 image tokens a tile. anyres: grids of a
    LLaVA-NeXT (see `pdrop_eval.models.tiling`); None: its own, of at most 4 tiles.

    Raises:
        UserError: an unknown name.
    """
    check_choice("published model", name, tuple(PUBLISHED))
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaNextConfig

    family, decoder = PUBLISHED[name]
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    settings: dict[str, Any] = {
        "text_config": _text_config(**_DECODERS[decoder]),
        "vision_config": vision,
        "image_token_index": 32000 if decoder != "yi_34b" else 64000,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "image_seq_length": 576,
    }
    if family == "llava":
        return LlavaConfig(**settings)
    return LlavaNextConfig(**settings, image_grid_pinpoints=pinpoints(anyres or "p5", 336))


def _text_config(model_type: str = "llama", rope_theta: float = 1e4, **sizes: Any) -> Any:
    from transformers import LlamaConfig, MistralConfig

    build: Any = {"llama": LlamaConfig, "mistral": MistralConfig}[model_type]
    text = {
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        "tie_word_embeddings": False,
    }
    return build(**{**text, **sizes})
