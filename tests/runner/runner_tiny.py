"""Tiny random checkpoints and tiny data files, with the shapes of the real ones."""

import io
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endfor %} ASSISTANT:"
)
SIZE, PATCH = 16, 4  # 16 image tokens


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    words = SPECIAL + [chr(c) for c in range(32, 127)] + ["\n"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return made


def checkpoint(folder: Path, family: str = "llava", layers: int = 4, template: str | None = TEMPLATE) -> Path:
    """Saves a random model of a family with its processor."""
    words = tokenizer()
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096,
        pad_token_id=3, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=SIZE,
        patch_size=PATCH, projection_dim=32,
    )  # fmt: skip
    common = {"vision_config": vision, "text_config": text, "image_token_index": 4}
    images = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
    parts = {
        "tokenizer": words, "patch_size": PATCH, "chat_template": template,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1, "image_token": "<image>",
    }  # fmt: skip
    torch.manual_seed(0)
    if family == "llava":
        model = LlavaForConditionalGeneration(LlavaConfig(**common))
        processor = LlavaProcessor(image_processor=CLIPImageProcessor(**images), **parts)
    else:
        grid = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]
        model = LlavaNextForConditionalGeneration(LlavaNextConfig(**common, image_grid_pinpoints=grid))
        image_processor = LlavaNextImageProcessor(**images, image_grid_pinpoints=grid)
        processor = LlavaNextProcessor(image_processor=image_processor, **parts)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (20, 14)) -> Image.Image:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(seed: int, size: tuple[int, int] = (20, 14)) -> dict:
    """The same, as a data set stores it."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def rows(task: str, n: int) -> list[dict]:
    """Questions with the columns of a task; the image of question i is picture i // 2."""
    return [_row(task, i) for i in range(n)]


def _row(task: str, i: int) -> dict:
    image, question = encoded(i // 2), f"Question {'x' * (i % 5)} {i}?"
    yes = ["Yes", "No"][i % 2]
    options = {"A": "red", "B": "green", "C": "blue", "D": "cyan"}
    made = {
        "mme": {
            "question_id": f"{i // 2}.png", "answer": yes, "category": ["color", "count"][i // 2 % 2],
        },
        "scienceqa_img": {"choices": ["one", "two", "three"], "answer": i % 3, "hint": ""},
        "mmbench_cn_dev": {
            "index": i, "hint": "nan", "answer": "ABCD"[i % 4], **options, "category": "color",
            "L2-category": "perception", "source": "x", "split": "dev",
        },
        "gqa": {"answer": ["red", "blue"][i % 2]},
        "pope": {
            "question_id": str(i), "answer": yes.lower(),
            "category": ["random", "popular", "adversarial"][i // 2 % 3],
        },
        "textvqa_val": {"question_id": i, "answers": [["STOP", "GO"][i % 2]] * 10},
        "chartqa": {"type": ["human_test", "augmented_test"][i % 2], "answer": str(i)},
        "docvqa_val": {"answers": [f"word{i}", f"term{i}"]},
        "seedbench": {
            "image": [image], "choice_a": "red", "choice_b": "green", "choice_c": "blue", "choice_d": "cyan",
            "answer": "ABCD"[i % 4], "data_type": "image", "question_id": str(i),
        },
        "mmstar": {
            "index": i, "answer": "ABCD"[i % 4], "category": ["math", "logical reasoning"][i % 2],
            "l2_category": ["geometry", "diagram reasoning"][i % 2],
        },
        "ocrvqa": {
            "answer": f"Title {i}", "question_id": f"b{i // 2}_{i % 2}", "image_id": f"b{i // 2}",
            "title": "t", "genre": "g",
        },
        "vqav2_val": {"question_id": i, "answers": opinions(*["red"] * 7, *["blue"] * 3)},
        "vizwiz_vqa_val": {"question_id": f"v{i}.jpg", "answers": ["red"] * 7 + ["unanswerable"] * 3},
        "mmvet": {"question_id": f"v1_{i}", "answer": f"{i}", "capability": "rec,ocr", "image_source": "x"},
    }  # fmt: skip
    made["mmbench_en_dev"], made["infovqa_val"] = made["mmbench_cn_dev"], made["docvqa_val"]
    return {"question": question, "image": image, **made[task]}


def opinions(*answers: str) -> list[dict]:
    """VQAv2's annotators."""
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": i} for i, answer in enumerate(answers, 1)
    ]


TASKS = (
    "mme", "mmbench_en_dev", "mmbench_cn_dev", "seedbench", "mmstar", "pope", "docvqa_val", "infovqa_val",
    "textvqa_val", "chartqa", "ocrvqa", "vqav2_val", "vizwiz_vqa_val", "gqa", "scienceqa_img", "mmvet",
)  # fmt: skip


def suite(folder: Path, n: int = 6, tasks: tuple[str, ...] = TASKS) -> Path:
    """Writes data files for tasks."""
    for task in tasks:
        write(task, rows(task, n), folder)
    return folder


def write(task: str, content: list[dict], folder: Path) -> None:
    """Writes a task's data file."""
    folder.mkdir(parents=True, exist_ok=True)
    image = datasets.List(datasets.Image()) if task == "seedbench" else datasets.Image()
    data = datasets.Dataset.from_list(content).cast_column("image", image)
    data.to_parquet(folder / f"{task}.parquet")


@contextmanager
def short_answers():
    """A random model never ends an answer by itself, and some tasks let it go on for 1,024 tokens."""
    from pdrop_eval.run.lmms import model

    asked = model.arguments_of

    def few(given, max_new_tokens):
        arguments, until = asked(given, max_new_tokens)
        return {**arguments, "max_new_tokens": min(4, arguments["max_new_tokens"])}, until

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "arguments_of", few)
        yield
