"""Tiny text towers for CDPruner: as an object, and as a folder of CLIP with its tokenizer."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, PreTrainedTokenizerFast

from pdrop_eval.strategies.cdpruner import TextTower

WORDS = ["<pad>", "<s>", "what", "is", "here", "where", "a", "cat", "</s>"]
SIZES = {"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 12}


def clip(width):
    """A random CLIP whose vision tower has patches of this width."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = CLIPTextConfig(hidden_size=16, vocab_size=len(WORDS), max_position_embeddings=10, **SIZES)
        vision = CLIPVisionConfig(hidden_size=width, image_size=20, patch_size=4, **SIZES)
        text, image = words.to_dict(), vision.to_dict()
        return CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=12)).eval()


def text_tower(width):
    """The parts of it that CDPruner needs; words are told apart by their length."""
    model = clip(width)
    return TextTower(
        model.text_model,
        model.text_projection,
        model.vision_model.post_layernorm,
        model.visual_projection,
        lambda text: [1, *(min(len(word), 7) for word in text.split()), 8],
    )


def saved(folder, width):
    """The folder, with the CLIP and its tokenizer in it."""
    clip(width).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", len(WORDS) - 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    return str(folder)
