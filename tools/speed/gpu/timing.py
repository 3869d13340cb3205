"""Prefill, first token, decoding and memory of three 7B models with random weights, each beside its bound."""

import gc
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any
from unittest import mock

import torch

from pdrop_eval.efficiency.model_flops import model_flops
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.timing import Runner
from pdrop_eval.run.bench.work import Work
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.memory import is_out_of_memory
from tools.speed.gpu.ground import STRATEGIES, Ground, SkippedError

PHASES = ("prefill", "ttft", "decode")
ROUNDS = 2


def rates(ground: Ground) -> dict[str, Any]:
    """What this device reaches: products of large matrices, and copies within its memory."""
    n, size = ground.scaled(8192, 64), ground.scaled(2**30, 2**12)
    square = torch.randn(n, n, device=ground.device, dtype=torch.bfloat16)
    there = torch.empty(size, device=ground.device, dtype=torch.uint8)
    other = torch.empty_like(there)
    properties = ground.cuda.get_device_properties(0)
    return {
        "name": ground.cuda.get_device_name(0),
        "memory_bytes": int(properties.total_memory),
        "capability": f"{properties.major}.{properties.minor}",
        "flops": 2 * n**3 / ground.seconds(lambda: square @ square),
        "bytes_per_second": 2 * size / ground.seconds(lambda: other.copy_(there)),
    }


def family(ground: Ground, model: str) -> dict[str, Any]:
    """Times of a family at batches of 1, 8 and 32, saved after each."""
    work, left_out = _fitting(ground, model)
    built = ground.build(work)
    found: dict[str, Any] = {**_about(work), "left_out": left_out, "batches": {}}
    for rows in (1, 2) if ground.tiny else (1, 8, 32):
        found["batches"][str(rows)] = times(ground, work, built, rows)
        ground.keep(found)
    return found


def attention(ground: Ground) -> dict[str, Any]:
    """Times of LLaVA-1.5 by kernel: SDPA, FlashAttention where it is installed, and with torch.compile."""
    work = ground.work("llava_1_5_7b", strategies=("vanilla", "pdrop"))
    built = ground.build(work)
    found: dict[str, Any] = {**_about(work), "ways": {}}
    for way in ("sdpa", "flash_attention_2", "eager", "sdpa with torch.compile"):
        try:
            _set_attention(built, way, ground.tiny)
            rows = ground.scaled(8, 2)
            found["ways"][way] = {str(n): times(ground, work, built, n) for n in (1, rows)}
        except SkippedError as error:
            found["ways"][way] = {"skipped": str(error)}
        ground.keep(found)
    return found


def largest(ground: Ground) -> dict[str, Any]:
    """How many rows of LLaVA-NeXT fit, halving from 64; and what a try that didn't leaves behind."""
    work = ground.work("llava_next_7b", strategies=("vanilla",))
    built = ground.build(work)
    rows, tries = ground.scaled(64, 4), []
    while rows:
        before = ground.cuda.memory_allocated()
        full: dict[str, str] = {}
        with _within(full, "vanilla"):
            _prefilled(ground, work, built, rows)
        kept = ground.cuda.memory_allocated() - before
        tries.append({"rows": rows, "fits": not full, "kept_bytes": kept})
        if not full:
            break
        rows //= 2
    return {**_about(work), "tries": tries}


def _prefilled(ground: Ground, work: Work, built: Any, rows: int) -> None:
    if ground.tiny and rows > 2:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory, as it is pretended here.")
    Runner(built, work.strategies["vanilla"], ground.batch(work, rows), 2, ground.device).answer()


def times(ground: Ground, work: Work, built: Any, rows: int) -> dict[str, Any]:
    """All strategies in turn at one batch size; one that runs out of memory or time is named and left out."""
    full: dict[str, str] = {}
    seconds: dict[str, dict[str, list[float]]] = {}
    memory: dict[str, tuple[int, list[int]]] = {}
    runners: dict[str, Runner] = {}
    with _within(full, "inputs"):
        batch = ground.batch(work, rows)
        new = work.plan.config.new_tokens
        runners = {
            label: Runner(built, strategy, batch, new, ground.device)
            for label, strategy in work.strategies.items()
        }
    for label, runner in runners.items():
        with _within(full, label):
            memory[label] = runner.memory()  # warms up, too
    for _ in range(ROUNDS):
        for label in [label for label in runners if label not in full]:
            if ground.left < 3 and label in seconds:
                continue
            with _within(full, label):
                found = {"prefill": runners[label].prefill(), **runners[label].answer()}
                for phase in PHASES:
                    seconds.setdefault(label, {}).setdefault(phase, []).append(found[phase].wall)
    return {
        "variants": {
            label: _numbers(ground, work, built, label, rows, memory[label], seconds) for label in seconds
        },
        "out_of_memory": full,
    }


def _numbers(
    ground: Ground, work: Work, built: Any, label: str, rows: int, memory: tuple[int, list[int]],
    seconds: Mapping[str, Mapping[str, list[float]]],
) -> dict[str, Any]:  # fmt: skip
    """The median of each phase, its bound by FLOPs or by bandwidth, and the speed-up over vanilla."""
    peak, kept = memory
    bounds = _bounds(ground, work, built, label, rows, sum(kept))
    vanilla = seconds.get("vanilla", {})
    return {
        "peak_bytes": peak,
        "kv_bytes": sum(kept),
        **{
            phase: {
                "seconds": statistics.median(own),
                "bound_seconds": bounds.get(phase),
                "speedup": statistics.median(vanilla[phase]) / statistics.median(own) if vanilla else None,
            }
            for phase, own in seconds[label].items()
        },
    }


def _bounds(ground: Ground, work: Work, built: Any, label: str, rows: int, kv_bytes: int) -> dict[str, float]:
    """Seconds of each phase at the rates that this device reached; none where these weren't measured.

    A prefill is bound by its FLOPs (twice the multiply-adds by formula), a decode step by these or by the
    bytes of the decoder's weights and of the cache, whichever takes longer.
    """
    rate = ground.known.get("rates")
    if not rate:
        return {}
    sample, new = work.sample, work.plan.config.new_tokens
    count = model_flops(
        work.config, work.strategies[label], sample.image_tokens, sample.text_tokens, new_tokens=new,
        tiles=sample.tiles,
    )  # fmt: skip
    read = sum(p.nbytes for part in (built.get_decoder(), built.lm_head) for p in part.parameters())
    per_flop = 2 * rows / rate["flops"]
    return {
        "prefill": count.prefill * per_flop,
        "ttft": count.ttft * per_flop,
        "decode": max(count.decode / new * per_flop, (read + kv_bytes) / rate["bytes_per_second"]),
    }


def _about(work: Work) -> dict[str, Any]:
    text = work.config.get_text_config()
    return {
        "model": work.plan.config.model.name,
        "layers": text.num_hidden_layers,
        "width": text.hidden_size,
        "weight_bytes": work.weights,
        "image_tokens": work.sample.image_tokens,
        "text_tokens": work.sample.text_tokens,
        "new_tokens": work.plan.config.new_tokens,
        "dtype": work.plan.dtype,
    }


def _fitting(ground: Ground, model: str) -> tuple[Work, dict[str, str]]:
    """What is measured of a model, and why a strategy isn't among it."""
    try:
        return ground.work(model), {}
    except UserError:
        reasons: dict[str, str] = {}
        for name in STRATEGIES:
            try:
                ground.work(model, strategies=(name,))
            except UserError as error:
                reasons[name] = str(error)
        if len(reasons) == len(STRATEGIES):  # such as a family that needs a newer transformers
            raise SkippedError(reasons[STRATEGIES[0]]) from None
        return ground.work(model, strategies=[name for name in STRATEGIES if name not in reasons]), reasons


def _set_attention(built: Any, way: str, tiny: bool) -> None:
    name, _, compiled = way.partition(" with ")
    if name == "flash_attention_2" and find_spec("flash_attn") is None:
        raise SkippedError("the package flash-attn isn't installed")
    built.set_attn_implementation(name)
    if compiled:
        with mock.patch.object(
            torch, "compile", partial(torch.compile, **({"backend": "eager"} if tiny else {}))
        ):
            models._compile(built)


@contextmanager
def _within(full: dict[str, str], label: str) -> Iterator[None]:
    """Note what runs out of memory, and free what it held."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        full[label] = str(error).partition("\n")[0]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
