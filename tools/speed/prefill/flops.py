"""FLOPs three ways, side by side: by the papers' formulas, of the whole model, and counted in a real prefill.

python -m tools.speed.prefill.flops [--models mini llava_1_5_7b]; writes flops.md and flops.csv. All six
models take some minutes on two cores that know bfloat16.

The 7B models have random weights, and all decoder layers share the storage of one so that they fit into
memory: every layer computes for real, and what is counted depends on shapes alone.
"""

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.efficiency.architecture import nominal_image_tokens
from pdrop_eval.efficiency.flop_counter import counted_flops
from pdrop_eval.efficiency.flops import theoretical_flops
from pdrop_eval.efficiency.model_flops import model_flops
from pdrop_eval.models.families import multimodal_of, published_config
from pdrop_eval.models.loading.checkpoint import MissingCheckpointError, resolve_checkpoint
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.presets import presets
from tools.speed.prefill.flops_page import FlopsRow, flops_csv, flops_page, side_by_side

TEXT = 64  # text tokens of the prompt
STEPS = 32  # decode steps
TITLES = {
    "mini": "LLaVA-1.5 mini",
    "mini_next_p5": "LLaVA-NeXT mini",
    "mini576": "LLaVA-1.5 mini576",
    "mini576_next_p5": "LLaVA-NeXT mini576",
    "llava_1_5_7b": "LLaVA-1.5-7B",
    "llava_next_7b": "LLaVA-NeXT-7B",
}
STRATEGIES: dict[str, Strategy] = {
    "vanilla": Vanilla(),
    "FastV K=2 R=.5": FastV(),
    "PDrop λ=.6": PyramidDrop(ratio=0.6),
    "PDrop λ=.5": PyramidDrop(ratio=0.5),
    "PDrop λ=.4": PyramidDrop(ratio=0.4),
}


def load(name: str) -> nn.Module:
    """The model of a name: a miniature with its weights, a 7B with random ones that its layers share."""
    torch.manual_seed(0)
    if name.startswith("mini"):
        preset = presets("model")[name]
        folder = resolve_checkpoint(preset["pretrained"])
        model: nn.Module = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        multimodal_of(model.config).set_anyres(preset["anyres"], model.config)
    else:
        model = shared_layers(published_config(name))
    if hasattr(model.model, "image_newline"):
        model.model.image_newline = None  # the papers' token counts have no newline tokens
    return model.eval()


def shared_layers(config: Any, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """A model of random weights whose decoder layers are all there and have the first one's weights."""
    depth = config.text_config.num_hidden_layers
    one = copy.deepcopy(config)
    one.text_config.num_hidden_layers = 1
    model = AutoModelForImageTextToText.from_config(one, dtype=dtype)
    decoder = model.get_decoder()
    first = decoder.layers[0]
    for number in range(1, depth):
        with torch.device("meta"):
            layer = type(first)(decoder.config, number)
        layer.load_state_dict(first.state_dict(), assign=True)
        decoder.layers.append(layer)
    for part in (model.config.get_text_config(), decoder.config):
        part.num_hidden_layers = depth
    return model


def prompt(config: Any, dtype: torch.dtype) -> dict[str, Any]:
    """One square image of as many tiles as the config allows, amid `TEXT` tokens of text."""
    image = nominal_image_tokens(config)
    family = multimodal_of(config)
    ids = torch.full((1, image + TEXT), 9)
    ids[:, 4 : 4 + image] = config.image_token_id
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    random = torch.Generator().manual_seed(0)
    pixels = family.random_pixels(config, family.largest_image(config), 1, random)
    placed = {name: value.to(dtype) if value.is_floating_point() else value for name, value in pixels.items()}
    return {**inputs, **placed}


def count(name: str, model: nn.Module, strategies: dict[str, Strategy]) -> list[FlopsRow]:
    """Each strategy on one prompt."""
    config: Any = model.config
    image, inputs = nominal_image_tokens(config), prompt(config, model.dtype)  # type: ignore[arg-type]
    rows = []
    for title, strategy in strategies.items():
        print(f"{name}: {title}", file=sys.stderr, flush=True)
        schedule = strategy.schedule(config.get_text_config().num_hidden_layers, image)
        rows.append(
            FlopsRow(
                model=TITLES.get(name, name),
                strategy=title,
                image_tokens=image,
                text_tokens=TEXT,
                steps=STEPS,
                layers=schedule,
                pdrop=theoretical_flops(config, schedule).total,
                fastv=theoretical_flops(config, schedule, formula="fastv").total,
                theory=model_flops(config, strategy, image, TEXT, new_tokens=STEPS),
                counted=counted_flops(model, strategy, inputs),
            )
        )
    return rows


def main() -> None:
    """Count, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--out", type=Path, default=Path("results/efficiency"))
    given = parser.parse_args()
    rows = []
    for name in given.models:
        try:
            model = load(name)
        except MissingCheckpointError as error:
            print(f"{name} is left out: {error}")
            continue
        rows += count(name, model, STRATEGIES)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        for kind, text in (("csv", flops_csv(rows)), ("md", flops_page(rows))):
            write_atomically(given.out / f"flops.{kind}", text)
    except OSError as error:
        raise UserError(
            f"{given.out} can't be written: {error.strerror}. Name another folder: --out."
        ) from error
    print(side_by_side(rows))
    print(f"written: {given.out / 'flops.md'}, {given.out / 'flops.csv'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"flops: {error}")
