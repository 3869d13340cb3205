"""The model card of a member of the family: what it is, how it was trained, what was measured of it.

    python -m tools.mini.cards.member_card pdrop_eval/models/checkpoints/mini576_pdrop_05
    python -m tools.mini.cards.member_card --written    # the pages again, from what was measured

Nothing in a card is written by hand: sizes are those of its config.json, the training is that of its
training_record.json, and scores are those of the evaluation records in results/runs, if they are of these
very weights. What no record has is measured here. A LLaVA-1.5 that was trained without dropping is what
strategies are compared on: of it, the card has also what was aimed at.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.rendered.suite import QUESTIONS, TASKS, render
from pdrop_eval.models.pictures.tiling import pinpoints
from pdrop_eval.models.pictures.token_grid import best_resolution
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
from tools.mini.cards.card import ask, drops, reached
from tools.mini.cards.member import Member
from tools.mini.cards.member_page import write_page
from tools.mini.cards.targets import BLANK_IMAGE, CONSTANT, NAMES, SHARES
from tools.mini.family import FAMILY, is_trained, shipped

RUNS = Path("results/runs")
SUITE = "mini"
BLANK = 60  # questions of each task that are asked with a blank image: enough to tell that it is needed
LEAST = 60  # questions of each task that a record has at least: of fewer, a card says too little


def write_card(folder: Path, root: Path = RUNS, questions: int = QUESTIONS, blank: int = BLANK) -> None:
    """Write README.md and card.json beside a member's weights. Raises UserError without a training record.

    Args:
        folder: of the weights.
        root: of the evaluation records.
        questions: of each task that are asked here, where no record has them all.
        blank: of each task that are asked with a blank image, and for the targets.
    """
    member = Member.of(folder)
    runs = runs_of(folder, root)
    card = {**measure(member, runs, questions, blank), "scores": _scores(runs)}
    write_atomically(folder / "card.json", json.dumps(card, ensure_ascii=False) + "\n")
    write_page(member, card)


def write_again(folder: Path) -> None:
    """Write README.md again from card.json, if it is there: nothing is measured, and no record is read.

    Raises:
        UserError: The card is of another version.
    """
    path = folder / "card.json"
    if not path.is_file():
        return
    card = json.loads(path.read_text(encoding="utf-8"))
    if not {"exact_match", "answers", "blank", "source", "scores"} <= card.keys():
        raise UserError(f"{path} is of an earlier version. Measure again: leave out --written.")
    write_page(Member.of(folder), card)


def runs_of(folder: Path, root: Path) -> list[Run]:
    """The runs of these very weights on the rendered suite, one a strategy, in the tables' order."""
    weights = checkpoint_sha256(folder, None)
    of_it = [
        run
        for run in to_runs(load_records(root))
        if run.checkpoint == weights and run.suite == SUITE and (run.limit or QUESTIONS) >= LEAST
        if run.key is not None and not run.key.settings
    ]
    keys = list(dict.fromkeys(run.key for run in of_it))
    chosen = [pick([run for run in of_it if run.key == key], benchmarks())[0] for key in keys]
    return sorted(filter(None, chosen), key=lambda run: (run.strategy != "vanilla", run.id))


def measure(member: Member, runs: Sequence[Run], questions: int, blank: int) -> dict[str, Any]:
    """What card.json holds but for the records' scores.

    Exact match by setting and task, the answers with the image, where these are from, in words, and of a
    member that strategies are compared on, what of the targets is reached.
    """
    from tools.mini.answer import answer_suite, best_constant, exact_match, load_mini

    answers, used = _recorded(runs, member)
    asked = min(map(len, answers.values()), default=questions)
    left = [task for task in TASKS if task not in answers]
    model, processor = load_mini(member.folder)
    strategy = own_strategy(member.training)
    if left:
        answers |= answer_suite(model, processor, strategy, questions=asked, tasks=left)
    answers = {task: answers[task] for task in TASKS}
    few = min(asked, blank)
    without = answer_suite(model, processor, strategy, blank=True, questions=few)
    measured = {
        "image": exact_match(answers),
        BLANK_IMAGE: exact_match(without),
        CONSTANT: exact_match(best_constant(asked)),
    }
    card = {"exact_match": measured, "answers": answers, "blank": few, "source": _source(used, left)}
    if member.is_compared_on:
        layers = int(member.config["text_config"]["num_hidden_layers"])
        known = {"image": {task: given[:few] for task, given in answers.items()}, BLANK_IMAGE: without}
        strategies = drops("llava", [layers // 2], [min(SHARES)])
        card["targets"] = reached(ask((model, processor), strategies, few, known), layers)
    return card


def _source(used: Sequence[Run], left: Sequence[str]) -> str:
    if not used:
        return "Measured when this card was written."
    some = f", but for {', '.join(NAMES[task] for task in left)}" if left else ""
    first, *others = (run.id for run in used)
    alike = f", and of {', '.join(others)} where its tiles are the same" if others else ""
    return f"The answers with the image are those of the record {first}{alike}{some}."


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


def _recorded(runs: Sequence[Run], member: Member) -> tuple[dict[str, list[str]], list[Run]]:
    """The answers under its own strategy, of the tasks that a record has whole, and these records.

    One with another number of tiles gives those of a task whose pictures it cuts as the member's grids do.
    """
    own = member.training.strategy or ("vanilla", None)
    found: dict[str, list[str]] = {}
    used = []
    able = [run for run in runs if run.key is not None and (run.strategy, run.key.ratio) == own]
    for run in sorted(able, key=lambda run: run.key is not None and run.key.patches != member.patches):
        assert run.key is not None
        new = {}
        for task in run.record["tasks"]:
            if task in TASKS and task not in found and cuts_alike(task, run.key.patches, member):
                samples = load_samples(Path(run.folder), task)
                if [s["doc_id"] for s in samples] == list(range(_asked(run))):
                    new[task] = [str(sample["answer"]) for sample in samples]
        found |= new
        used += [run] if new else []
    return found, used


def cuts_alike(task: str, patches: int, member: Member) -> bool:
    """Whether grids of this many patches cut all pictures of a task as a member's own do."""
    own = member.config.get("image_grid_pinpoints")
    if patches == member.patches or own is None:
        return patches == member.patches
    own, other = ([(h, w) for h, w in grids] for grids in (own, pinpoints(f"p{patches}", member.side) or []))
    sizes = {picture.image.shape[:2] for picture, _, _ in render(task)}
    return all(best_resolution(size, own) == best_resolution(size, other) for size in sizes)


def _asked(run: Run) -> int:
    """Questions of each task."""
    return min(run.limit or QUESTIONS, QUESTIONS)


def _scores(runs: Sequence[Run]) -> str:
    """The scores of the records, by each benchmark's own metric: a line a benchmark, a column a strategy."""
    if not runs:
        return "No evaluation record of these weights was there when this card was written."
    grids = {run.key.patches for run in runs if run.key}
    heads = [_head(run, len(grids) > 1) for run in runs]
    rows = []
    for key, benchmark in benchmarks().items():
        found = [run.results.get(key) for run in runs]
        if any(found):
            rows.append([benchmark.name, *(_score(entry) for entry in found)])
    records = ", ".join(
        f"{run.id} on the first {_asked(run)} questions" if _asked(run) < QUESTIONS else run.id
        for run in runs
    )
    intro = (
        "Scores by each benchmark's own metric, with the half-width of the 95% interval, for the strategy at "
        f"inference (records {records}). MME is a sum, the others run from 0 to 100."
    )
    return f"{intro}\n\n{pipes(['Benchmark', *heads], rows, set(range(1, len(heads) + 1)))}"


def _head(run: Run, with_patches: bool) -> str:
    assert run.key is not None
    words = [display_name(run.strategy), *([f"λ={run.key.ratio:g}"] if run.key.ratio else [])]
    return " ".join([*words, *([f"p{run.key.patches}"] if with_patches else [])])


def _score(entry: Mapping[str, Any] | None) -> str:
    if entry is None or entry.get("score") is None:
        return numbers.NONE
    half = "" if not entry.get("stderr") else f" ± {1.96 * entry['stderr']:.1f}"
    return f"{entry['score']:.1f}{half}"


def shipped_members() -> list[Path]:
    """The folders of the members that have been trained."""
    return [folder for folder in map(shipped, FAMILY) if is_trained(folder)]


def main() -> None:
    """Write the cards of the folders that are given."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "folders", nargs="*", type=Path, help="members; all that are shipped if none is given"
    )
    parser.add_argument("--root", type=Path, default=RUNS, help="folder of the evaluation records")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="of each task that no record has")
    parser.add_argument(
        "--blank", type=int, default=BLANK, help="of each task that a blank image is shown for"
    )
    parser.add_argument(
        "--written",
        action="store_true",
        help="measure nothing: the page again, from card.json, if it is there",
    )
    options = parser.parse_args()
    with ending("error"):
        for folder in options.folders or shipped_members():
            if options.written:
                write_again(folder)
            else:
                write_card(folder, options.root, options.questions, options.blank)
            print(folder / "README.md")


if __name__ == "__main__":
    main()
