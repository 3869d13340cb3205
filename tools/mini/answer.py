"""Let a model answer the rendered suite's questions, outside lmms-eval: for the model card's measurements."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from pdrop_eval.benchmarks.rendered.suite import QUESTIONS, TASKS, render

BATCH = {"llava": 60, "llava_next": 12, "qwen2_5_vl": 60}  # a LLaVA-NeXT has up to nine times the tokens


def load_mini(folder):
    """The miniature in `folder` and its processor, in float32, ready to answer."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"  # a training pads on the right, and its checkpoint says so
    return model.eval(), processor


def _inputs(processor, rows, blank: bool):
    """Processor inputs for rendered rows; `blank` replaces each picture by plain light grey."""
    conversations = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.prompt}]}]
        for _, question, _ in rows
    ]
    texts = [processor.apply_chat_template(c, add_generation_prompt=True) for c in conversations]
    images = [np.full_like(p.image, 240) if blank else p.image for p, _, _ in rows]
    return processor(images=images, text=texts, return_tensors="pt", padding=True)


@torch.no_grad()
def answer_suite(
    model, processor, strategy=None, blank: bool = False, questions: int = QUESTIONS,
    tasks: Sequence[str] = TASKS,
) -> dict[str, list[str]]:  # fmt: skip
    """Greedy answers to the first `questions` questions of each task while `strategy` drops tokens."""
    found: dict[str, list[str]] = {}
    batch = BATCH[model.config.model_type]
    with strategy(model) if strategy else nullcontext():
        for task in tasks:
            rows, found[task] = render(task, questions), []
            for start in range(0, len(rows), batch):
                inputs = _inputs(processor, rows[start : start + batch], blank)
                output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
                new = output[:, inputs["input_ids"].shape[1] :]
                found[task] += [a.strip() for a in processor.batch_decode(new, skip_special_tokens=True)]
    return found


def is_right(answers: dict[str, list[str]]) -> dict[str, list[bool]]:
    """Whether each answer is exactly right, by task."""
    return {
        task: [
            a == question.answer for a, (_, question, _) in zip(given, render(task, len(given)), strict=True)
        ]
        for task, given in answers.items()
    }


def exact_match(answers: dict[str, list[str]]) -> dict[str, float]:
    """Share of exactly right answers by task, 0 to 1."""
    return shares(is_right(answers))


def shares(right: dict[str, list[bool]]) -> dict[str, float]:
    """Share of right answers by task, 0 to 1."""
    return {task: sum(found) / len(found) for task, found in right.items()}


def best_constant(questions: int = QUESTIONS) -> dict[str, list[str]]:
    """By task, the answer that is right most often, given to each of the first `questions` questions."""
    given = {}
    for task in TASKS:
        asked = [question.answer for _, question, _ in render(task, questions)]
        given[task] = Counter(asked).most_common(1)[0][:1] * len(asked)
    return {task: list(answers) for task, answers in given.items()}
