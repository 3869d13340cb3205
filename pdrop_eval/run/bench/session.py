"""Measures what a plan asks for: everything is checked before the model is built, then batch after batch."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pdrop_eval.run.bench import machine
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.memory import available, within_memory
from pdrop_eval.run.bench.outcome import gib, lacks
from pdrop_eval.run.bench.record import Benchmark
from pdrop_eval.run.bench.settings import Plan
from pdrop_eval.run.bench.statistics import bounds, phase_numbers, throughput
from pdrop_eval.run.bench.timing import PHASES, Runner
from pdrop_eval.run.bench.work import Work, header, prepare
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.memory import is_out_of_memory
from pdrop_eval.utils.terminal.log import log_rank_zero

_RANKINGS = 5  # prefills in which the ranking is timed

Times = dict[tuple[str, str], dict[str, list[float]]]  # by variant ("" for all of them) and phase


def measure(plan: Plan) -> dict[str, Any]:
    """Measure the batch sizes that the record lacks; returns the record."""
    settings = plan.config
    busy = machine.glance(settings.device)  # before this process takes anything there
    work = prepare(plan)
    if machine.is_busy(busy):
        log_rank_zero(machine.warning(busy))
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    benchmark = Benchmark(Path(settings.results), settings.model.name, dict(plan.identity))
    try:
        benchmark.start(header(work, busy), settings.again)
        log_rank_zero(f"Building the model, {gib(work.weights)} of weights in {plan.dtype}")
        built = models.build(plan, work.config)
        common = {"before": busy, "code": provenance.code_identity()}
        if plan.auto:
            _largest(work, built, benchmark, common)
        else:
            _all_batches(work, built, benchmark, common)
        return {**benchmark.complete(), "folder": str(benchmark.folder)}
    finally:
        benchmark.close()


def _all_batches(work: Work, built: Any, benchmark: Benchmark, common: Mapping[str, Any]) -> None:
    for rows in work.plan.batch_sizes:
        if lacks(benchmark.record, rows):
            _keep(benchmark, measure_batch(work, built, rows), common)


def _largest(work: Work, built: Any, benchmark: Benchmark, common: Mapping[str, Any]) -> None:
    """Halve the batch until it fits; one that is in the record and fits is not measured again."""
    (rows,) = work.plan.batch_sizes
    while lacks(benchmark.record, rows):
        result = measure_batch(work, built, rows)
        if rows == 1 or not result["out_of_memory"]:
            _keep(benchmark, result, common)
            break
        log_rank_zero(f"A batch of {rows} doesn't fit, trying {rows // 2}")
        rows //= 2
    if not lacks(benchmark.record, rows):
        benchmark.found(rows)


def _keep(benchmark: Benchmark, result: dict[str, Any], common: Mapping[str, Any]) -> None:
    """Into the record, with the code and the load before it of this very session."""
    benchmark.add(result["batch_size"], {**result, **common})
    if machine.is_busy(result["load"]):
        log_rank_zero(machine.warning(result["load"]))


def measure_batch(work: Work, built: Any, rows: int) -> dict[str, Any]:
    """Everything at one batch size; a variant that runs out of memory is named and left out."""
    load, free = machine.Load(), available(work.device)
    settings = work.plan.config
    full: dict[str, str] = {}
    with within_memory(work.device):
        runners: dict[str, Runner] = {}
        try:
            batch = models.make_batch(
                work.config, work.sample, rows, work.plan.dtype, work.device, settings.seed
            )
            runners = {
                label: Runner(built, strategy, batch, settings.new_tokens, work.device)
                for label, strategy in work.strategies.items()
            }
        except (RuntimeError, MemoryError) as error:
            _reraise(error)
            full = dict.fromkeys(work.strategies, str(error).partition("\n")[0])
        total = len(runners) * (2 + settings.warmup + settings.rounds + _RANKINGS)
        with tqdm(total=total, desc=f"batch {rows}", unit="run", leave=False, disable=None) as bar:
            memory = _memory(runners, full, bar)
            times = _rounds(work, runners, full, bar)
            ranking = _rankings(runners, full, bar)
    return {
        "batch_size": rows,
        "rounds": settings.rounds,
        "load": load.seen(),
        "free_bytes": free,
        "out_of_memory": full,
        "vision": times.get(("", "vision")),
        "variants": [
            {**_variant(work, label, rows, times), **memory[label], **ranking[label]}
            for label in runners
            if label not in full
        ],
    }


def _memory(runners: Mapping[str, Runner], full: dict[str, str], bar: Any) -> dict[str, dict[str, Any]]:
    """Memory by variant, in a pass of its own; it also finds out whether the batch fits."""
    for label, runner in runners.items():
        with _fitting(label, full):
            runner.first_tokens()  # doesn't count: what is made but once (workspaces, compiled code) stays
        bar.update()
    found = {}
    for label, runner in runners.items():
        gc.collect()
        if label not in full:
            with _fitting(label, full):
                peak, kept = runner.memory()
                found[label] = {"peak_bytes": peak, "kv_bytes_per_layer": kept}
        bar.update()
    return found


def _rounds(work: Work, runners: Mapping[str, Runner], full: dict[str, str], bar: Any) -> Times:
    """The times of every variant and phase; the variants take turns, each round begins with another one."""
    settings = work.plan.config
    times: Times = {}
    gc.collect()
    gc.disable()  # a collection would hit one of the variants
    try:
        for number in range(settings.warmup + settings.rounds):
            labels = [label for label in runners if label not in full]
            turn = number % len(labels) if labels else 0
            for place, label in enumerate(labels[turn:] + labels[:turn]):
                runner = runners[label]
                with _fitting(label, full):
                    vision = {"vision": runner.vision()} if place == 0 else {}
                    found = {**vision, "prefill": runner.prefill(), **runner.answer()}
                    for phase, seconds in found.items() if number >= settings.warmup else ():
                        key = ("", phase) if phase == "vision" else (label, phase)
                        kept = times.setdefault(key, {"seconds": [], "cpu_seconds": []})
                        kept["seconds"].append(seconds.wall)
                        kept["cpu_seconds"].append(seconds.cpu)
                bar.update()
    finally:
        gc.enable()
    return times


def _rankings(runners: Mapping[str, Runner], full: dict[str, str], bar: Any) -> dict[str, dict[str, Any]]:
    """Seconds of ranking, and of choosing and gathering, in prefills of their own."""
    found: dict[str, dict[str, Any]] = {
        label: {"ranking_seconds": [], "dropping_seconds": []} for label in runners
    }
    for _ in range(_RANKINGS):
        for label, runner in runners.items():
            if runner.strategy is not None and label != VANILLA and label not in full:
                with _fitting(label, full):
                    rank, drop = runner.ranking()
                    found[label]["ranking_seconds"].append(rank)
                    found[label]["dropping_seconds"].append(drop)
            bar.update()
    return found


@contextmanager
def _fitting(label: str, full: dict[str, str]) -> Iterator[None]:
    """Notes a variant that runs out of memory, and frees what it held."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        _reraise(error)
        full[label] = str(error).partition("\n")[0]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _reraise(error: BaseException) -> None:
    if not is_out_of_memory(error):
        raise error


def _variant(work: Work, label: str, rows: int, times: Times) -> dict[str, Any]:
    """What the record says of a variant at a batch size."""
    strategy, new_tokens = work.strategies[label], work.plan.config.new_tokens
    limits = {} if strategy is None else bounds(work.config, strategy, work.sample, new_tokens)
    found: dict[str, Any] = {"label": label}
    for phase in PHASES:
        own, vanilla = times[label, phase], times.get((VANILLA, phase))
        if vanilla is not None and len(vanilla["seconds"]) != len(own["seconds"]):
            vanilla = None  # it ran out of memory on the way
        found[phase] = phase_numbers(
            own["seconds"],
            own["cpu_seconds"],
            vanilla["seconds"] if vanilla else None,
            vanilla["cpu_seconds"] if vanilla and work.device == "cpu" else None,
            limits.get(phase),
        )
    return {**found, **throughput(times[label, "answer"]["seconds"], rows, new_tokens)}
