"""The model card of a member of the family: what it is, how it was trained, what was measured of it.

    python -m tools.mini.cards.member_card pdrop_eval/models/checkpoints/mini_pdrop_05

Nothing in a card is written by hand: sizes are those of its config.json, the training is that of its
training_record.json, and scores are those of the evaluation records in results/runs, if they are of these
very weights. What no record has is measured here.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.rendered.suite import QUESTIONS, TASKS
from pdrop_eval.models import families
from pdrop_eval.models.pictures.tiling import patches, tile_size
from pdrop_eval.records.rows.run import Run, pick, to_runs
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.report.formats.markdown import pipes
from pdrop_eval.strategies.registry import display_name
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.text import numbers
from tools.mini.cards.card import NAMES, exact_match_table, print_sizes

RUNS = Path("results/runs")
SUITE = "mini"
BLANK = 60  # questions of each task that are asked with a blank image: enough to tell that it is needed
_SETTINGS = ("batch_size", "learning_rate", "schedule", "warmup_ratio", "weight_decay", "template", "train")


def write_card(folder: Path, root: Path = RUNS, questions: int = QUESTIONS) -> None:
    """Write README.md and card.json beside a member's weights. Raises UserError without a training record.

    `questions`: of each task that are asked here, where no record has them all.
    """
    path = folder / "training_record.json"
    if not path.is_file():
        raise UserError(f"{folder} has no training_record.json: a card says how a model was trained.")
    record = json.loads(path.read_text(encoding="utf-8"))
    training = Training.of(record)
    runs = runs_of(folder, root)
    measured, answers, source = measure(folder, training, runs, questions)
    card = {"exact_match": measured, "answers": answers}
    write_atomically(folder / "card.json", json.dumps(card, ensure_ascii=False) + "\n")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = _card(record, training, config, folder, runs, measured, answers, source)
    write_atomically(folder / "README.md", text)


def runs_of(folder: Path, root: Path) -> list[Run]:
    """The runs of these very weights on the whole rendered suite, one a strategy, in the tables' order."""
    weights = checkpoint_sha256(folder, None)
    of_it = [
        run
        for run in to_runs(load_records(root))
        if run.checkpoint == weights and run.suite == SUITE and run.limit is None
        if run.key is not None and not run.key.settings
    ]
    keys = list(dict.fromkeys(run.key for run in of_it))
    chosen = [pick([run for run in of_it if run.key == key], benchmarks())[0] for key in keys]
    return sorted((run for run in chosen if run), key=lambda run: (run.strategy != "vanilla", run.id))


def measure(
    folder: Path, training: Training, runs: Sequence[Run], questions: int
) -> tuple[dict[str, dict[str, float]], dict[str, list[str]], str]:
    """Exact match by setting and task, the answers with the image, and where these are from, in words."""
    from tools.mini.answer import answer_suite, best_constant, exact_match, load_mini

    answers, run = _recorded(runs, training)
    left = [task for task in TASKS if task not in answers]
    model, processor = load_mini(folder)
    strategy = own_strategy(training)
    if left:
        answers |= answer_suite(model, processor, strategy, questions=questions, tasks=left)
    answers = {task: answers[task] for task in TASKS}
    blank = answer_suite(model, processor, strategy, blank=True, questions=min(questions, BLANK))
    measured = {
        "image": exact_match(answers),
        "blank image": exact_match(blank),
        "best constant answer": exact_match(best_constant()),
    }
    if run is None:
        return measured, answers, "Measured when this card was written."
    some = f", but for {', '.join(NAMES[task] for task in left)}" if left else ""
    return measured, answers, f"The answers with the image are those of the record {run.id}{some}."


def own_strategy(training: Training) -> Any:
    """The strategy that it was trained with; None for one that drops nothing."""
    from pdrop_eval.strategies.make import make_strategy

    found = training.record.get("strategy") or {}
    if found.get("name") in (None, "vanilla"):
        return None
    return make_strategy(
        found["name"],
        {key: tuple(v) if isinstance(v, list) else v for key, v in found.items() if key != "name"},
    )


def _recorded(runs: Sequence[Run], training: Training) -> tuple[dict[str, list[str]], Run | None]:
    """The answers under its own strategy, of the tasks that a record has whole."""
    for run in runs:
        assert run.key is not None
        if (run.strategy, run.key.ratio) == (training.strategy or ("vanilla", None)):
            found = {}
            for task in run.record["tasks"]:
                samples = load_samples(Path(run.folder), task)
                if task in TASKS and [s["doc_id"] for s in samples] == list(range(QUESTIONS)):
                    found[task] = [str(sample["answer"]) for sample in samples]
            return found, run
    return {}, None


def _card(
    record: Mapping[str, Any], training: Training, config: Mapping[str, Any], folder: Path,
    runs: Sequence[Run], measured: dict[str, dict[str, float]], answers: dict[str, list[str]], source: str,
) -> str:  # fmt: skip
    text, vision = config["text_config"], config["vision_config"]
    chance = {t: max(measured["blank image"][t], measured["best constant answer"][t]) for t in TASKS}
    above = [task for task in TASKS if measured["image"][task] - chance[task] >= 0.2]
    asked = min(map(len, answers.values()))
    name, drops = str(record["name"]), training.strategy not in (None, ("vanilla", None))
    template = (Path(__file__).parent / "member_card_template.md").read_text(encoding="utf-8")
    return template.format(
        name=name,
        what=_what(training, config),
        architecture=config["architectures"][0],
        parameters=f"{_parameters(folder) / 1e6:.1f}M",
        dtype=config.get("dtype", "float32"),
        vision_layers=vision["num_hidden_layers"],
        vision_width=vision["hidden_size"],
        tile_tokens=(vision["image_size"] // vision["patch_size"]) ** 2,
        images=_images(config),
        layers=text["num_hidden_layers"],
        width=text["hidden_size"],
        heads=text["num_attention_heads"],
        vocabulary=text["vocab_size"],
        strategy=_strategy(training),
        evaluate=(training.strategy or ("vanilla",))[0] + _ratio(training),
        scores=_scores(runs),
        questions=asked,
        blank=min(asked, BLANK),
        deviation=f"{100 * math.sqrt(0.25 / asked):.1f}",
        under=f"with {_strategy(training)} at inference" if drops else "with nothing dropped",
        table=exact_match_table(measured),
        above=len(above),
        tasks=len(TASKS),
        below=", ".join(NAMES[task] for task in TASKS if task not in above) or "none",
        source=source,
        sizes=print_sizes(answers),
        training=_training(training),
    )


def _what(training: Training, config: Mapping[str, Any]) -> str:
    kind = families.multimodal_of(config).display_name
    dropped = training.strategy not in (None, ("vanilla", None))
    how = f"with {_strategy(training)}" if dropped else "without dropping image tokens"
    return (
        f"A miniature {kind}, trained {how}, on questions about rendered pictures: scenes of colored shapes, "
        "signs, bar charts, forms, infographics, book covers and bad photographs. It is one of a family "
        "whose members are trained alike but for the strategy, to compare training with and without "
        "PyramidDrop on two processor cores."
    )


def _strategy(training: Training) -> str:
    name, ratio = training.strategy or ("vanilla", None)
    if name == "vanilla":
        return "nothing dropped"
    full = {"pdrop": "PyramidDrop"}.get(name, display_name(name))
    return full + (f", λ={ratio:g}" if ratio is not None else "")


def _ratio(training: Training) -> str:
    ratio = training.strategy[1] if training.strategy else None
    return "" if ratio in (None, 0.5) else f" ARGS='strategy.ratio={ratio:g}'"


def _images(config: Mapping[str, Any]) -> str:
    side = tile_size(dict(config))
    if config["model_type"] != "llava_next":
        return f"one tile of {side} × {side} pixels"
    tiles = patches(config["image_grid_pinpoints"], side)
    return f"an overview and up to {tiles - 1} tiles of {side} × {side} pixels, by the picture's shape"


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
        total += sum(math.prod(shape) for shape in shapes)
    return total


def _scores(runs: Sequence[Run]) -> str:
    """The scores of the records, by each benchmark's own metric: a line a benchmark, a column a strategy."""
    if not runs:
        return "No evaluation record of these weights was there when this card was written."
    heads = [
        display_name(run.strategy) + (f" λ={run.key.ratio:g}" if run.key and run.key.ratio else "")
        for run in runs
    ]
    rows = []
    for key, benchmark in benchmarks().items():
        found = [run.results.get(key) for run in runs]
        if any(found):
            rows.append([benchmark.name, *(_score(entry) for entry in found)])
    records = ", ".join(run.id for run in runs)
    intro = (
        "Scores by each benchmark's own metric, with the half-width of the 95% interval, for the strategy at "
        f"inference (records {records}). MME is a sum, the others run from 0 to 100."
    )
    return f"{intro}\n\n{pipes(['Benchmark', *heads], rows, set(range(1, len(heads) + 1)))}"


def _score(entry: Mapping[str, Any] | None) -> str:
    if entry is None or entry.get("score") is None:
        return numbers.NONE
    half = "" if not entry.get("stderr") else f" ± {1.96 * entry['stderr']:.1f}"
    return f"{entry['score']:.1f}{half}"


def _training(training: Training) -> str:
    """What the record says: the chain of trainings, the phases of the last, and their data."""
    parts = [_chain(training)]
    rows = []
    for phase in training.phases:
        settings = phase.get("hyperparameters") or {}
        flops = (phase.get("flops") or {}).get("image_tokens")
        unit = numbers.total_flops_unit([flops])
        rows.append(
            [
                str(phase.get("name")),
                f"{phase.get('steps'):,}",
                f"{phase.get('samples'):,}",
                numbers.NONE if phase.get("loss") is None else f"{phase['loss']:.3f}",
                numbers.NONE if phase.get("device_hours") is None else numbers.hours(phase["device_hours"]),
                f"{numbers.total_flops(flops, unit)} {unit}",
                "; ".join(f"{key} {_plain(settings[key])}" for key in _SETTINGS if key in settings),
            ]
        )
    label = training.hours[1] if training.hours else "hours"
    heads = ["Phase", "Steps", "Samples", "Last loss", label, "Image tokens, theory", "Settings"]
    parts.append(pipes(heads, rows, {1, 2, 3, 4, 5}))
    parts.append(_facts(training))
    return "\n\n".join(part for part in parts if part)


def _chain(training: Training) -> str:
    """Where it began, and where that did."""
    links, before = [], training
    while before.record:
        base = before.record.get("base") or {}
        shape = f", made into a {base['as']}" if base.get("as") else ""
        links.append(f"`{base.get('name') or base.get('pretrained')}`{shape}")
        before = before.before
    return (
        f"It began with {', which began with '.join(links)}. Trained by `pdrop-eval-train`:" if links else ""
    )


def _facts(training: Training) -> str:
    lines = [f"Seed {training.seed}."]
    data = [entry for phase in training.phases for entry in phase.get("data") or []]
    if data:
        files = (
            f"{e['file']} ({e['conversations']:,} conversations, sha256 {e['sha256'][:12]})" for e in data
        )
        lines.append(f"Data: {', '.join(files)}.")
    if training.hardware:
        lines.append(f"Hardware: {training.hardware}. Hours are devices x wall time.")
    if training.convention:
        lines.append(f"Theory: {training.convention}.")
    lines.append("Every logged loss is in `training_log.jsonl`, the whole record in `training_record.json`.")
    return "\n".join(f"- {line}" for line in lines)


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def shipped_members() -> list[Path]:
    """The folders of the members that have been trained."""
    from tools.mini.family import FAMILY, is_trained, shipped

    return [folder for folder in map(shipped, FAMILY) if is_trained(folder)]


def main() -> None:
    """Write the cards of the folders that are given."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "folders", nargs="*", type=Path, help="members; all that are shipped if none is given"
    )
    parser.add_argument("--root", type=Path, default=RUNS, help="folder of the evaluation records")
    options = parser.parse_args()
    with ending("error"):
        for folder in options.folders or shipped_members():
            write_card(folder, options.root)
            print(folder / "README.md")


if __name__ == "__main__":
    main()
