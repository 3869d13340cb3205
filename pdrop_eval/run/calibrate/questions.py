"""The questions of a calibration: asked one after the other under several strategies, for one token each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.benchmarks.sample_errors import SampleError, guard
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.run.lmms.generation import FiniteLogits
from pdrop_eval.run.lmms.inputs.batching import left_padded
from pdrop_eval.run.lmms.inputs.prefetch import prepared
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.run.lmms.inputs.requests import where
from pdrop_eval.run.lmms.inputs.staging import staged_inputs
from pdrop_eval.run.lmms.model import PdropLlava
from pdrop_eval.run.lmms.open import open_task
from pdrop_eval.run.lmms.tasks.task_runner import load_task, task_manager
from pdrop_eval.utils.memory import is_out_of_memory

_AHEAD = 32  # questions that are prepared before they are needed


@dataclass(frozen=True)
class Asked:
    """What a strategy makes of the questions.

    Attributes:
        logits: [questions, vocabulary] float32 on the CPU, of the first token of the answer.
        tokens: per question, the image tokens of each layer.
    """

    logits: Tensor
    tokens: list[list[int]]

    @property
    def mean_tokens(self) -> float:
        """Image tokens a layer, in the mean over layers and questions."""
        return sum(sum(row) / len(row) for row in self.tokens) / len(self.tokens)


def read_questions(model: PdropLlava, plan: Plan, scratch: Path) -> list[Prepared]:
    """The questions of a plan's tasks, ready for the model, the longest first.

    Args:
        model: which will be asked.
        plan: what is asked, of each task the first `limit`.
        scratch: a folder that has to stay as long as they are asked.

    Raises:
        UserError: data that can't be loaded.
        SampleError: a question that can't be prepared.
    """
    found: list[Prepared] = []
    for name in plan.tasks:
        info, folder = open_task(plan, name, scratch / name)
        task = load_task(task_manager(folder, model.prompts_of), info)
        guard(task, name)
        model.task_dict[name] = task.dataset
        task.build_all_requests(limit=plan.config.limit)
        found += prepared(task.instances, model.preparer, model.workers, _AHEAD)
    return sorted(found, key=lambda question: -len(question.ids))


def ask(model: PdropLlava, strategy: Any, questions: Sequence[Prepared], seed: int) -> Asked:
    """Ask all questions for the first token of their answers.

    Args:
        model: the model.
        strategy: under which it is asked.
        questions: of `read_questions`.
        seed: of strategies that choose by chance.

    Raises:
        SampleError: a question that can't be answered.
    """
    found = list(answered(model, lambda: strategy, questions, seed))
    return Asked(
        torch.cat([logits for _, logits, _ in found]), [row for *_, layers in found for row in layers]
    )


def answered(
    model: PdropLlava, make: Callable[[], Any], questions: Sequence[Prepared], seed: int
) -> Iterator[tuple[Any, Tensor, list[list[int]]]]:
    """Yield, for each batch of questions, its strategy and what `first_token` returns.

    With `batch_size=auto`, a batch that runs out of memory is halved.

    Args:
        model: the model.
        make: gives the strategy of a batch.
        questions: of `read_questions`.
        seed: of strategies that choose by chance.

    Raises:
        SampleError: a question that can't be answered.
    """
    rest = list(questions)
    while rest:
        batch, strategy = rest[: model.batch_size], make()
        try:
            logits, layers = first_token(model, strategy, batch, seed)
        except Exception as error:
            full = is_out_of_memory(error)
            if full and model.auto_batch and len(batch) > 1:
                model.batch_size = len(batch) // 2
                continue
            named = where([question.request for question in batch])
            fix = " Use a smaller batch_size, batch_size=auto, or dtype=float16." if full else ""
            raise SampleError(f"{named} can't be answered: {type(error).__name__}: {error}{fix}") from error
        rest = rest[len(batch) :]
        yield strategy, logits, layers


@torch.inference_mode()
def first_token(
    model: PdropLlava, strategy: Any, batch: Sequence[Prepared], seed: int
) -> tuple[Tensor, list[list[int]]]:
    """Return (logits [b, vocabulary] of the first token, per row the image tokens of each layer)."""
    loaded: Any = model.loaded
    tokenizer = loaded.processor.tokenizer
    ids, mask = left_padded([question.ids for question in batch], tokenizer.pad_token_id)
    ids, mask = ids.to(model.placed), mask.to(model.placed)
    staged = strategy(loaded.model)
    needs = None if staged.before is None else staged.before.reducer.needs
    inputs = staged_inputs(staged, ids, mask, batch, model.encoded(batch, needs), seed)
    with staged as report:
        output = loaded.model.generate(
            **inputs, max_new_tokens=1, do_sample=False, num_beams=1, pad_token_id=tokenizer.pad_token_id,
            output_logits=True, return_dict_in_generate=True, logits_processor=[FiniteLogits()],
        )  # fmt: skip
    layers = [list(row) for row in zip(*report.image_tokens_per_layer, strict=True)]
    return output.logits[0].float().cpu(), layers
