"""Export a miniature that was trained here in Hugging Face format, with a model card of what was measured.

python -m tools.mini.cards.card results/mini-training        # a finished training, to mini_base
python -m tools.mini.cards.card                              # its card again, of the weights that are there
python -m tools.mini.cards.card --architecture qwen2_5_vl    # the card of mini_qwen2_5_vl again
python -m tools.mini.cards.card --architecture llava576 --written   # its page again, from what was measured
"""

import argparse
import json
import math
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.rendered.suite import QUESTIONS, TASKS
from pdrop_eval.utils.paths import MINI_CHECKPOINTS
from tools.mini.cards.targets import (
    ABOVE,
    BLANK_IMAGE,
    CONSTANT,
    NAMES,
    POSITIONS_KEPT,
    PYRAMID,
    SHARES,
    dropped,
    target_table,
    targets,
)
from tools.mini.training.checkpoints import load_state
from tools.mini.training.vocabulary import QWEN_TOKENS, TOKENS

if TYPE_CHECKING:
    from tools.mini.training.architectures import Architecture

RANK = Path("results/figures/rank_mini_vs_7b.md")


def export(run: Path, kind: "Architecture", out: Path) -> None:
    """Write the last checkpoint of a training run as config, safetensors, tokenizer and processor.

    In bfloat16, as all of the family: half the bytes, and in float32 it computes nearly the same.
    """
    import torch

    state = load_state(run)
    if state is None:
        raise SystemExit(f"There is no checkpoint in {run}. Run `make train-mini` first.")
    model = kind.built_for(state["stage"])
    model.load_state_dict(state["modules"]["model"])
    model = kind.finish(model)
    model.generation_config.max_new_tokens = 16
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)
    kind.processor().save_pretrained(out)
    shutil.copy(run / "log.jsonl", out / "training_log.jsonl")
    if (run / "clip").is_dir():
        place = MINI_CHECKPOINTS if out == kind.folder else out.parent  # shipped, or tried
        shutil.copytree(run / "clip", place / f"{out.name.removesuffix('_base')}_clip", dirs_exist_ok=True)


def depths(layers: int) -> tuple[int, ...]:
    """After which layers tokens are dropped: the first, and a quarter, a half and three quarters of all."""
    return 1, layers // 4, layers // 2, 3 * layers // 4


def drops(model_type: str, layers: Iterable[int], shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """The settings that are measured, by what a card calls them: PyramidDrop's, and single drops.

    Args:
        model_type: of the checkpoint's config.
        layers: after which FastV's rule drops once.
        shares: of the image tokens that it keeps.
    """
    from pdrop_eval.strategies.fastv import FastV
    from pdrop_eval.strategies.pyramiddrop import PyramidDrop

    kept = PyramidDrop(positions="keep")
    # Positions of more than one dimension can't be renumbered.
    both = model_type == "llava"
    found = {PYRAMID: PyramidDrop(), POSITIONS_KEPT: kept} if both else {PYRAMID: kept}
    return found | {
        dropped(share, depth): FastV(k=depth, r=1 - share) for depth in layers for share in shares
    }


def ask(
    mini: tuple[Any, Any],
    strategies: Mapping[str, Any],
    questions: int,
    known: Mapping[str, dict[str, list[str]]] | None = None,
) -> dict[str, dict[str, list[str]]]:
    """Answers by setting and task: with the image, with a blank one, the best constant, with each strategy.

    Args:
        mini: a model and its processor.
        strategies: by what the setting is called.
        questions: the first of each task.
        known: answers that need not be asked for, by setting.
    """
    from tools.mini.answer import answer_suite, best_constant, exact_match

    found = dict(known or {})
    for name, strategy in {"image": None, BLANK_IMAGE: None, CONSTANT: None, **strategies}.items():
        if name in found:
            continue
        if name == CONSTANT:
            found[name] = best_constant(questions)
        else:
            found[name] = answer_suite(*mini, strategy, name == BLANK_IMAGE, questions)
        print(f"{name}: {100 * sum(exact_match(found[name]).values()) / len(TASKS):.1f}", flush=True)
    return found


def reached(answers: Mapping[str, dict[str, list[str]]], layers: int) -> dict[str, dict]:
    """What of the targets answers to the same questions reach, by setting; `layers` are the decoder's."""
    from tools.mini.answer import is_right, shares

    right = {name: is_right(given) for name, given in answers.items()}  # renders the questions: once
    return targets({name: shares(found) for name, found in right.items()}, right, layers)


def measure(folder: Path, questions: int = QUESTIONS) -> tuple[dict, dict, dict]:
    """Exact match by task, what of it was aimed at, and the answers with the image.

    With the image, with a blank one, for the best constant answer, and after drops at several depths.

    Args:
        folder: of the checkpoint.
        questions: the first of each task.
    """
    from tools.mini.answer import exact_match, load_mini

    model, processor = load_mini(folder)
    layers = model.config.text_config.num_hidden_layers
    answers = ask((model, processor), drops(model.config.model_type, depths(layers)), questions)
    measured = {name: exact_match(given) for name, given in answers.items()}
    return measured, reached(answers, layers), answers["image"]


def _log(folder: Path, name: str = "training_log.jsonl") -> list[dict]:
    lines = (folder / name).read_text().splitlines()
    # After a resume a step may be logged again: the later line counts.
    return list({(e["stage"], e["step"], "validation" in e): e for e in map(json.loads, lines)}.values())


def draw_curve(folder: Path, guided: float) -> None:
    """`curve.svg`: loss and held-out accuracy after the first stage, guided up to step `guided`."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "pdrop-eval"
    from matplotlib import pyplot as plt

    log, ends = _answering(_log(folder))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    losses = [e for e in log if "loss" in e]
    left.plot([e["step"] for e in losses], [e["loss"] for e in losses], color="black")
    left.set(xlabel="step", ylabel="loss (nats per answer token)", yscale="log")
    checks = [e for e in log if "validation" in e]
    for task, name in NAMES.items():
        points = [(e["step"], 100 * e["validation"][task]) for e in checks if task in e["validation"]]
        right.plot(*zip(*points, strict=True), label=name)
    right.set(xlabel="step", ylabel="held-out exact match (%)", ylim=(0, 100))
    right.legend(fontsize="x-small", ncols=3)
    if guided:
        left.axvline(guided, color="grey", linestyle=":")
        left.annotate("guidance ends ", (guided, losses[1]["loss"]), ha="right", color="dimgrey")
        right.axvline(guided, color="grey", linestyle=":")
    for end in ends:
        for axis in (left, right):
            axis.axvline(end, color="grey", linestyle="--")
    figure.savefig(folder / "curve.svg", metadata={"Date": None})


def _answering(log: list[dict]) -> tuple[list[dict], list[int]]:
    """The stages in which questions are answered as one, and the steps at which one ended."""
    second = [entry for entry in log if entry["stage"] == "joint"]
    third = [entry for entry in log if entry["stage"] == "together"]
    if not third:
        return second, []
    end = max(entry["step"] for entry in second)
    # The third stage has other lessons beside the answers, which its loss adds up.
    own = ({**e, "step": end + e["step"]} | ({"loss": e["answers"]} if "answers" in e else {}) for e in third)
    return [*second, *own], [end]


def exact_match_table(measured: dict) -> str:
    """A row a task, a column a setting, as Markdown."""
    rows = ["| | " + " | ".join(measured) + " |", "|---" * (len(measured) + 1) + "|"]
    for task, name in NAMES.items():
        rows.append(f"| {name} | " + " | ".join(f"{100 * s[task]:.1f}" for s in measured.values()) + " |")
    means = (100 * sum(shares.values()) / len(shares) for shares in measured.values())
    return "\n".join([*rows, "| mean | " + " | ".join(f"{mean:.1f}" for mean in means) + " |"])


def above_chance(measured: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The tasks that are at least 20 points above a blank image and the best constant answer."""
    chance = {t: max(measured[BLANK_IMAGE][t], measured[CONSTANT][t]) for t in TASKS}
    return [t for t in TASKS if measured["image"][t] - chance[t] >= ABOVE]


def print_sizes(answers: dict[str, list[str]]) -> str:
    """Exact match on large text and on small print, of the tasks that ask for both: a Markdown table."""
    from pdrop_eval.benchmarks.rendered.suite import render

    rows = ["| | large text | small print |", "|---|---|---|"]
    for task, given in answers.items():
        right: dict[bool, list[bool]] = {False: [], True: []}
        for answer, (_, question, _) in zip(given, render(task, len(given)), strict=True):
            right[question.small].append(answer == question.answer)
        if right[True] and right[False]:
            cells = (f"{100 * sum(r) / len(r):.1f} (n={len(r)})" for r in right.values())
            rows.append(f"| {NAMES[task]} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def write_card(folder: Path, measured: dict, aims: dict, answers: dict, run: dict) -> None:
    """`README.md` and `card.json` beside the weights."""
    above = above_chance(measured)
    questions = len(answers[TASKS[0]])
    deviation = 100 * math.sqrt(0.25 / questions)
    card = {"exact_match": measured, "targets": aims, "training": run, "answers": answers}
    (folder / "card.json").write_text(json.dumps(card, ensure_ascii=False) + "\n", encoding="utf-8")
    kind = run.get("architecture", "llava")
    name = "card_template.md" if kind == "llava" else f"card_{kind}.md"
    (folder / "README.md").write_text(
        (Path(__file__).parent / name)
        .read_text(encoding="utf-8")
        .format(
            table=exact_match_table(measured),
            targets=target_table(aims),
            sizes=print_sizes(answers),
            vocabulary=len(QWEN_TOKENS if kind == "qwen2_5_vl" else TOKENS),
            tasks=len(TASKS),
            above=len(above),
            below=", ".join(NAMES[t] for t in TASKS if t not in above) or "none",
            questions=questions,
            deviation=f"{deviation:.1f}",
            **run,
        )
    )


def rank_table(folder: Path) -> str:
    """The correlations of `make rank`, as its page has them; if it is of other weights, what to do."""
    from pdrop_eval.records.run_identity import checkpoint_sha256

    page = RANK.read_text(encoding="utf-8") if RANK.is_file() else ""
    if f"checkpoint {checkpoint_sha256(folder, None)[:12]}." not in page:
        return "Not measured of these weights: `make rank`, which writes this card again."
    return "\n".join(line for line in page.splitlines() if line.startswith("|"))


def training_facts(folder: Path, arguments: dict) -> dict:
    """What the log says of the run: minutes of each stage, steps, last loss, and on what it ran."""
    facts = dict(arguments)
    log = _log(folder)
    stages = dict.fromkeys(e["stage"] for e in log)
    facts = {k: v for k, v in facts.items() if not k.endswith("_steps") or k.removesuffix("_steps") in stages}
    for stage in stages:
        entries = [e for e in log if e["stage"] == stage]
        facts[f"{stage}_minutes"] = round(entries[-1]["seconds"] / 60)
        facts[f"{stage}_steps"] = entries[-1]["step"]
        losses = [e.get("answers", e["loss"]) for e in entries if "loss" in e]
        last = losses[-5:] if "answers" in entries[0] else losses[-1:]  # of single steps, or a running mean
        facts[f"{stage}_loss"] = round(sum(last) / len(last), 4)
    facts["machine"] = platform.machine()
    return facts


def _check_stages(run: Path, kind: "Architecture") -> None:
    """Refuse a training without all of the stages that its card speaks of."""
    logged = {entry["stage"] for entry in _log(run, "log.jsonl")}
    missing = [stage for stage in kind.stages if stage not in logged]
    if missing:
        raise SystemExit(
            f"The training in {run} has no stage {', '.join(missing)}, which the card describes: none may "
            "have 0 steps."
        )


def main() -> None:
    """Parse the command line, export, measure and write the card."""
    from tools.mini.training.architectures import ARCHITECTURES

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("run", type=Path, nargs="?", help="folder of a finished training run")
    parser.add_argument("--architecture", choices=tuple(ARCHITECTURES), help="default: the run's, or llava")
    parser.add_argument("--out", type=Path, help="default: where the checkpoint ships")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="of each task that are measured")
    parser.add_argument(
        "--written",
        action="store_true",
        help="measure nothing: the page again, from card.json, if it is there",
    )
    options = parser.parse_args()
    arguments = json.loads((options.run / "arguments.json").read_text()) if options.run else {}
    kind = ARCHITECTURES[options.architecture or arguments.get("architecture", "llava")]
    out = options.out or kind.folder
    if options.run:
        _check_stages(options.run, kind)
        export(options.run, kind, out)
        facts = training_facts(out, arguments)
    elif options.written and not (out / "card.json").is_file():
        return
    else:
        card = json.loads((out / "card.json").read_text(encoding="utf-8"))
        facts = card["training"]
        if options.written:
            write_card(out, card["exact_match"], card["targets"], card["answers"], facts)
            return
    draw_curve(out, facts["guided"] * facts["joint_steps"] if kind.is_guided else 0)
    write_card(out, *measure(out, options.questions), facts)


if __name__ == "__main__":
    main()
