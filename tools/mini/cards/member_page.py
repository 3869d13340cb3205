"""The page of a member's model card, of what was measured and what its files say."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.rendered.suite import TASKS
from pdrop_eval.models import families
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.utils.files import write_atomically
from tools.mini.cards.card import above_chance, exact_match_table, print_sizes, rank_table
from tools.mini.cards.member import Member
from tools.mini.cards.targets import NAMES, target_table
from tools.mini.cards.training_words import full_name, root_of, strategy_words, training_words
from tools.mini.family import BASE
from tools.mini.rank import CHOSEN_ON, TESTED_ON

_ORDER_HERE = "What its order of strategies is worth is said above."
_ORDER_THERE = "What the order of strategies is worth is measured on `mini576`, and said in its card."


def write_page(member: Member, card: Mapping[str, Any]) -> None:
    """README.md beside the weights, of what card.json holds."""
    text, vision = member.config["text_config"], member.config["vision_config"]
    measured, answers, training = card["exact_match"], card["answers"], member.training
    above, asked = above_chance(measured), min(map(len, answers.values()))
    page = _template("member_card_template.md").format(
        name=member.name,
        what=_what(member),
        architecture=member.config["architectures"][0],
        parameters=f"{_parameters(member.folder) / 1e6:.1f}M",
        dtype=member.config.get("dtype", "float32"),
        vision_layers=vision["num_hidden_layers"],
        vision_width=vision["hidden_size"],
        tile_tokens=(vision["image_size"] // vision["patch_size"]) ** 2,
        images=_images(member),
        layers=text["num_hidden_layers"],
        width=text["hidden_size"],
        heads=text["num_attention_heads"],
        rope=text["rope_parameters"]["rope_theta"],
        vocabulary=text["vocab_size"],
        strategy=strategy_words(training),
        evaluate=_evaluate(member),
        aims=_aims(member, card),
        scores=card["scores"],
        questions=asked,
        blank=card["blank"],
        deviation=f"{100 * math.sqrt(0.25 / asked):.1f}",
        under=f"with {strategy_words(training)} at inference" if member.drops else "with nothing dropped",
        table=exact_match_table(measured),
        above=len(above),
        tasks=len(TASKS),
        below=", ".join(NAMES[task] for task in TASKS if task not in above) or "none",
        source=card["source"],
        sizes=print_sizes(answers),
        training=training_words(training),
        start=_start(training),
        order=_ORDER_HERE if member.is_compared_on else _ORDER_THERE,
    )
    write_atomically(member.folder / "README.md", page)


def _template(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _aims(member: Member, card: Mapping[str, Any]) -> str:
    """The section on what was aimed at; empty for a member that strategies aren't compared on."""
    if not member.is_compared_on:
        return ""
    return _template("member_card_aims.md").format(
        blank=card["blank"],
        tasks=len(TASKS),
        targets=target_table(card["targets"]),
        rank=rank_table(member.folder),
        chosen=", ".join(map(full_name, CHOSEN_ON)),
        held_out=", ".join(map(full_name, TESTED_ON)),
        start=root_of(member.training),
    )


def _start(training: Training) -> str:
    """What of its abilities its start has put in."""
    root = root_of(training)
    if root != BASE:
        return f"It goes back to `{root}`, whose training decides in part where its layers look."
    return _template("member_card_start.md").strip()


def _evaluate(member: Member) -> str:
    """The commands that evaluate it, one for each model of conf/model that it is."""
    name, ratio = member.training.strategy or ("vanilla", None)
    own = [] if ratio in (None, 0.5) else [f"strategy.ratio={ratio:g}"]
    read = [(own, f" MODEL={model}") for model in member.models]
    lines = read or [([*own, f"model.pretrained={member.folder}"], "")]
    return "\n".join(
        f"make eval STRATEGY={name}" + (f" ARGS='{' '.join(settings)}'" if settings else "") + model
        for settings, model in lines
    )


def _what(member: Member) -> str:
    kind = families.multimodal_of(member.config).display_name
    how = f"with {strategy_words(member.training)}" if member.drops else "without dropping image tokens"
    text = (
        f"A miniature {kind}, trained {how}, on questions about rendered pictures: scenes of colored shapes, "
        "signs, bar charts, forms, infographics, book covers and bad photographs. It is one of a family "
        "whose members are trained alike but for the strategy, to compare training with and without "
        "PyramidDrop on two processor cores."
    )
    if len(member.models) > 1:
        names = " and ".join(f"`{name}`" for name in member.models)
        text += f" One checkpoint serves {names}, which cut infographics alone differently."
    return text


def _images(member: Member) -> str:
    size = f"{member.side} × {member.side} pixels"
    if member.config["model_type"] != "llava_next":
        return f"one tile of {size}"
    tiles = sorted({model["patches"] - 1 for model in member.models.values()} | {member.patches - 1})
    return f"an overview and up to {' or '.join(map(str, tiles))} tiles of {size}, by the picture's shape"


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
        total += sum(math.prod(shape) for shape in shapes)
    return total
