r"""LLaVA and LLaVA-NeXT with a token-dropping strategy, as a model that lmms-eval can run.

    python -m lmms_eval --model pdrop_llava \
        --model_args pretrained=llava-hf/llava-1.5-7b-hf,strategy=pdrop,ratio=0.5 --tasks pope

Answers don't depend on the batch size (exactly so in float32), and nothing is caught: a sample that fails
fails the run. Background threads read and prepare questions while the model answers others; the vision tower
runs once for an image, together with the other new ones of its batch.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from itertools import islice
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from torch import Tensor
from transformers import LogitsProcessorList

from pdrop_eval.benchmarks.sample_errors import SampleError
from pdrop_eval.models.loading.adapter import check_adapter
from pdrop_eval.models.loading.checkpoint import check_image_processing
from pdrop_eval.models.loading.load import load
from pdrop_eval.models.pictures.image_bounds import ImageBounds
from pdrop_eval.models.prompts import CHAT_TEMPLATES, IMAGE_PROCESSING, asked_as
from pdrop_eval.models.towers.encoded import EncodedImage, Needs
from pdrop_eval.models.towers.together import encode_together
from pdrop_eval.models.transfer import upload
from pdrop_eval.run.lmms.answer_log import Answer, AnswerLog, BatchSizes
from pdrop_eval.run.lmms.generation import (
    FiniteLogits,
    NonFiniteLogitsError,
    settle_generation,
    strategy_of,
)
from pdrop_eval.run.lmms.inputs.batching import first_batch_size, groups_of, in_order, left_padded, seed_of
from pdrop_eval.run.lmms.inputs.documents import Documents
from pdrop_eval.run.lmms.inputs.feature_cache import GIB, FeatureCache
from pdrop_eval.run.lmms.inputs.prefetch import prepared
from pdrop_eval.run.lmms.inputs.prefixes import PrefixReuse, total_memory
from pdrop_eval.run.lmms.inputs.preprocess import Prepared, Preparer
from pdrop_eval.run.lmms.inputs.requests import arguments_of, cut, where
from pdrop_eval.run.lmms.inputs.staging import staged_inputs
from pdrop_eval.run.lmms.measurement import Measurement
from pdrop_eval.run.lmms.token_layout import placed, retained_of
from pdrop_eval.utils.batch_setting import FIXED_BATCH
from pdrop_eval.utils.distributed import run_on_all_ranks, world_size
from pdrop_eval.utils.memory import is_out_of_memory
from pdrop_eval.utils.prefix_setting import check_memory, setting_of
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.bars import questions_bar
from pdrop_eval.utils.validation import check_choice, truth_of

_WINDOW = 2  # batches whose questions are prepared together, to be sorted by their length
_SMALLEST_WINDOW = 32
_TELL_SECONDS = 30  # between two events of progress


class PdropLlava(lmms):
    """A LLaVA or LLaVA-NeXT checkpoint under one strategy.

    `strategy` is a strategy object, or a name from conf/strategy with its fields as further arguments (None:
    vanilla); a field with several values is written `layers=8/16/24`. `combine` names two in its place,
    `[visionzip,{pdrop:{ratio:0.4}}]`. `anyres` names LLaVA-NeXT's grids of tiles, see
    `models.tiling`; `downsample` shrinks each image by this factor first; `context` is the longest prompt in
    tokens (None: what the checkpoint says). `batch_size="auto"` begins with a large one and halves it
    whenever the memory is full. `workers` threads prepare questions (0: none does); `feature_cache` is how
    many GiB of the host's memory hold features of images. `min_pixels` and `max_pixels` bound the size at
    which Qwen-VL sees a picture, `max_patches` the tiles of InternVL. `devices` spreads the model over as
    many GPUs. With `prefix_cache` (auto, on, off), questions of one image share what comes before them in the
    prompt, in `prefix_memory` GiB of the device's memory at most, see `inputs.prefixes`. What is answered is
    written to an `AnswerLog`, see `writing_to`.

    Raises:
        UserError: Arguments that can't be right.
    """

    is_simple = True

    def __init__(
        self, pretrained: str, strategy: Any = None, *,
        combine: Any = None, revision: str | None = None, device: str | None = None, dtype: str = "auto",
        batch_size: int | str = 1, attention: str = "sdpa", chat_template: str = "checkpoint",
        anyres: Any = None, downsample: int | None = None, context: int | None = None,
        image_processing: str = "checkpoint", max_new_tokens: int = 128, trust_remote_code: bool = False,
        max_batch_size: int | None = None, adapter: Any = None, adapter_revision: str | None = None,
        merge_adapter: bool = True, generation: str | None = None, workers: int = 2, feature_cache: float = 2,
        min_pixels: int | None = None, max_pixels: int | None = None, max_patches: int | None = None,
        devices: int | None = None, prefix_cache: str = "auto", prefix_memory: float = 2,
        **fields: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        trust_remote_code = truth_of("trust_remote_code", trust_remote_code)  # a text, by lmms-eval
        merge_adapter = truth_of("merge_adapter", merge_adapter)
        check_choice("chat_template", chat_template, CHAT_TEMPLATES)
        check_choice("image_processing", image_processing, IMAGE_PROCESSING)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        setting_of(prefix_cache)
        check_memory(prefix_memory, total_memory(torch.device(device)))
        if isinstance(adapter, str):  # by lmms-eval
            adapter = check_adapter(adapter, adapter_revision, merge_adapter)
        strategy, settings = strategy_of(strategy, combine, fields)
        # By its name: it only refuses, and what a statement imports here counts in a run's identity.
        check_arguments = import_module("pdrop_eval.run.lmms.recipes").check_arguments
        check_arguments(strategy, settings, pretrained, revision, adapter, trust_remote_code, anyres)
        bounds = ImageBounds(min_pixels, max_pixels, max_patches)
        self.loaded = load(
            pretrained, revision, device, dtype, attention, trust_remote_code, anyres, chat_template, adapter,
            bounds, None if devices is None else int(devices),
        )  # fmt: skip
        settle_generation(self.loaded.model, generation, self.loaded.checkpoint.generation)
        check_image_processing(image_processing, self.loaded.family.name)
        self._place(device, batch_size, workers, feature_cache)
        self.prefixes = PrefixReuse(prefix_cache, prefix_memory, self.loaded.model, self.loaded.family)
        self._prepare(chat_template, image_processing, downsample, context)
        self.max_new_tokens = int(max_new_tokens)
        self._answers = AnswerLog()
        choices = (
            self.loaded.model.dtype, image_processing, chat_template, anyres, downsample, adapter, generation,
            *bounds.given().items(),
        )  # fmt: skip
        self._checkpoint, self._choices = f"{pretrained}@{revision}", tuple(map(repr, choices))
        self.use(strategy)

    def _place(self, device: str, batch_size: int | str, workers: int, feature_cache: float) -> None:
        """Takes what the machine allows: batches, threads and memory."""
        self.placed = torch.device(device)
        self.auto_batch = batch_size == "auto"
        auto = first_batch_size(self.placed.type, self.loaded.model.config)
        self._first_batch_size = auto if self.auto_batch else int(batch_size)
        self.workers = int(workers)
        self.features = FeatureCache(float(feature_cache) * GIB)

    def _prepare(
        self, chat_template: str, image_processing: str, downsample: int | None, context: int | None
    ) -> None:
        """Settles how questions become prompts, and where on their images tokens lie."""
        loaded, self._template = self.loaded, chat_template
        config = loaded.model.config
        self.preparer = Preparer(
            loaded.family,
            loaded.processor,
            chat_template,
            image_processing,
            Documents(lambda task, split: self.task_dict[task][split]),
            self.features.tokens,
            downsample=downsample,
            context=context or config.get_text_config().max_position_embeddings,
        )
        self.layout = loaded.family.token_layout(
            config, loaded.processor.image_processor, image_processing == "pad", downsample
        )

    def __repr__(self) -> str:
        # lmms-eval's response cache takes this as the model's identity
        return f"PdropLlava({','.join([self._checkpoint, repr(self.strategy), *self._choices])})"

    def use(self, strategy: Any) -> None:
        """Take another strategy; the model and the features of images stay.

        Raises:
            UserError: A strategy that can't be used on the model, before any sample.
        """
        with strategy(self.loaded.model):
            pass
        self.prefixes.use(strategy)
        self.strategy = strategy
        self.batch_size = self._first_batch_size

    @property
    def device(self) -> torch.device:
        """Where lmms-eval puts the numbers that processes exchange: gloo connects them, on the CPU."""
        return torch.device("cpu") if world_size() > 1 else self.placed

    @property
    def prompts_of(self) -> str | None:
        """The model of lmms-eval whose prompts tasks give; None: the default ones."""
        return asked_as(self.loaded.family, self._template)

    @property
    def config(self) -> Any:
        """The transformers config of the checkpoint."""
        return self.loaded.model.config

    @property
    def answers(self) -> AnswerLog:
        """What is written to: a log of its own, unless another is given."""
        return self._answers

    @contextmanager
    def writing_to(self, answers: AnswerLog) -> Iterator[None]:
        """What is answered inside is written to this log, and recalled from it."""
        before, self._answers = self._answers, answers
        try:
            yield
        finally:
            self._answers = before

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
        return run_on_all_ranks(lambda: self._answer_all(requests))

    def _answer_all(self, requests: list[Instance]) -> list[Any]:
        answers: list[Any] = [None] * len(requests)
        self._seed, self._told = torch.initial_seed(), time.monotonic()
        self.prefixes.use(self.strategy)
        if self.auto_batch and any(self._is_sampled(request) for request in requests):
            self.batch_size = min(self.batch_size, FIXED_BATCH)  # a batch draws with a seed of its own
        if self.auto_batch:  # batches as they were before an interruption
            self.batch_size = self._answers.first_batch_size(self.batch_size)
        self._began = self.batch_size
        names = ", ".join(dict.fromkeys(str(request.args[4]) for request in requests))
        groups = groups_of(requests)
        window, size = max(_WINDOW * self.batch_size, _SMALLEST_WINDOW), self.batch_size
        order = [requests[index] for group in groups for index in group]
        ready = prepared(order, self.preparer, self.workers, ahead=window)
        with questions_bar(len(requests), names, self.rank == 0) as bar, closing(ready):
            for group in groups:
                while group:
                    for index, answer in self._answer_window(group[:size], ready):
                        answers[index] = answer
                        bar.update()
                    group = group[size:]
                    self._tell(names, sum(answer is not None for answer in answers), len(answers))
                    size = min(2 * size, window)  # a small one to begin with: the model waits for it
        return answers

    def _tell(self, task: str, done: int, total: int) -> None:
        """An event of how far a task is, now and then."""
        if done < total and time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            log.event("progress", task=task, done=done, total=total)

    def _answer_window(
        self, indices: Sequence[int], ready: Iterator[Prepared]
    ) -> Iterator[tuple[int, GenerationResult]]:
        """Answers what belongs to `indices`, the next of what gets ready; each with its index."""
        started = time.perf_counter()
        questions = list(islice(ready, len(indices)))
        waiting = [(indices[place], questions[place]) for place in in_order(questions)]
        self._answers.usage[waiting[0][1].request.args[4]].waiting_seconds += time.perf_counter() - started
        sampled = self._is_sampled(waiting[0][1].request)
        waiting = [waiting[place] for place in self.prefixes.plan([one for _, one in waiting], sampled)]
        known, waiting = self._recall(waiting)
        yield from known
        while waiting:
            most = self.prefixes.together(waiting, self.batch_size)
            batch = [question for _, question in waiting[:most]]
            try:
                answers = self._answer(batch)
            except SampleError as error:
                halved = self.auto_batch and len(batch) > 1
                if not is_out_of_memory(error.__cause__) or not (self.prefixes.let_go(not halved) or halved):
                    raise
                if halved:
                    log.event("batch_halved", level="warning", was=len(batch), now=len(batch) // 2)
                    self.batch_size = len(batch) // 2
                continue
            results = self._answers.add(batch, answers, BatchSizes(self._began, self.batch_size))
            for (index, _), result in zip(waiting, results, strict=False):
                yield index, result
            waiting = waiting[len(batch) :]

    def _recall(
        self, waiting: list[tuple[int, Prepared]]
    ) -> tuple[list[tuple[int, GenerationResult]], list[tuple[int, Prepared]]]:
        """What the journal knows of the questions that wait, and the others."""
        if not self._answers.has_journal:
            return [], waiting
        request = waiting[0][1].request
        sampled = self._is_sampled(request)
        exact = self.loaded.model.dtype == torch.float32 and self.placed.type == "cpu" and not sampled
        known, rest, size = self._answers.recall(waiting, exact)
        if self.auto_batch and size is not None:
            self.batch_size = min(self.batch_size, size)
        return known, rest

    def _answer(self, batch: Sequence[Prepared]) -> list[Answer]:
        try:
            return self._generate(batch)
        except Exception as error:
            blamed = batch
            if isinstance(error, NonFiniteLogitsError):
                beams = self._arguments(batch[0].request.args[1])[0]["num_beams"]
                blamed = [batch[row] for row in dict.fromkeys(row // beams for row in error.rows)]
            requests = [question.request for question in blamed]
            raise SampleError(f"{where(requests)} can't be answered: {_reason(error)}") from error

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Prepared]) -> list[Answer]:
        model: Any = self.loaded.model
        tokenizer = self.loaded.processor.tokenizer
        ids, mask = left_padded([question.ids for question in batch], tokenizer.pad_token_id)
        ids, mask = self._upload(ids), self._upload(mask)
        arguments, until = self._arguments(batch[0].request.args[1])
        usage = self._answers.usage[batch[0].request.args[4]]
        if arguments["do_sample"]:
            torch.manual_seed(seed_of(self._seed, batch))
        with usage.of_the_model():
            staged = self.prefixes.staged(self.strategy, batch)
            needs = None if staged.before is None else staged.before.reducer.needs
            inputs = staged_inputs(staged, ids, mask, batch, self.encoded(batch, needs), self._seed)
            ids = inputs["input_ids"]
            with staged as report:
                output = model.generate(
                    **inputs, **arguments,
                    pad_token_id=tokenizer.pad_token_id, remove_invalid_values=False,
                    logits_processor=LogitsProcessorList([FiniteLogits()]),
                )  # fmt: skip
            new = output[:, ids.shape[1] :].tolist()  # waits for the device
        usage.images += sum(len(question.pictures) for question in batch)
        results, retained = [], retained_of(report, staged.drops, staged.before is not None)
        for row, question in enumerate(batch):
            first = row * arguments["num_beams"]  # beam search repeats each row
            measured = self._measure(question, report, first, new[row], retained[first])
            text = cut(tokenizer.decode(new[row], skip_special_tokens=True), until)
            counts = TokenCounts(input_tokens=measured.prompt_tokens, output_tokens=measured.new_tokens)
            results.append(Answer(GenerationResult(text, counts), measured))
        return results

    def encoded(self, batch: Sequence[Prepared], needs: Needs | None) -> list[EncodedImage]:
        """Each image of a batch, in order; the vision tower encodes those together that aren't known yet."""
        asked = [(picture, question.request.args[4]) for question in batch for picture in question.pictures]

        def make(places: list[int], needs: Needs | None) -> list[EncodedImage]:
            for place in places:
                self._answers.usage[asked[place][1]].encoded += 1
            pixels = [asked[place][0].processed(self.preparer.process).pixels for place in places]
            return self._encode(pixels, needs)

        keys = [picture.sha256 for picture, _ in asked]
        found = self.features.get_all(keys, make, needs)
        if self.placed.type == "cpu":
            return found
        return [image.mapped(self._upload) for image in found]  # those that are kept, all at once

    def _encode(self, pixels: Sequence[dict[str, Tensor]], needs: Needs | None) -> list[EncodedImage]:
        """Images, encoded; in half precision on a processor each alone, so that a run resumes exactly."""
        model: Any = self.loaded.model
        family, alone = self.loaded.family, self.placed.type == "cpu" and model.dtype != torch.float32
        groups = [[one] for one in pixels] if alone else [pixels]
        return [
            image for group in groups for image in encode_together(family, model, group, needs, self.placed)
        ]

    def _upload(self, tensor: Tensor) -> Tensor:
        return upload(tensor, self.placed)

    def _arguments(self, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        return arguments_of(given, self.max_new_tokens)

    def _is_sampled(self, request: Instance) -> bool:
        return bool(self._arguments(request.args[1])[0]["do_sample"])

    def _measure(
        self, question: Prepared, report: Any, row: int, new: Sequence[int], retained: list[list]
    ) -> Measurement:
        tokenizer = self.loaded.processor.tokenizer
        ends = {tokenizer.pad_token_id, tokenizer.eos_token_id}
        return Measurement(
            content_sha256=question.content_sha256,
            images_sha256=question.images_sha256,
            prompt_tokens=len(question.ids),
            image_tokens=report.image_tokens[row],
            image_tokens_per_layer=tuple(layer[row] for layer in report.image_tokens_per_layer),
            new_tokens=sum(token not in ends for token in new),
            image_sizes=[list(size) for size in question.sizes],
            image_grids=placed(self.layout, question.sizes, report.image_tokens[row]),
            retained=retained,
        )


def _reason(error: Exception) -> str:
    if is_out_of_memory(error):
        return f"{error} Use a smaller batch_size, batch_size=auto, or dtype=float16."
    return f"{type(error).__name__}: {error}"
