"""LLaVA and LLaVA-NeXT with a token-dropping strategy, as a model that lmms-eval can run.

    python -m lmms_eval --model pdrop_llava \\
        --model_args pretrained=llava-hf/llava-1.5-7b-hf,strategy=pdrop,ratio=0.5 --tasks pope

Answers don't depend on the batch size (exactly so in float32), and nothing is caught: a sample that fails
fails the run.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from pdrop_eval.checks import check_image_processing
from pdrop_eval.configs import check_choice, make_strategy
from pdrop_eval.lmms.damage import PICTURE_ERRORS, VALUE_ERRORS, SampleError, unreadable
from pdrop_eval.lmms.loading import load
from pdrop_eval.lmms.measure import Measurement, content_hashes
from pdrop_eval.lmms.prompts import CHAT_TEMPLATES, IMAGE_PROCESSING, build_prompt, check_template, to_square
from pdrop_eval.parallel import together, world_size

_AUTO_BATCH = {"cuda": 32, "mps": 8, "cpu": 8}  # where batch_size=auto begins
_GENERATION = ("max_new_tokens", "temperature", "top_p", "num_beams", "do_sample", "until")
_NOT_OURS = ("image_aspect_ratio",)  # what some tasks tell the original LLaVA code; see image_processing


class PdropLlava(lmms):
    """A LLaVA or LLaVA-NeXT checkpoint under one strategy.

    `strategy` is a strategy object, or a name from conf/strategy with its fields as further arguments; a
    field with several values is written `layers=8/16/24`. `anyres` names LLaVA-NeXT's grids of tiles, see
    `pdrop_eval.anyres`. `batch_size="auto"` begins with a large one and halves it whenever the memory is
    full. `measurements` holds what was measured, by (task, doc_id). Raises UserError for arguments that can't
    be right.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        strategy: Any = "vanilla",
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str = 1,
        attention: str = "sdpa",
        chat_template: str = "checkpoint",
        anyres: Any = None,
        image_processing: str = "checkpoint",
        max_new_tokens: int = 128,
        trust_remote_code: bool = False,
        max_batch_size: int | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        check_choice("chat_template", chat_template, CHAT_TEMPLATES)
        check_choice("image_processing", image_processing, IMAGE_PROCESSING)
        if isinstance(strategy, str):
            strategy = make_strategy(strategy, _read_fields(fields))
        elif fields:
            raise TypeError(f"unknown arguments: {', '.join(fields)}")
        self.strategy = strategy
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        loaded = load(pretrained, revision, device, dtype, attention, trust_remote_code, anyres)
        check_template(chat_template, loaded.processor, pretrained)
        check_image_processing(image_processing, loaded.family)
        with self.strategy(loaded.model):  # refuses a model that it can't be used on, before any sample
            pass
        self.loaded = loaded
        self.placed = torch.device(device)
        self.auto_batch = batch_size == "auto"
        self.batch_size = _AUTO_BATCH[self.placed.type] if self.auto_batch else int(batch_size)
        self.chat_template = chat_template
        self.image_processing = image_processing
        self.max_new_tokens = int(max_new_tokens)
        self.measurements: dict[tuple[str, int], Measurement] = {}
        choices = (self.strategy, loaded.model.dtype, image_processing, chat_template, anyres)
        self._name = ",".join([f"{pretrained}@{revision}", *map(repr, choices)])

    def __repr__(self) -> str:
        # lmms-eval's response cache takes this as the model's identity
        return f"PdropLlava({self._name})"

    @property
    def device(self) -> torch.device:
        """Where lmms-eval puts the numbers that processes exchange: gloo connects them, on the CPU."""
        return torch.device("cpu") if world_size() > 1 else self.placed

    @property
    def config(self) -> Any:
        """The transformers config of the checkpoint."""
        return self.loaded.model.config

    def clean(self) -> None:
        """Keeps the model: lmms-eval would delete it after each evaluation."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not offered: dropping is defined for generation."""
        raise NotImplementedError("pdrop_llava answers generate_until tasks only")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not offered: each question is answered in one round."""
        raise NotImplementedError("pdrop_llava answers generate_until tasks only")

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers all requests, in their order. Raises SampleError at the first that fails.

        Of several processes that share a run, all fail when one does.
        """
        return together(lambda: self._answer_all(requests))

    def _answer_all(self, requests: list[Instance]) -> list[Any]:
        answers: list[Any] = [None] * len(requests)
        names = ", ".join(dict.fromkeys(str(request.args[4]) for request in requests))
        with tqdm(
            total=len(requests), desc=names, unit="sample", file=sys.stderr, disable=self.rank != 0,
            dynamic_ncols=True, smoothing=0.1,
        ) as bar:  # fmt: skip
            for group in _groups(requests):
                while group:
                    batch = group[: self.batch_size]
                    try:
                        found = self._answer([requests[i] for i in batch])
                    except SampleError as error:
                        if not (self.auto_batch and len(batch) > 1 and _is_out_of_memory(error.__cause__)):
                            raise
                        self.batch_size = len(batch) // 2
                        continue
                    for index, answer in zip(batch, found, strict=True):
                        answers[index] = answer
                    group = group[len(batch) :]
                    bar.update(len(batch))
        return answers

    def _answer(self, batch: Sequence[Instance]) -> list[GenerationResult]:
        prompts: list[str] = []
        images: list[list[Any]] = []
        for request in batch:
            try:
                visuals = self._visuals(request)
            except (*PICTURE_ERRORS, *VALUE_ERRORS) as error:
                raise unreadable(_where([request]), "prepared", error) from error
            except Exception as error:
                raise SampleError(f"{_where([request])} can't be prepared: {error}") from error
            try:
                processor = self.loaded.processor
                prompts.append(build_prompt(self.chat_template, processor, request.args[0], len(visuals)))
            except Exception as error:
                raise SampleError(f"{_where([request])} can't be prepared: {error}") from error
            images.append(visuals)
        try:
            return self._generate(batch, prompts, images)
        except Exception as error:
            raise SampleError(f"{_where(batch)} can't be answered: {_reason(error)}") from error

    def _visuals(self, request: Instance) -> list[Any]:
        _, _, doc_to_visual, doc_id, task, split = request.args
        visuals = doc_to_visual(self.task_dict[task][split][doc_id]) if doc_to_visual else []
        return [image.convert("RGB") for image in visuals or []]

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Instance], prompts: list[str], images: list[list[Any]]) -> list[Any]:
        processor: Any = self.loaded.processor
        model: Any = self.loaded.model
        pixels = [self._processed(image) for visuals in images for image in visuals]
        inputs = processor(text=prompts, images=pixels or None, padding=True, return_tensors="pt")
        inputs = inputs.to(self.placed, model.dtype)
        arguments, until = self._arguments(batch[0].args[1])
        with self.strategy(model) as report:
            output = model.generate(**inputs, **arguments, pad_token_id=processor.tokenizer.pad_token_id)
        new = output[:, inputs["input_ids"].shape[1] :]
        results = []
        for row, request in enumerate(batch):
            first = row * arguments["num_beams"]  # beam search repeats each row
            mask = inputs["attention_mask"][row]
            measured = self._measure(request, images[row], mask, report, first, new[row])
            self.measurements[request.args[4], request.args[3]] = measured
            text = _cut(processor.tokenizer.decode(new[row], skip_special_tokens=True), until)
            counts = TokenCounts(input_tokens=measured.prompt_tokens, output_tokens=measured.new_tokens)
            results.append(GenerationResult(text, counts))
        return results

    def _processed(self, image: Any) -> Any:
        if self.image_processing == "checkpoint":
            return image
        return to_square(image, self.loaded.processor.image_processor.image_mean)

    def _arguments(self, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """A task's generation arguments as transformers wants them, and the texts that end an answer."""
        given = {key: value for key, value in given.items() if key not in _NOT_OURS}
        for key in given:
            check_choice("generation argument of the task", key, _GENERATION)
        until = given.get("until") or []
        sample = bool(given.get("do_sample", (given.get("temperature") or 0) > 0))
        arguments = {
            "max_new_tokens": int(given.get("max_new_tokens") or self.max_new_tokens),
            "num_beams": int(given.get("num_beams") or 1),
            "do_sample": sample,
            # None: neither the task's nor the checkpoint's sampling values apply to greedy decoding
            "temperature": given.get("temperature") if sample else None,
            "top_p": given.get("top_p") if sample else None,
            "top_k": None,
        }
        return arguments, [until] if isinstance(until, str) else list(until)

    def _measure(self, request: Any, images: Any, mask: Any, report: Any, row: int, new: Any) -> Measurement:
        hashes = content_hashes(request.args[0], images)
        tokenizer = self.loaded.processor.tokenizer
        ends = {tokenizer.pad_token_id, tokenizer.eos_token_id}
        return Measurement(
            content_sha256=hashes[0],
            images_sha256=hashes[1],
            prompt_tokens=int(mask.sum()),
            image_tokens=report.image_tokens[row],
            image_tokens_per_layer=tuple(layer[row] for layer in report.image_tokens_per_layer),
            new_tokens=sum(token not in ends for token in new.tolist()),
        )


def _groups(requests: Sequence[Instance]) -> list[list[int]]:
    """Indices of requests that may run together: one task, split and set of generation arguments."""
    groups: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        _, arguments, _, _, task, split = request.args
        kind = json.dumps([task, split, arguments], sort_keys=True, default=str)
        groups.setdefault(kind, []).append(index)
    # Longest first: little padding, the remaining time is never underestimated, and a batch that doesn't fit
    # into memory fails at once.
    return [sorted(group, key=lambda index: -len(requests[index].args[0])) for group in groups.values()]


def _is_out_of_memory(error: BaseException | None) -> bool:
    # MPS and the CPU have no exception of their own for it
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    )


def _cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of the texts that end an answer."""
    ends = [text.index(stop) for stop in until if stop and stop in text]
    return text[: min(ends)] if ends else text


def _where(batch: Sequence[Instance]) -> str:
    ids = ", ".join(str(request.args[3]) for request in batch)
    return f"task {batch[0].args[4]}, sample{'s' if len(batch) > 1 else ''} {ids}"


def _reason(error: Exception) -> str:
    if _is_out_of_memory(error):
        return f"{error} Use a smaller batch_size, batch_size=auto, or dtype=float16."
    return f"{type(error).__name__}: {error}"


def _read_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as lmms-eval's parser leaves them: `8/16/24` is a list (it splits at commas), `None` is text."""
    return {key: _read(value) if isinstance(value, str) else value for key, value in fields.items()}


def _read(value: str) -> Any:
    if value in ("None", "null"):
        return None
    return [json.loads(part) for part in value.split("/")] if "/" in value else value
