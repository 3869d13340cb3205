"""What sharing prefixes brings: questions a second with `prefix_cache` on and off, in turn, in one run.

python -m tools.speed.answering.prefix [--width 256] [--rounds 1]; a random model with LLaVA-1.5's 32 layers
and 576 tokens an image, asked as GQA (31 questions an image) and POPE (18) ask. Writes
results/efficiency/prefix.{json,md}.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lmms_eval.api.instance import Instance
from PIL import Image

from pdrop_eval.engine.prefix.fits import shared_layers, states_needed, unshared
from pdrop_eval.engine.prefix.sharing import token_bytes
from pdrop_eval.models import families
from pdrop_eval.run.bench.machine import Load
from pdrop_eval.run.lmms.model import PdropLlava
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.strategies.registry import VANILLA, installed
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.speed.answering.prefix_page import FILE, prefix_page

LAYERS, SIDE, PATCH = 32, 336, 14
TASKS = {"gqa": 31, "pope": 18}  # questions an image
IMAGES = 2  # of a task; each strategy is asked about one
BATCH, NEW = 8, 2  # questions in a batch, tokens of an answer
THINGS = ("umbrella", "bicycle", "traffic light", "dog", "wooden chair", "bottle", "person", "train", "kite")
PLACES = ("on the left of", "behind", "next to", "above", "in front of", "to the right of")


@dataclass(frozen=True)
class Asked:
    """One strategy on the questions of one task.

    Attributes:
        strategy: its name.
        task: whose number of questions an image.
        questions: how many were asked, in all.
        layers: those before the first drop; 0 where nothing is shared.
        why: why not; "" where something is.
        off, on: seconds that the processor took, of each round.
        wall: the same on the wall's clock, off and on.
        same: answers that are the same with and without.
        bytes_7b: what a prefix takes of LLaVA-1.5-7B in half precision.
    """

    strategy: str
    task: str
    questions: int
    layers: int
    why: str
    off: list[float]
    on: list[float]
    wall: tuple[list[float], list[float]]
    same: int
    bytes_7b: int


def checkpoint(folder: Path, width: int) -> Path:
    """Save a random model with LLaVA-1.5's depth and tokens, and the miniature's words."""
    from transformers import (
        AutoProcessor,
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    processor: Any = AutoProcessor.from_pretrained(MINI_CHECKPOINT)
    words = processor.tokenizer
    processor.image_processor = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    processor.patch_size = PATCH
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=width * 43 // 16,
        num_hidden_layers=LAYERS, num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=4096,
        pad_token_id=words.pad_token_id, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=width // 4, intermediate_size=width, num_hidden_layers=24, num_attention_heads=4,
        image_size=SIDE, patch_size=PATCH, projection_dim=64,
    )  # fmt: skip
    image = words.convert_tokens_to_ids(processor.image_token)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=image)
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def requests(model: PdropLlava, task: str, images: int) -> list[Instance]:
    """The questions of a task, image by image, as long as GQA's."""
    each = TASKS[task]
    rows = [image for image in range(images) for _ in range(each)]
    model.task_dict[task] = {"test": rows}

    def question(number: int) -> str:
        thing, other = THINGS[number % len(THINGS)], THINGS[(number // 2 + 3) % len(THINGS)]
        place = PLACES[number % len(PLACES)]
        return f"Is there a {thing} {place} the {other}?\nAnswer the question using a single word or phrase."

    def visual(image: int) -> list[Image.Image]:
        random = np.random.default_rng(image)
        return [Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))]

    arguments = {"max_new_tokens": NEW, "do_sample": False}
    return [
        Instance(
            request_type="generate_until",
            arguments=(question(number), dict(arguments), visual, number, task, "test"),
            idx=0,
            metadata={"task": task, "doc_id": number, "repeats": 1},
        )
        for number in range(len(rows))
    ]


def answered(model: PdropLlava, choice: str, task: str, images: int) -> tuple[list[str], float, float]:
    """The answers, and the seconds of the processor and of the clock; each time from empty caches."""
    model.features.clear()
    model.prefixes.choice = choice
    model.prefixes.strategy = None
    model.use(model.strategy)
    asked = requests(model, task, images)
    cpu, wall = time.process_time(), time.perf_counter()
    with redirect_stderr(StringIO()):  # the progress bar
        found = model.generate_until(asked)
    return [one.text for one in found], time.process_time() - cpu, time.perf_counter() - wall


def measure(model: PdropLlava, strategy: Any, task: str, images: int, rounds: int) -> Asked:
    """One strategy with and without, in turn."""
    config = model.config.get_text_config()
    model.use(strategy)
    why = unshared(model.loaded.family, config, strategy)
    seconds: dict[str, tuple[list[float], list[float]]] = {"off": ([], []), "auto": ([], [])}
    texts = {}
    for number in range(rounds):
        choices = ("off", "auto") if number % 2 == 0 else ("auto", "off")
        for choice in choices[: 1 if why else 2]:
            texts[choice], cpu, wall = answered(model, choice, task, images)
            seconds[choice][0].append(cpu)
            seconds[choice][1].append(wall)
    same = sum(a == b for a, b in zip(texts["off"], texts.get("auto", texts["off"]), strict=True))
    layers = 0 if why else shared_layers(strategy, LAYERS)
    return Asked(
        strategy.name, task, len(texts["off"]), layers, why, seconds["off"][0], seconds["auto"][0],
        (seconds["off"][1], seconds["auto"][1]), same, 0 if why else _bytes_7b(strategy),
    )  # fmt: skip


def strategies(model: PdropLlava) -> Iterator[Any]:
    """All that the model can have, as they are set by default."""
    for name in installed():
        if name == VANILLA:
            continue
        try:
            strategy = make_strategy(name)
            with strategy(model.loaded.model):
                pass
        except UserError as error:
            print(f"{name} can't be timed: {error}", file=sys.stderr)
            continue
        yield strategy


def _bytes_7b(strategy: Any) -> int:
    """What the prefix of an image takes: its tokens, and the 35 of LLaVA-1.5's system prompt before them."""
    text = families.published_config("llava_1_5_7b").get_text_config()
    tokens = 576 if strategy.adaptive else strategy.entering(576, 576)
    layers, states = shared_layers(strategy, LAYERS), states_needed(strategy, LAYERS)
    return (tokens + 35) * token_bytes(text, torch.float16, layers, states)


def run(width: int, rounds: int, only: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure all, and return what the files hold."""
    torch.set_num_threads(1)
    load = Load()
    with tempfile.TemporaryDirectory() as folder:
        model = PdropLlava(
            str(checkpoint(Path(folder) / "model", width)), VANILLA, device="cpu", dtype="float32",
            batch_size=BATCH, workers=0, chat_template="vicuna",
        )  # fmt: skip
        model.generate_until(requests(model, "pope", 1)[:BATCH])  # warms up
        whole = [measure(model, make_strategy(VANILLA), task, IMAGES, rounds) for task in TASKS]
        each = []
        for strategy in strategies(model):
            if only is None or strategy.name in only:
                each.append(measure(model, strategy, "pope", 1, 1))
                print(f"{strategy.name}: {each[-1].off} {each[-1].on}", file=sys.stderr)
    return {
        "schema": 1,
        "goals": [asdict(one) for one in whole],
        "strategies": [asdict(one) for one in each],
        "layers": LAYERS, "width": width, "batch_size": BATCH, "new_tokens": NEW, "rounds": rounds,
        "images": IMAGES, "load": load.seen(), "hardware": provenance.hardware(),
        "packages": provenance.package_versions(), "code": provenance.code_identity(),
    }  # fmt: skip


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--width", type=int, default=256, help="of the decoder; 4,096 is LLaVA-1.5-7B's")
    parser.add_argument("--rounds", type=int, default=1, help="of vanilla on both tasks")
    parser.add_argument("--out", type=Path, default=FILE, help="JSON file; the page is beside it")
    options = parser.parse_args()
    found = run(options.width, options.rounds)
    write_atomically(options.out, json.dumps(found, indent=1) + "\n")
    page = options.out.with_suffix(".md")
    write_atomically(page, prefix_page(found))
    print(f"Written: {options.out} and {page}")


if __name__ == "__main__":
    main()
