"""Let a model answer the rendered suite's questions, outside lmms-eval: for the model card's measurements."""

from collections import Counter
from contextlib import nullcontext

import numpy as np
import torch

from pdrop_eval.mini.suite import TASKS, render

BATCH = 60


def load_mini(folder):
    """The miniature in `folder` and its processor, in float32, ready to answer."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(folder, use_safetensors=True).eval()
    return model, AutoProcessor.from_pretrained(folder)


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
def exact_match(model, processor, strategy=None, blank: bool = False) -> dict[str, float]:
    """Share of exactly right greedy answers by task, 0 to 1, while `strategy` drops tokens."""
    shares = {}
    with strategy(model) if strategy else nullcontext():
        for task in TASKS:
            rows, right = render(task), 0
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                inputs = _inputs(processor, part, blank)
                output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
                answers = processor.batch_decode(
                    output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
                )
                right += sum(a.strip() == q.answer for a, (_, q, _) in zip(answers, part, strict=True))
            shares[task] = right / len(rows)
    return shares


def best_constant() -> dict[str, float]:
    """Share of right answers by task for the best answer that is always the same."""
    shares = {}
    for task in TASKS:
        answers = Counter(question.answer for _, question, _ in render(task))
        shares[task] = answers.most_common(1)[0][1] / answers.total()
    return shares
