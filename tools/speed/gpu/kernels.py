"""Which kernels attention takes, what cuDNN's plans cost, where the host waits, and NaN in gradients."""

import time
import warnings
from collections import Counter
from typing import Any

import torch

from pdrop_eval.run.bench.work import Work
from tools.speed.gpu.ground import Ground, cudnn_attention, profiled, ran

_ATTENTION = ("attention", "fmha", "flash", "cudnn", "mem_eff", "softmax")
_SAID = 4  # kernels of one kind
_NAMED = ("vanilla", "pdrop")


def kernels(ground: Ground) -> dict[str, Any]:
    """The kernels of a prefill and of a decode step, and 40 steps twice, with cuDNN's attention and without.

    With it, the second time is faster by the plans that the first one made.
    """
    work = ground.small(strategies=_NAMED)
    built = ground.build(work)
    found: dict[str, Any] = {"layers": ground.scaled(4, 4), "ways": {}}
    for cudnn in (False, True):
        with cudnn_attention(cudnn):
            for padded in (False, True):
                way = f"{'with' if cudnn else 'without'} cuDNN, {'padded' if padded else 'no padding'}"
                found["ways"][way] = _way(ground, work, built, padded)
                ground.keep(found)
    return found


def _way(ground: Ground, work: Work, built: Any, padded: bool) -> dict[str, Any]:
    steps = ground.scaled(40, 3)
    seconds = {}
    for label in _NAMED:
        both = []
        for _ in range(2):
            start = time.perf_counter()
            answer(ground, work, built, label, steps, padded)
            both.append(time.perf_counter() - start)
        seconds[label] = both
    prefill = profiled(ground, lambda: answer(ground, work, built, "pdrop", 1, padded))
    decoding = profiled(ground, lambda: answer(ground, work, built, "pdrop", 3, padded))
    first = _attention_kernels(ground, prefill)
    return {
        "steps": steps,
        "seconds": seconds,
        "prefill": first.most_common(_SAID),
        "decode": (_attention_kernels(ground, decoding) - first).most_common(_SAID),
    }


def answer(ground: Ground, work: Work, built: Any, label: str, steps: int, padded: bool) -> torch.Tensor:
    """Generate so many tokens of two prompts; of padded ones, the first has two columns less."""
    batch, mask = ground.padded(work, 2)
    given = {**batch.whole, **({"attention_mask": mask} if padded else {})}
    with torch.no_grad(), work.strategies[label](built):
        output: torch.Tensor = built.generate(
            **given, max_new_tokens=steps, min_new_tokens=steps, do_sample=False, pad_token_id=0
        )
        ground.cuda.synchronize()
    return output


def _attention_kernels(ground: Ground, found: Any) -> Counter[str]:
    names = [event.name for event in ran(ground, found)]
    return Counter(name[:100] for name in names if any(word in name.lower() for word in _ATTENTION))


def waits(ground: Ground) -> dict[str, Any]:
    """Where the host waits for the GPU in a prefill and five decode steps, by torch's own warnings."""
    work = ground.small(strategies=("vanilla", "fastv", "pdrop"))
    built = ground.build(work)
    found = {}
    for label in work.strategies:
        answer(ground, work, built, label, 6, True)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            ground.cuda.set_sync_debug_mode("warn")
            try:
                answer(ground, work, built, label, 6, True)
            finally:
                ground.cuda.set_sync_debug_mode("default")
        where = Counter(
            f"{_short(one.filename)}:{one.lineno}" for one in seen if "synchroniz" in str(one.message)
        )
        found[label] = where.most_common()
    return {"steps": 5, "waits": found}


def _short(path: str) -> str:
    for part in ("/pdrop_eval/", "/transformers/", "/torch/"):
        if part in path:
            return part.strip("/") + "/" + path.rpartition(part)[2]
    return path.rpartition("/")[2]


def gradients(ground: Ground) -> dict[str, Any]:
    """Gradients that aren't finite: of attention in PyTorch's own case, and of a step of PDrop."""
    found: dict[str, Any] = {"attention": {}, "training": {}}
    for cudnn in (False, True):
        with cudnn_attention(cudnn):
            found["attention"]["with cuDNN" if cudnn else "without"] = _attention_alone(ground)
            found["training"]["with cuDNN" if cudnn else "without"] = _training_step(ground)
    return found


def _attention_alone(ground: Ground) -> int:
    """192 is 64 mod 128, the mask is explicit, and each row's log-sum is far below -88.7."""
    n = ground.scaled(192, 24)
    shape = (1, 8, n, 64)
    query = torch.full(shape, -16.0, device=ground.device, dtype=torch.bfloat16, requires_grad=True)
    key = torch.full(shape, 16.0, device=ground.device, dtype=torch.bfloat16, requires_grad=True)
    value = torch.randn(shape, device=ground.device, dtype=torch.bfloat16, requires_grad=True)
    mask = torch.ones(n, n, dtype=torch.bool, device=ground.device).tril()[None, None]
    torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).sum().backward()
    assert query.grad is not None
    return int((~query.grad.isfinite()).sum())


def _training_step(ground: Ground) -> int:
    """With 576 and 32 tokens, 288 and 32 are left after the first drop: 320 is 64 mod 128."""
    work = ground.small("llava_1_5_7b", f"text_tokens={ground.scaled(32, 6)}", strategies=("pdrop",))
    built = ground.build(work).train()
    batch, mask = ground.padded(work, 2)
    labels = batch.whole["input_ids"].masked_fill(~mask.bool(), -100)
    labels[:, :-4] = -100
    with work.strategies["pdrop"](built):
        built(**batch.whole, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
    gradients = [p.grad for p in built.parameters() if p.grad is not None]
    return sum(int((~one.isfinite()).sum()) for one in gradients)
