"""The evaluation itself on rendered questions: questions a second, and what the GPU does meanwhile."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from typing import Any
from unittest import mock

from pdrop_eval.models.loading.load import Loaded, load
from pdrop_eval.run.bench.work import Work
from pdrop_eval.strategies.make import make_strategy
from tools.speed.gpu.ground import Ground, SkippedError, profiled, ran

_TASK = "docvqa_val"
_SLICES = 40  # of the timeline
# strategy, threads that prepare questions
_CONTENDERS = (("vanilla", 0), ("vanilla", 2), ("vanilla", 8), ("pdrop", 2), ("pdrop", 8))


def harness(ground: Ground) -> dict[str, Any]:
    """Questions a second of `PdropLlava` around a LLaVA-1.5-7B with random weights, and a timeline."""
    if find_spec("lmms_eval") is None:
        raise SkippedError("lmms-eval isn't installed")
    work = ground.work("llava_1_5_7b", strategies=("vanilla", "pdrop"))
    model = _wrapped(ground, work)
    number = ground.scaled(256, 4)
    found: dict[str, Any] = {"questions": number, "batch_size": model.batch_size, "contenders": []}
    _answered(model, "vanilla", 2, _requests(model, 2 * int(model.batch_size)))  # warms up
    for strategy, workers in _CONTENDERS:
        requests = _requests(model, number)
        start = time.perf_counter()
        _answered(model, strategy, workers, requests)
        rate = number / (time.perf_counter() - start)
        usage = model.answers.usage["rendered"]
        found["contenders"].append(
            {
                "strategy": strategy, "workers": workers, "questions_per_second": rate,
                "model_seconds": usage.model_seconds, "waiting_seconds": usage.waiting_seconds,
            }
        )  # fmt: skip
        ground.keep(found)
    few = _requests(model, min(number, 4 * int(model.batch_size)))
    found["timeline"] = {
        strategy: timeline(ground, profiled(ground, lambda one=strategy: _answered(model, one, 2, few)))  # type: ignore[misc]
        for strategy in ("vanilla", "pdrop")
    }
    return found


def timeline(ground: Ground, found: Any) -> dict[str, Any]:
    """How much of the time the device was busy, in all and by slices, from its first kernel to its last."""
    ranges = sorted((event.time_range.start, event.time_range.end) for event in ran(ground, found))
    if not ranges:
        return {"seconds": 0.0, "busy": 0.0, "slices": []}
    merged: list[list[float]] = []
    for start, end in ranges:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    first, last = merged[0][0], max(end for _, end in merged)
    width = max(last - first, 1e-9) / _SLICES
    slices = [0.0] * _SLICES
    for start, end in merged:
        for number in range(int((start - first) / width), min(int((end - first) / width) + 1, _SLICES)):
            low, high = first + number * width, first + (number + 1) * width
            slices[number] += max(0.0, min(end, high) - max(start, low)) / width
    busy = sum(end - start for start, end in merged) / max(last - first, 1e-9)
    return {"seconds": (last - first) / 1e6, "busy": busy, "slices": [round(one, 3) for one in slices]}


def _answered(model: Any, strategy: str, workers: int, requests: Sequence[Any]) -> list[Any]:
    from pdrop_eval.run.lmms.answer_log import AnswerLog

    model.use(make_strategy(strategy))
    model.workers = workers
    model.features.clear()
    model._answers = AnswerLog()
    with redirect_stderr(StringIO()):  # its progress bar
        found: list[Any] = model.generate_until(list(requests))
    return found


def _wrapped(ground: Ground, work: Work) -> Any:
    """The wrapper around a model without a checkpoint: the miniature's processor, at the model's sizes."""
    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    with quiet(truncated_images=False):
        from pdrop_eval.run.lmms import model as wrapper
    with _without_checkpoint(ground, work, wrapper):
        return wrapper.PdropLlava(
            "embedded", make_strategy("vanilla"), device=ground.device, batch_size=ground.scaled(16, 2),
            max_new_tokens=ground.scaled(16, 2),
        )  # fmt: skip


@contextmanager
def _without_checkpoint(ground: Ground, work: Work, wrapper: Any) -> Iterator[None]:
    mini = load("embedded", None, "cpu", "float32", "sdpa", trust_remote_code=False)
    config, processor = work.config, mini.processor
    side = config.vision_config.image_size
    for name in ("size", "crop_size"):
        known = getattr(processor.image_processor, name, None) or {}
        keys = [key for key in ("shortest_edge", "height", "width") if dict(known).get(key)]
        setattr(processor.image_processor, name, dict.fromkeys(keys, side))
    processor.patch_size = config.vision_config.patch_size
    config.image_token_id = processor.image_token_id
    config.text_config.vocab_size = max(config.text_config.vocab_size, len(processor.tokenizer))
    ready = Loaded(ground.build(work), processor, mini.family, mini.checkpoint)
    with mock.patch.object(wrapper, "load", return_value=ready):
        yield


def _requests(model: Any, number: int) -> list[Any]:
    """Questions as lmms-eval asks them, each about a picture of its own, as DocVQA's mostly are."""
    from lmms_eval.api.instance import Instance
    from PIL import Image

    from pdrop_eval.benchmarks.rendered.suite import render

    rendered = render(_TASK, min(number, 64))
    pictures = [Image.fromarray(picture.image) for picture, _, _ in rendered]
    asked = [pictures[i % len(pictures)].copy() for i in range(number)]
    for i, picture in enumerate(asked):
        picture.putpixel((0, 0), (i % 256, i // 256, 0))  # none is another one's
    model.task_dict["rendered"] = {"test": [[picture] for picture in asked]}
    generation = {"max_new_tokens": model.max_new_tokens, "do_sample": False}
    return [
        Instance(
            request_type="generate_until",
            arguments=(
                rendered[i % len(rendered)][1].prompt,
                dict(generation),
                lambda images: images,
                i,
                "rendered",
                "test",
            ),
            idx=0,
            metadata={"task": "rendered", "doc_id": i, "repeats": 1},
        )
        for i in range(number)
    ]
