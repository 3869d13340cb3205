"""The miniature's architecture and processor: LLaVA-1.5, quartered in tokens and small in width."""

from pdrop_eval.benchmarks.rendered.canvas import GRID, PATCH, SIZE
from tools.mini.training.vocabulary import BOS, EOS, IMAGE, PAD, TOKENS, build_tokenizer

IMAGE_TOKENS = GRID * GRID

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' }}{% else %}{{ 'ASSISTANT: ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}{{ ' ' }}{% else %}{{ eos_token if eos_token else '</s>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def build_config():
    """The configuration: CLIP of 3 layers and Llama of 8, width 128, 144 image tokens, 2.2M parameters."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=128,
        hidden_act="gelu_pytorch_tanh",
    )
    text = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        tie_word_embeddings=False,
        rms_norm_eps=1e-5,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )


def build_model():
    """An untrained miniature; weights follow from torch's seed."""
    import torch
    from torch import nn
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration(build_config())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name and "lm_head" not in name:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
                # Small residual branches: the network starts close to the identity.
                if any(part in name for part in ("o_proj", "down_proj", "out_proj", "fc2")):
                    weight.mul_(0.3)
            elif "position_embedding" in name:
                nn.init.normal_(weight, std=0.3)
            elif "patch_embedding" in name:
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
            elif "embed_tokens" in name:
                nn.init.normal_(weight, std=0.5)
    return model


def build_processor():
    """The processor: no cropping, pixels to -1..1, the tokenizer with its chat template."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(
        do_resize=True,
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=2,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
