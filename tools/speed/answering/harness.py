"""What the harness takes beyond the model's own time, for models that take about 40 ms a question and more.

python -m tools.speed.answering.harness [--layers 28 56 112] [--rounds 2] [overrides of pdrop-eval]; random
models with the miniature's tower and words and a wider, deeper decoder answer rendered questions through all
of the harness, with a journal. Each batch is given to the model a second time, prepared beforehand: that is
the model's own time, taken at the same moment. Writes results/efficiency/harness.{json,md}.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from pdrop_eval.engine.prefix.cache import PrefixCache
from pdrop_eval.records.journal import Journal
from pdrop_eval.run.bench.machine import Load
from pdrop_eval.run.config.compose import check_overrides
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.plan import Plan, make_plan
from pdrop_eval.run.lmms.answer_log import AnswerLog
from pdrop_eval.run.lmms.inputs.batching import left_padded
from pdrop_eval.run.lmms.inputs.feature_cache import GIB, FeatureCache
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.run.lmms.inputs.staging import staged_inputs
from pdrop_eval.run.lmms.measurement import Usage
from pdrop_eval.run.lmms.model import PdropLlava
from pdrop_eval.run.lmms.open import open_model, open_task
from pdrop_eval.run.lmms.tasks.task_runner import run_task
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.speed.answering.harness_page import FILE, harness_lines, harness_page

WIDTH, LAYERS = 256, (28, 56, 112)  # about 40, 80 and 160 ms a question on one core
WARM = 8  # questions that don't count
NEW = 2  # tokens of an answer: random weights never end one
DEFAULTS = (
    "model=mini", "strategy=vanilla", "suite=mini", "tasks=[pope]", "limit=48", "batch_size=8", "threads=1",
    "workers=0",
)  # fmt: skip


@dataclass
class Spent:
    """Seconds of one round: of the processor, and on the wall.

    Attributes:
        whole: from the first question that is handed over to the last answer.
        inside: of it, what the harness counts as the model's.
        alone: the same batches, prepared beforehand, by the model alone.
        preparing: of the whole, reading and preparing questions.
        noting: of the whole, writing answers down.
    """

    whole: list[float] = field(default_factory=lambda: [0.0, 0.0])
    inside: list[float] = field(default_factory=lambda: [0.0, 0.0])
    alone: list[float] = field(default_factory=lambda: [0.0, 0.0])
    preparing: list[float] = field(default_factory=lambda: [0.0, 0.0])
    noting: list[float] = field(default_factory=lambda: [0.0, 0.0])


@contextmanager
def timed(total: list[float], sign: int = 1) -> Iterator[None]:
    """Add the seconds inside to a total, or take them off it."""
    used, start = time.process_time(), time.perf_counter()
    try:
        yield
    finally:
        total[0] += sign * (time.process_time() - used)
        total[1] += sign * (time.perf_counter() - start)


def checkpoint(folder: Path, layers: int, width: int = WIDTH) -> Path:
    """Save a random model with the miniature's tower, words and processor before a decoder of other sizes."""
    from transformers import AutoConfig, AutoProcessor, LlavaForConditionalGeneration

    config: Any = AutoConfig.from_pretrained(MINI_CHECKPOINT)
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = width, width * 11 // 4, layers
    text.num_attention_heads = text.num_key_value_heads = width // 32
    text.head_dim = 32
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor: Any = AutoProcessor.from_pretrained(MINI_CHECKPOINT)
    processor.save_pretrained(folder)
    return folder


class Alone:
    """The model on batches that the harness has prepared, with caches of its own."""

    def __init__(self, model: PdropLlava):
        self.model = model
        self.features, self.prefixes = FeatureCache(2 * GIB), PrefixCache(2)

    @contextmanager
    def _own_caches(self) -> Iterator[None]:
        model = self.model
        theirs = model.features, model.prefixes.cache
        model.features, model.prefixes.cache = self.features, self.prefixes
        try:
            yield
        finally:
            model.features, model.prefixes.cache = theirs

    @torch.inference_mode()
    def answer(self, batch: Sequence[Prepared], spent: list[float]) -> None:
        """Encode the images that are new, and generate; all that comes before is there already."""
        model, tokenizer = self.model, self.model.loaded.processor.tokenizer
        ids, mask = left_padded([question.ids for question in batch], tokenizer.pad_token_id)
        arguments, _ = model._arguments(batch[0].request.args[1])
        for question in batch:
            for picture in question.pictures:
                picture.processed(model.preparer.process)
        with self._own_caches(), timed(spent):
            staged = model.prefixes.staged(model.strategy, batch)
            needs = None if staged.before is None else staged.before.reducer.needs
            inputs = staged_inputs(staged, ids, mask, batch, model.encoded(batch, needs), 0)
            with staged:
                generate: Any = model.loaded.model.generate
                generate(**inputs, **arguments, pad_token_id=tokenizer.pad_token_id)


@contextmanager
def watched(model: PdropLlava, spent: Spent) -> Iterator[None]:
    """Time what the model does inside: the whole, its parts, and each batch once more by the model alone."""
    alone, number = Alone(model), 0
    answer, generate, prepare = model.generate_until, model._generate, model.preparer

    def generate_until(requests: Any) -> Any:
        for request in requests:
            request.args[1]["max_new_tokens"] = NEW
        with timed(spent.whole):
            return answer(requests)

    def _generate(batch: Any) -> Any:
        nonlocal number
        number += 1
        if number % 2:  # in turn first and last, as the one that comes later finds its weights in the caches
            again(batch)
        answers = generate(batch)
        if not number % 2:
            again(batch)
        return answers

    def again(batch: Any) -> None:
        with timed(spent.whole, -1):
            alone.answer(batch, spent.alone)

    model.generate_until, model._generate = generate_until, _generate  # type: ignore[method-assign]
    model.preparer = _timing(prepare, spent.preparing)  # type: ignore[assignment]
    try:
        yield
    finally:
        del model.generate_until, model._generate
        model.preparer = prepare


class _timing:  # noqa: N801 - a function that also has the other's attributes
    def __init__(self, prepare: Any, total: list[float]):
        self.prepare, self.total = prepare, total

    def __call__(self, request: Any) -> Any:
        with timed(self.total):
            return self.prepare(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prepare, name)


class Log(AnswerLog):
    """An answer log whose writing is timed, as is what the harness counts as the model's."""

    def __init__(self, journal: Journal, spent: Spent):
        super().__init__(journal)
        self.spent = spent
        self.usage = defaultdict(lambda: TimedUsage(spent.inside))

    def add(self, *given: Any) -> Any:
        """See `AnswerLog`."""
        with timed(self.spent.noting):
            return super().add(*given)


class TimedUsage(Usage):
    """What answering took, with the processor's time of the model."""

    def __init__(self, total: list[float]):
        super().__init__()
        self.total = total

    @contextmanager
    def of_the_model(self) -> Iterator[None]:
        """See `Usage`."""
        with timed(self.total):
            yield


def round_of(model: PdropLlava, plan: Plan, strategy: Any) -> tuple[Spent, int]:
    """Has all tasks answered, from empty caches; and how many questions there were."""
    spent, questions = Spent(), 0
    for task in plan.tasks:
        model.use(strategy)
        model.features.clear()
        model.prefixes.cache.clear()
        with tempfile.TemporaryDirectory() as scratch, watched(model, spent):
            info, tasks = open_task(plan, task, Path(scratch))
            with Journal(Path(scratch), task, 0, {}) as journal:
                log = Log(journal, spent)
                _, samples = run_task(
                    model, info, tasks, log, limit=plan.config.limit, seed=plan.config.seed, resamples=10,
                    tflops=lambda _: 0.0, truncated_images=False,
                )  # fmt: skip
            questions += len(samples)
    return spent, questions


def measure(
    layers: int, rounds: int, overrides: Sequence[str], tell: Callable[[str], None]
) -> dict[str, Any]:
    """What the file holds of one size."""
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint(Path(folder) / "model", layers)
        plan = make_plan(compose_spec([*DEFAULTS, f"model.pretrained={path}", *overrides]))
        strategy = make_strategy(plan.config.strategy.name)
        model = open_model(plan, strategy)
        round_of(model, replace(plan, config=replace(plan.config, limit=WARM)), strategy)
        found = []
        for number in range(rounds):
            spent, questions = round_of(model, plan, strategy)
            found.append(asdict(spent))
            tell(f"{layers} layers, round {number + 1}: {spent}")
    return {
        "layers": layers, "questions": questions, "batch_size": model.batch_size, "rounds": found,
        "strategy": strategy.name, "tasks": plan.tasks,
    }  # fmt: skip


def main() -> None:
    """Measure, print the shares and write both files."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--layers", type=int, nargs="+", default=list(LAYERS), help="of the decoders")
    parser.add_argument("--rounds", type=int, default=2, help="after a few questions that warm up")
    parser.add_argument("--out", type=Path, default=FILE, help="JSON file; the page is beside it")
    parser.add_argument("overrides", nargs="*", help=f"of pdrop-eval, after {' '.join(DEFAULTS)}")
    options = parser.parse_args()
    load = Load()
    try:
        check_overrides([*DEFAULTS, *options.overrides])
        sizes = [
            measure(layers, options.rounds, options.overrides, lambda text: print(text, file=sys.stderr))
            for layers in options.layers
        ]
    except UserError as error:
        sys.exit(f"harness: {error}")
    found = {
        "schema": 1, "width": WIDTH, "new_tokens": NEW, "sizes": sizes, "load": load.seen(),
        "threads": torch.get_num_threads(), "hardware": provenance.hardware(),
        "packages": provenance.package_versions(), "code": provenance.code_identity(),
    }  # fmt: skip
    print(harness_lines(found))
    write_atomically(options.out, json.dumps(found, indent=1) + "\n")
    page = options.out.with_suffix(".md")
    write_atomically(page, harness_page(found))
    print(f"Written: {options.out} and {page}")


if __name__ == "__main__":
    main()
