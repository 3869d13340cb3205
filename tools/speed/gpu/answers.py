"""Are the answers those of the processor? The miniature on both, in every precision and with every kernel."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from pdrop_eval.benchmarks.rendered.suite import render
from pdrop_eval.models.loading.load import Loaded, load
from pdrop_eval.strategies.make import make_strategy
from tools.speed.gpu.ground import Ground

_STRATEGIES = ("vanilla", "fastv", "pdrop", "visionzip")
_TASKS = ("gqa", "docvqa_val")
Said = tuple[list[list[int]], list[list[list[int]]]]  # token ids of answers; retained ids by drop and row


def answers(ground: Ground) -> dict[str, Any]:
    """How many answers and retained tokens are those of the processor in float32, by precision and kernel."""
    new = ground.scaled(8, 2)
    prompts, pictures = _questions(ground.scaled(16, 1))
    torch.backends.cudnn.allow_tf32 = False  # convolutions, too, are to be in float32
    wanted = _said(_miniature("cpu", "float32"), prompts, pictures, "cpu", new)
    found: dict[str, Any] = {"questions": len(prompts), "ways": {}}
    for dtype in ("float32", "float16", "bfloat16"):
        loaded = _miniature(ground.device, dtype)
        for attention in ("sdpa", "eager", "flash_attention_2"):
            way = f"{dtype}, {attention}"
            if attention == "flash_attention_2" and (dtype == "float32" or find_spec("flash_attn") is None):
                continue
            loaded.model.set_attn_implementation(attention)
            said = _said(loaded, prompts, pictures, ground.device, new)
            found["ways"][way] = {
                label: {
                    "answers": _same(own[0], wanted[label][0]),
                    "tokens": _shared(own[1], wanted[label][1]),
                }
                for label, own in said.items()
            }
            ground.keep(found)
    return found


def padding(ground: Ground) -> dict[str, Any]:
    """Padded rows: is all that is cached finite, and is an answer the same alone and in a batch?"""
    prompts, pictures = _questions(ground.scaled(8, 1))
    new = ground.scaled(8, 2)
    found: dict[str, Any] = {"questions": len(prompts), "ways": {}}
    for dtype in ("float32", "float16", "bfloat16"):
        loaded = _miniature(ground.device, dtype)
        together = _said(loaded, prompts, pictures, ground.device, new)
        alone: dict[str, list[list[int]]] = {label: [] for label in _STRATEGIES}
        for prompt, picture in zip(prompts, pictures, strict=True):
            for label, own in _said(loaded, [prompt], [picture], ground.device, new).items():
                alone[label] += own[0]
        found["ways"][dtype] = {
            label: {
                "same": _same(together[label][0], alone[label]),
                "finite": _is_finite(loaded, label, prompts, pictures, ground.device),
            }
            for label in _STRATEGIES
        }
        ground.keep(found)
    return found


def _questions(each: int) -> tuple[list[str], list[Any]]:
    """Prompts of different lengths, and a picture for each."""
    from PIL import Image

    rendered = [one for task in _TASKS for one in render(task, each)]
    pictures = [Image.fromarray(picture.image) for picture, _, _ in rendered]
    asked = [question.prompt for _, question, _ in rendered]
    return [f"USER: <image>\n{question} ASSISTANT:" for question in asked], pictures


def _miniature(device: str, dtype: str) -> Loaded:
    return load("embedded", None, device, dtype, "sdpa", trust_remote_code=False)


def _inputs(loaded: Loaded, prompts: Sequence[str], pictures: Sequence[Any], device: str) -> dict[str, Any]:
    inputs = loaded.processor(images=list(pictures), text=list(prompts), padding=True, return_tensors="pt")
    half = loaded.model.dtype
    return {k: v.to(device, half if v.is_floating_point() else None) for k, v in inputs.items()}


def _strategy(label: str) -> Any:
    return make_strategy(label, {"dominant": 27, "contextual": 5} if label == "visionzip" else {})


def _said(
    loaded: Loaded, prompts: Sequence[str], pictures: Sequence[Any], device: str, new: int
) -> dict[str, Said]:
    """By strategy."""
    model: Any = loaded.model
    found = {}
    for label in _STRATEGIES:
        inputs = _inputs(loaded, prompts, pictures, device)
        with torch.no_grad(), _strategy(label)(model) as report:
            output = model.generate(**inputs, max_new_tokens=new, do_sample=False)
            retained = [[list(map(int, ids)) for ids in drop] for drop in report.retained]
        rows = output[:, inputs["input_ids"].shape[1] :].tolist()
        tokenizer = loaded.processor.tokenizer
        ends = {tokenizer.pad_token_id, tokenizer.eos_token_id}  # a row that is done earlier is filled up
        found[label] = ([[token for token in row if token not in ends] for row in rows], retained)
    return found


def _is_finite(
    loaded: Loaded, label: str, prompts: Sequence[str], pictures: Sequence[Any], device: str
) -> bool:
    model: Any = loaded.model
    with torch.no_grad(), _strategy(label)(model):
        out = model(**_inputs(loaded, prompts, pictures, device), use_cache=True, output_hidden_states=False)
    kept = [part for layer in out.past_key_values.layers for part in (layer.keys, layer.values)]
    return all(bool(part.isfinite().all()) for part in (*kept, out.logits))


def _same(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The share of equal answers."""
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(theirs)


def _shared(ours: Sequence[Any], theirs: Sequence[Any]) -> float | None:
    """The share of retained tokens that are retained there, too; None where nothing is dropped."""
    pairs = [(a, b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)]
    total = sum(len(b) for _, b in pairs)
    return sum(len({*a} & {*b}) for a, b in pairs) / total if total else None
