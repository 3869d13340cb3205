"""How much faster a training step is with dropping: times steps of random models, and prints speed-ups.

python -m tools.speed.training [--rounds 9]; strategies take turns within each round. Writes speed.json and
speed.md; takes some minutes on one core. On a GPU: --device cuda --cases larger.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdrop_eval import FastV, PyramidDrop
from pdrop_eval.report.bench.training_speed import FILE, speed_lines, speed_page
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.run.train.estimate.cost import architecture_of, speedup_bound, training_flops
from pdrop_eval.run.train.trainer import choose_parts
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.vanilla import Vanilla
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.files import write_atomically
from tools.mini.training.model import build_config

TRAIN = ("projector", "decoder")
BEFORE, ANSWER = 4, 4  # tokens before the image, and labelled ones at the end
WARM_UP = 1  # rounds that don't count


@dataclass(frozen=True)
class Case:
    """A model and a batch: `side` pixels with patches of 8, and `text` tokens that are no image's."""

    name: str
    layers: int
    width: int
    side: int
    text: int
    batch: int


CASES = {
    "miniature": Case("miniature, as LLaVA-1.5", layers=8, width=128, side=96, text=40, batch=16),
    "larger": Case("larger model", layers=16, width=384, side=192, text=64, batch=4),
}
STRATEGIES: tuple[Strategy, ...] = (Vanilla(), FastV(), PyramidDrop())


def build(case: Case) -> nn.Module:
    """A LLaVA of random weights; its feed-forward is 2.75 times its width, as in the miniature."""
    from transformers import LlavaForConditionalGeneration

    config = build_config()
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers, text.hidden_size = case.layers, case.width
    text.intermediate_size = case.width * 11 // 4
    text.head_dim = case.width // text.num_attention_heads
    vision.image_size = case.side
    config.image_seq_length = (case.side // vision.patch_size) ** 2
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    choose_parts(model, TRAIN)
    return model.train()


def make_batch(case: Case, config: Any, device: str) -> dict[str, Tensor]:
    """Samples of one length: some tokens, the image, a question, and an answer with labels."""
    random = torch.Generator().manual_seed(0)
    image = config.image_seq_length
    ids = torch.randint(8, config.text_config.vocab_size, (case.batch, image + case.text), generator=random)
    ids[:, BEFORE : BEFORE + image] = config.image_token_id
    labels = torch.full_like(ids, -100)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    pixels = torch.randn(case.batch, 3, case.side, case.side, generator=random)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
        "pixel_values": pixels,
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def step(model: nn.Module, batch: dict[str, Tensor], optimizer: Any, kind: str, dtype: torch.dtype) -> None:
    """One training step, as the Trainer does it."""
    with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
        loss = model(**batch, use_cache=False).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def measure(case: Case, rounds: int, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """The times of a case's steps by strategy, and the bounds that theory sets to their ratios."""
    model = build(case).to(device)
    batch, kind = make_batch(case, model.config, device), torch.device(device).type
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5)
    wall: dict[str, list[float]] = {strategy.name: [] for strategy in STRATEGIES}
    used: dict[str, list[float]] = {strategy.name: [] for strategy in STRATEGIES}
    for number in range(WARM_UP + rounds):
        turn = number % len(STRATEGIES)
        for strategy in STRATEGIES[turn:] + STRATEGIES[:turn]:
            with strategy(model):
                start = time.perf_counter(), time.process_time()
                step(model, batch, optimizer, kind, dtype)
                if kind == "cuda":
                    torch.cuda.synchronize()
                end = time.perf_counter(), time.process_time()
            if number >= WARM_UP:
                wall[strategy.name].append(end[0] - start[0])
                used[strategy.name].append(end[1] - start[1])
    config: Any = model.config
    image = config.image_seq_length
    return {
        "name": case.name,
        "layers": case.layers,
        "width": case.width,
        "image_tokens": image,
        "text_tokens": case.text,
        "batch": case.batch,
        "rounds": rounds,
        "train": list(TRAIN),
        "strategies": [
            of_strategy(strategy, wall, used, model.config, image, case.text, kind) for strategy in STRATEGIES
        ],
    }


def of_strategy(
    strategy: Strategy, wall: dict[str, list[float]], used: dict[str, list[float]],
    config: Any, image: int, text: int, kind: str,
) -> dict[str, Any]:  # fmt: skip
    """Times, speed-ups and bounds of one strategy."""
    sizes = architecture_of(config)
    costs = [
        training_flops(sizes, one, image, text, train=TRAIN, checkpointing=False)
        for one in (STRATEGIES[0], strategy)
    ]
    name, first = strategy.name, STRATEGIES[0].name
    return {
        "name": name,
        "fields": dict(vars(strategy)),
        "seconds": quartiles(wall[name]),
        "cpu_seconds": quartiles(used[name]),
        "all_seconds": wall[name],
        "speedup": quartiles([a / b for a, b in zip(wall[first], wall[name], strict=True)]),
        # On a GPU, the processor only hands out the work.
        "cpu_speedup": None
        if kind != "cpu"
        else quartiles([a / b for a, b in zip(used[first], used[name], strict=True)]),
        "bound": speedup_bound(sizes, strategy, image, text, train=TRAIN, checkpointing=False),
        "image_bound": costs[0].image_tokens / costs[1].image_tokens,
        "flops": asdict(costs[1]),
    }


def environment(device: str, dtype: str) -> dict[str, Any]:
    """On what it ran; no name of the machine."""
    machine = provenance.hardware()
    return {
        "device": machine["gpus"][0]
        if device.startswith("cuda")
        else f"{machine['cpu']}, {machine['cores']} cores",
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "packages": provenance.package_versions(),
        "code": provenance.code_identity(),
    }


def main() -> None:
    """Measure, print the speed-ups and write both files."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=9, help="that count, after a first one that doesn't")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the computation"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FILE, help="JSON file; the page is beside it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {
        "schema": 1,
        "environment": environment(options.device, options.dtype),
        "cases": [],
    }
    for name in options.cases:
        print(f"{name}: {options.rounds} rounds", flush=True)
        found["cases"].append(
            measure(CASES[name], options.rounds, options.device, getattr(torch, options.dtype))
        )
    print(speed_lines(found))
    write_atomically(options.out, json.dumps(found, indent=1) + "\n")
    page = options.out.with_suffix(".md")
    write_atomically(page, speed_page(found))
    print(f"Written: {options.out} and {page}")


if __name__ == "__main__":
    main()
