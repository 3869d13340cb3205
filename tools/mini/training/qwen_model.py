"""The Qwen2.5-VL miniature: its architecture, its processor, and how its tower runs on many pictures at once.

Its decoder begins with the weights of the LLaVA-1.5 miniature, whose layers are the same but for the biases
and the positions; its tower is new, and learns from that miniature's.
"""

from functools import cache
from pathlib import Path

from pdrop_eval.benchmarks.rendered.canvas import GRID, PATCH, SCALE
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.mini.training.vocabulary import BOS, EOS, IMAGE, PAD, QWEN_TOKENS, TOKENS, build_qwen_tokenizer

MERGE = 2  # patches in each direction to a token
TOKEN = PATCH * SCALE  # pixels of a picture, in each direction, to a token
WINDOW = 4  # tokens in each direction to a window of the tower
# The decoder that this one begins with is used to image tokens some hundred times as large as words. The
# merger learns them at a word's size; what is saved has this factor, a power of two, in its last weights.
GROWTH = 256.0
MOST = 2 * GRID * GRID * 2  # tokens of a picture: twice an infographic's

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' or 'image' in part %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_config():
    """The configuration: a tower of 4 blocks and width 96, a decoder of 8 layers and width 128."""
    from transformers import Qwen2_5_VLConfig

    ids = {token: i for i, token in enumerate(QWEN_TOKENS)}
    return Qwen2_5_VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 3,
            "patch_size": TOKEN // MERGE,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": WINDOW * TOKEN,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1, 3],
        },
        text_config={
            "vocab_size": len(QWEN_TOKENS),
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "use_sliding_window": False,
        },
        image_token_id=IMAGE,
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def build_model(start: Path = MINI_CHECKPOINT):
    """The miniature before training; the tower's weights follow from torch's seed.

    Args:
        start: folder of the LLaVA-1.5 miniature that the decoder begins with.
    """
    import torch
    from torch import nn
    from transformers import LlavaForConditionalGeneration, Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration(build_config())
    llava = LlavaForConditionalGeneration.from_pretrained(start, dtype=torch.float32, use_safetensors=True)
    with torch.no_grad():
        for name, weight in model.model.visual.named_parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
                if any(part in name for part in ("attn.proj", "down_proj")):
                    weight.mul_(0.3)  # small residual branches: the network starts close to the identity
        _take_over(model.model.language_model, llava.model.language_model)
        model.lm_head.weight[: len(TOKENS)] = llava.lm_head.weight
        model.lm_head.weight[len(TOKENS) :] = llava.lm_head.weight[PAD]
    return model


def grown(model):
    """Give the merger's last weights the factor that training applies to its output; returns the model."""
    import torch

    with torch.no_grad():
        for weight in model.model.visual.merger.mlp[2].parameters():
            weight.mul_(GROWTH)
    return model


def _take_over(decoder, start) -> None:
    """Give a decoder the weights of another; the biases of q, k and v begin at 0, new tokens with noise."""
    weights = dict(start.named_parameters())
    for name, weight in decoder.named_parameters():
        if name in weights and weights[name].shape == weight.shape:
            weight.copy_(weights[name])
        elif name.endswith("bias"):
            weight.zero_()
        else:
            assert name == "embed_tokens.weight", name
            weight[: len(TOKENS)] = weights[name]
            weight[len(TOKENS) :].normal_(std=float(weights[name].std()))


def build_processor():
    """The processor: pixels to -1..1 at their own resolution, the tokenizer with its chat template."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    sizes = {
        "patch_size": TOKEN // MERGE,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    bounds = {"shortest_edge": 16 * TOKEN**2, "longest_edge": MOST * TOKEN**2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=bounds, **sizes),
        tokenizer=build_qwen_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(size=bounds, **sizes),
        chat_template=CHAT_TEMPLATE,
    )


@cache
def window_order(rows: int, columns: int):
    """The order of tokens in which windows lie one after the other, int [rows * columns]; whole windows."""
    import torch

    index = torch.arange(rows * columns).reshape(rows // WINDOW, WINDOW, columns // WINDOW, WINDOW)
    return index.transpose(1, 2).reshape(-1)


def tower_features(tower, patches, rows: int, columns: int):
    """Run the tower on pictures of one size, all windows at once; transformers runs each by itself.

    Args:
        tower: a Qwen2_5_VisionTransformerPretrainedModel.
        patches: [B, 4 * rows * columns, values], the four of a token together, as the processor cuts them.
        rows: of tokens; a multiple of `WINDOW`, as `columns`.
        columns: of tokens.

    Returns:
        The image tokens [B, rows * columns, d], row by row.
    """
    import torch
    from transformers.vision_utils import get_vision_position_ids

    order = window_order(rows, columns)
    grid = torch.tensor([[1, rows * MERGE, columns * MERGE]])

    def windowed(values):
        return values.unflatten(-2, (rows * columns, MERGE**2))[..., order, :, :].flatten(-3, -2)

    batch, count = patches.shape[:2]
    # A convolution whose stride is its kernel; as a product it is much faster on a processor.
    hidden = windowed(patches @ tower.patch_embed.proj.weight.flatten(1).T)
    places = get_vision_position_ids(grid, MERGE)
    cos, sin = (windowed(part) for part in tower.rotary_pos_emb(hidden, places))
    for number, block in enumerate(tower.blocks):
        full = number in tower.fullatt_block_indexes
        size = count if full else (WINDOW * MERGE) ** 2
        hidden = hidden + _attend(block.attn, block.norm1(hidden), cos, sin, size)
        hidden = hidden + block.mlp(block.norm2(hidden))
    merged = tower.merger(hidden.flatten(0, 1)).unflatten(0, (batch, rows * columns))
    return merged[:, order.argsort()]


def _attend(attention, hidden, cos, sin, size: int):
    """Attention of a block within pieces of `size` patches; hidden [B, n, w]."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

    query, key, value = attention.qkv(hidden).unflatten(-1, (3, attention.num_heads, -1)).unbind(-3)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    query, key, value = (
        part.unflatten(1, (-1, size)).transpose(-3, -2) for part in (query, key, value)
    )  # [B, pieces, heads, size, e]
    weights = ((query * query.shape[-1] ** -0.5) @ key.mT).softmax(-1)
    return attention.proj((weights @ value).transpose(-3, -2).flatten(1, 2).flatten(-2))
