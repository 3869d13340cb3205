"""Tiny random checkpoints of further families, with transformers' own processors in the real ones' forms."""

import torch
from runner_tiny import tokenizer
from transformers import AutoConfig, PreTrainedTokenizerFast

from pdrop_eval.models import families

# Special tokens by family, the image's first; a template in the form of the published one.
_QWEN = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>"]
_QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PLAIN = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %} ASSISTANT:"
)
TOKENS = {
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "llava_onevision": ["<image>", "<video>"],
    "internvl": ["<IMG_CONTEXT>", "<video>", "<img>", "</img>"],
}
FAMILIES = tuple(TOKENS)
TILE = 20


def words_of(family):
    """One token a character, and the family's own; the image's has the id 4 where "<image>" is its name."""
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<image>", *TOKENS[family]]})
    if family == "internvl":
        names = ("context_image_token", "video_token", "start_image_token", "end_image_token")
        return PreTrainedTokenizerFast(
            tokenizer_object=made.backend_tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
            pad_token="<pad>", extra_special_tokens=dict(zip(names, TOKENS[family], strict=True)),
        )  # fmt: skip
    return made


def config_of(family, words, layers=4):
    known = families.multimodal(family)
    import tiny_families

    text = AutoConfig.for_model(
        known.text_types[0],
        **{
            "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 8192, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2,
            **tiny_families.TEXT.get(known.text_types[0], {}),
        },
    )  # fmt: skip
    vision = AutoConfig.for_model(known.vision_types[0], **tiny_families.VISION[family])
    image = words.convert_tokens_to_ids(TOKENS[family][0])
    grids = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
    config = known.make_config(text, vision, image, grids)
    if hasattr(config, "video_token_id"):
        config.video_token_id = words.convert_tokens_to_ids(TOKENS[family][1])
    return config


def processor_of(family, words):
    import transformers as t

    image = TOKENS[family][0]
    template = _QWEN_TEMPLATE if family.startswith("qwen") else _PLAIN.replace("IMAGE", image)
    if family.startswith("qwen"):
        # A token covers 4x4 pixels; 4 to 256 of them a picture.
        size = {"shortest_edge": 64, "longest_edge": 4096}
        images = t.Qwen2VLImageProcessor(patch_size=2, merge_size=2, temporal_patch_size=2, size=size)
        name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}[family]
        video = t.Qwen3VLVideoProcessor if family == "qwen3_vl" else t.Qwen2VLVideoProcessor
        return getattr(t, f"{name}Processor")(images, words, video(size=size), chat_template=template)
    square = {"height": TILE, "width": TILE}
    if family == "llava_onevision":
        grids = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
        images = t.LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=grids)
        return t.LlavaOnevisionProcessor(
            images, words, t.LlavaOnevisionVideoProcessor(size=square), num_image_tokens=25,
            vision_feature_select_strategy="full", chat_template=template,
        )  # fmt: skip
    images = t.GotOcr2ImageProcessor(size=square, crop_to_patches=True, max_patches=4)
    return t.InternVLProcessor(
        images, words, t.InternVLVideoProcessor(size=square), image_seq_length=25, chat_template=template
    )


def checkpoint(folder, family, layers=4):
    """Saves a random model of a family with its processor."""
    words = words_of(family)
    torch.manual_seed(0)
    model = families.multimodal(family).load_class()(config_of(family, words, layers))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    processor_of(family, words).save_pretrained(folder)
    return folder
