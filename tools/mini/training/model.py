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


def build_config(
    size: int = SIZE,
    tower: int = 3,
    depth: int = 8,
    feature: int = -1,
    joint: int = 128,
    positions: int = 1024,
):
    """The configuration: by default CLIP of 3 layers and Llama of 8, 144 image tokens, 2.2M parameters.

    Args:
        size: of a picture, in pixels in each direction.
        tower: layers of the tower.
        depth: layers of the decoder.
        feature: the layer of the tower that image tokens are taken from.
        joint: width of the space of pictures and captions.
        positions: that the decoder has.
    """
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=tower,
        num_attention_heads=4,
        image_size=size,
        patch_size=PATCH,
        projection_dim=joint,
        hidden_act="gelu_pytorch_tanh",
    )
    text = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=depth,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
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
        image_seq_length=(size // PATCH) ** 2,
        vision_feature_select_strategy="default",
        vision_feature_layer=feature,
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


def build_processor(size: int = SIZE):
    """The processor: no cropping, `size` pixels to -1..1, the tokenizer with its chat template."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(
        do_resize=True,
        size={"height": size, "width": size},
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
