"""How many questions a second are answered: stock lmms-eval (`llava_hf`, batch 1) and pdrop-eval, in one run.

python -m tools.speed.answering.throughput [--rounds 3] [--before 3c6f181] [overrides of pdrop-eval]; same
model, same questions, all in turn within each round; beside the code as it is, an earlier commit's by its own
defaults.
Writes results/efficiency/throughput.{json,md}. On a GPU, for example:
model=llava_1_5_7b suite=paper device=cuda dtype=float16 'tasks=[pope]' limit=500.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.run.bench.machine import Load
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.run.config.compose import check_overrides
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.plan import Plan, make_plan
from pdrop_eval.run.lmms.answer_log import AnswerLog
from pdrop_eval.run.lmms.model import PdropLlava
from pdrop_eval.run.lmms.open import open_model, open_task
from pdrop_eval.run.lmms.tasks.task_runner import ask, quiet, run_task
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from tools.speed.answering.earlier_code import asked, earlier
from tools.speed.answering.throughput_page import FILE, throughput_lines, throughput_page

DEFAULTS = ["model=mini", "strategy=vanilla", "tasks=[pope,docvqa_val,gqa]"]
BEFORE = "3c6f181"  # a gain is told over this commit


@dataclass(frozen=True)
class Contender:
    """A way of answering.

    Attributes:
        name: Its name.
        strategy: None for lmms-eval's own model.
        workers: Threads that prepare questions; None: as many as `workers=auto` chooses here.
        before: Whether it is the earlier code, by its own defaults.
    """

    name: str
    strategy: str | None
    workers: int | None = None
    before: bool = False


# Background threads take turns with the model on a small machine, so its own time is taken from the contender
# that prepares each question in its turn.
CONTENDERS = (
    Contender("stock", None),
    Contender("vanilla, before", "vanilla", before=True),
    Contender("pdrop, before", "pdrop", before=True),
    Contender("vanilla, alone", "vanilla", workers=0),
    Contender("vanilla", "vanilla"),
    Contender("pdrop, alone", "pdrop", workers=0),
    Contender("pdrop", "pdrop"),
)
ALONE = (None, None, None, 3, 3, 5, 5)  # by contender: whose model's time is that of the model alone
EARLIER = (None, None, None, 1, 1, 2, 2)  # by contender: the earlier code under the same strategy


def ours(model: PdropLlava, contender: Contender, workers: int) -> PdropLlava:
    """The model with a contender's settings: one copy of the weights serves them all."""
    model.use(make_strategy(str(contender.strategy)))
    model.workers = workers if contender.workers is None else contender.workers
    model.features.clear()
    return model


def load_stock(plan: Plan) -> Any:
    """lmms-eval's own model."""
    with quiet(truncated_images=False):
        from lmms_eval.models.simple.llava_hf import LlavaHf
        from transformers import AutoProcessor

        source = str(resolve_checkpoint(plan.config.model.pretrained))
        stock = LlavaHf(
            source, revision=plan.commit or "main", device=plan.config.device, dtype=plan.config.dtype,
            device_map=plan.config.device,  # transformers 5 refuses the empty one that it has by default
            attn_implementation=plan.config.attention,
            chat_template=AutoProcessor.from_pretrained(source).chat_template,
        )  # fmt: skip
    stock.model.eval()
    stock.clean = lambda: None  # lmms-eval would delete the model after its first task
    return stock


def run(
    contender: Contender, model: Any, plan: Plan, task: str, folder: Path, workers: int
) -> dict[str, Any]:
    """Has one task answered. seconds: of the whole task; answering, processor: of the questions."""
    config, seconds, spent = plan.config, [], []
    info, tasks = open_task(plan, task, folder)
    answer = model.generate_until

    def generate_until(requests: Any) -> Any:
        start, used = time.perf_counter(), time.process_time()
        found = answer(requests)
        seconds.append(time.perf_counter() - start)
        spent.append(time.process_time() - used)
        return found

    model.generate_until = generate_until
    start = time.perf_counter()
    if contender.strategy is None:
        paths = argparse.Namespace(output_path=str(folder), process_with_media=False, reasoning_tags=None)
        with quiet(config.suite.source == "hub"):
            _, output, _ = ask(model, info, tasks, config.limit, config.seed, paths)
        rows = sorted(output["samples"][task], key=lambda row: row["doc_id"])
        answers, usage, size = [row["filtered_resps"][0] for row in rows], None, 1
    else:
        ours(model, contender, workers)  # each task begins with an empty cache
        entry, samples = run_task(
            model, info, tasks, AnswerLog(), limit=config.limit, seed=config.seed, resamples=config.bootstrap,
            tflops=lambda _: 0.0, truncated_images=config.suite.source == "hub",
        )  # fmt: skip
        answers, usage = [sample["answer"] for sample in samples], entry["usage"]
        size = entry["batch_size"]
    whole = time.perf_counter() - start
    del model.generate_until
    return {
        "answers": answers, "seconds": whole, "answering": sum(seconds), "processor": sum(spent),
        "usage": usage, "batch_size": size,
    }  # fmt: skip


def measure(plan: Plan, rounds: int, server: Any) -> tuple[list[list[list[dict[str, Any]]]], int]:
    """For each contender, of each round, what `run` gave for each task; and the workers that auto chose.

    The first round doesn't count. A contender that can't be had, as there is no earlier code, has no rounds.
    """
    stock, own = load_stock(plan), open_model(plan, make_strategy("vanilla"))
    workers = own.workers
    found: list[list[list[dict[str, Any]]]] = [[] for _ in CONTENDERS]
    steps = tqdm(total=(rounds + 1) * len(found) * len(plan.tasks), unit="task", dynamic_ncols=True)
    for number in range(rounds + 1):
        for place in range(len(found)):
            index = (number + place) % len(found)
            contender, results = CONTENDERS[index], []
            model = stock if contender.strategy is None else own
            if contender.before:
                results = [] if server is None else asked(server, str(contender.strategy))
                steps.update(len(plan.tasks))
            for task in () if contender.before else plan.tasks:
                with tempfile.TemporaryDirectory() as scratch:
                    results.append(run(contender, model, plan, task, Path(scratch), workers))
                steps.update()
            if number and results:
                found[index].append(results)
    steps.close()
    return found, workers


def summary(
    plan: Plan,
    found: list[list[list[dict[str, Any]]]],
    load: dict[str, Any],
    before: str | None,
    workers: int,
) -> dict[str, Any]:
    """What the files hold: settings, environment, and of each contender its rates and its harness's share."""
    samples = sum(len(task["answers"]) for task in found[0][0])
    machine = provenance.hardware()
    config = plan.config
    return {
        "schema": 2,
        "before": before,
        "model": config.model.name,
        "suite": config.suite.name,
        "tasks": plan.tasks,
        "samples": samples,
        "rounds": len(found[0]),
        "device": config.device,
        "dtype": config.dtype,
        "threads": torch.get_num_threads(),
        "workers": workers,
        "hardware": machine,
        "load": load,
        "packages": provenance.package_versions(),
        "code": provenance.code_identity(),
        "contenders": [
            {
                **asdict(contender),
                "alone": contender.workers == 0,
                **_numbers(rounds, found[0], samples),
                **_gain(rounds, [] if first is None else found[first]),
                **_harness(rounds, found, alone),
            }
            for contender, rounds, alone, first in zip(CONTENDERS, found, ALONE, EARLIER, strict=True)
            if rounds
        ],
    }


def _gain(rounds: list[list[dict[str, Any]]], first: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """How much faster than the earlier code in the same round, and which of its answers are the same."""
    if not first:
        return {}
    return {
        "gain": quartiles(_ratios(first, rounds, "answering")),
        "processor_gain": quartiles(_ratios(first, rounds, "processor")),
        "as_before": _same(rounds[0], first[0]),
    }


def _ratios(first: list[list[dict[str, Any]]], rounds: list[list[dict[str, Any]]], key: str) -> list[float]:
    return [_total(old, key) / _total(new, key) for old, new in zip(first, rounds, strict=True)]


def _same(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> int:
    pairs = (pair for one, two in zip(mine, theirs, strict=True) for pair in _pairs(one, two))
    return sum(a == b for a, b in pairs)


def _pairs(one: dict[str, Any], two: dict[str, Any]) -> list[tuple[str, str]]:
    return list(zip(one["answers"], two["answers"], strict=True))


def _numbers(rounds: list[list[dict[str, Any]]], stock: list[list[dict[str, Any]]], n: int) -> dict[str, Any]:
    answering = [_total(tasks, "answering") for tasks in rounds]
    return {
        "batch_size": min(task["batch_size"] for task in rounds[0]),
        "samples_per_second": quartiles([n / seconds for seconds in answering]),
        "speedup": quartiles(_ratios(stock, rounds, "answering")),
        "processor_ms": quartiles([1e3 * _total(tasks, "processor") / n for tasks in rounds]),
        "same_answers": _same(rounds[0], stock[0]),
    }


def _harness(rounds: list[list[dict[str, Any]]], found: Any, alone: int | None) -> dict[str, Any]:
    """What is beyond the model's own time in the same round, as a share of it; and the cache's hits."""
    if alone is None:
        return {}
    model = [sum(task["usage"]["model_seconds"] for task in tasks) for tasks in found[alone]]

    def beyond(key: str) -> list[float]:
        return quartiles([_total(tasks, key) / m - 1 for tasks, m in zip(rounds, model, strict=True)])

    images, encoded = (sum(task["usage"][key] for task in rounds[0]) for key in ("images", "encoded"))
    return {
        "answering_overhead": beyond("answering"),
        "task_overhead": beyond("seconds"),
        "hit_rate": 1 - encoded / images if images else None,
    }


def _total(tasks: list[dict[str, Any]], key: str) -> float:
    return sum(task[key] for task in tasks)


def main() -> None:
    """Measure, print the rates and write both files."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="that count, after a first one that doesn't")
    parser.add_argument("--before", default=BEFORE, help="an earlier commit; empty: none")
    parser.add_argument("--out", type=Path, default=FILE, help="JSON file; the page is beside it")
    parser.add_argument("overrides", nargs="*", help=f"of pdrop-eval, after {' '.join(DEFAULTS)}")
    options = parser.parse_args()
    overrides = [*DEFAULTS, *options.overrides]
    try:
        check_overrides(overrides)
        plan = make_plan(compose_spec(overrides))
    except UserError as error:
        sys.exit(f"throughput: {error}")
    load = Load()
    with earlier(options.before, overrides) as server:
        rounds, workers = measure(plan, options.rounds, server)
        found = summary(plan, rounds, load.seen(), options.before or None, workers)
    print(throughput_lines(found))
    write_atomically(options.out, json.dumps(found, indent=1) + "\n")
    page = options.out.with_suffix(".md")
    write_atomically(page, throughput_page(found))
    print(f"Written: {options.out} and {page}")


if __name__ == "__main__":
    main()
