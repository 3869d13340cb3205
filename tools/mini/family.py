"""The family of miniatures: LLaVA-1.5 and LLaVA-NeXT, trained with and without PyramidDrop.

    python -m tools.mini.family                       # all that are missing
    python -m tools.mini.family mini576 mini576_pdrop_05    # these, and what they start from

Each member is one `pdrop-eval-train` in a process of its own: members of one recipe see the same data in the
same order from the same start, and differ in their strategy alone. A LLaVA-NeXT begins with the LLaVA-1.5 of
its own strategy; it is trained on up to eight tiles and serves both `mini576_next_p5` and `mini576_next_p9`,
which cut infographics alone differently. A training that was interrupted goes on; one that is finished is
only exported, to where the models of conf/model find it.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.paths import MINI_CHECKPOINTS
from pdrop_eval.utils.terminal.cli import ending
from pdrop_eval.utils.validation import check_choice

WORK = Path("results/family")
DATA = Path("results/training-data")
SHIPPED = MINI_CHECKPOINTS
BASE = "mini576_base"
STARTS = Path("tools/mini/weights")  # of what no model of conf/model is, in a clone of the repository
RECORD = "training_record.json"
LOG = "training_log.jsonl"
MOST_BYTES = 15_000_000  # of a member's folder
_WEIGHTS = ("*.json", "*.jinja", "*.safetensors")

# What the recipes read: arguments of `tools.mini.conversations`, by folder.
RENDERED: dict[str, dict[str, Any]] = {
    "wide": {"pictures": 8000, "turns": (1, 1), "seed": 3},
    "wide_next": {"pictures": 4000, "turns": (1, 1), "seed": 4, "small": 0.5},
}
_DATA_OF = {"mini576": "wide", "mini576_next": "wide_next"}


@dataclass(frozen=True)
class Member:
    """One miniature. `name` is its checkpoint, `start` the member or base that it begins with.

    Attributes:
        grids: Of the LLaVA-NeXT that its start, a LLaVA-1.5, is made into first; None: it begins as it is.
    """

    name: str
    recipe: str
    start: str
    ratio: float | None = None
    grids: str | None = None

    @property
    def model(self) -> str:
        """The model group that says how images are cut, before there is a checkpoint of its own."""
        return self.recipe if self.grids is None else f"{self.recipe}_{self.grids}"

    @property
    def strategy(self) -> list[str]:
        """The strategy as overrides."""
        if self.ratio is None:
            return ["strategy=vanilla"]
        return ["strategy=pdrop", f"strategy.ratio={self.ratio}"]

    @property
    def shape(self) -> str:
        """What its start is made into; empty if nothing."""
        return "" if self.grids is None else f"LLaVA-NeXT {self.grids}"


def _members() -> Iterable[Member]:
    for ratio in (None, 0.5):
        one = _name("mini576", ratio)
        yield Member(one, "mini576", BASE, ratio)
        yield Member(_name("mini576_next", ratio), "mini576_next", one, ratio, "p9")


def _name(model: str, ratio: float | None) -> str:
    return model if ratio is None else f"{model}_pdrop_{ratio * 10:02.0f}"


FAMILY: dict[str, Member] = {member.name: member for member in _members()}


def shipped(name: str, root: Path = SHIPPED) -> Path:
    """The folder that a member is exported to; `root` is the package's own, which conf/model reads."""
    return root / name


def is_trained(folder: Path) -> bool:
    """Whether a finished training is there: its record is written after its weights."""
    return (folder / RECORD).is_file() and (folder / "model.safetensors").is_file()


def plan(names: Sequence[str], work: Path, root: Path = SHIPPED, again: bool = False) -> list[Member]:
    """The members to train, in order: those named (or all that ship) that are missing, each after its start.

    Args:
        again: Also those of them that are shipped, unless their training is in `work`.
    """
    for name in names:
        check_choice("member of the family", name, FAMILY)
    wanted = list(names or FAMILY)
    needed: list[Member] = []

    def need(name: str) -> None:
        if name == BASE or is_trained(work / name):
            return
        if is_trained(shipped(name, root)) and not (again and name in wanted):
            return
        member = FAMILY[name]
        need(member.start)
        if member not in needed:
            needed.append(member)

    for name in wanted:
        need(name)
    return needed


def start_of(member: Member, work: Path, root: Path = SHIPPED) -> str:
    """Where the training begins, as `model.pretrained` names it; made here if it has to be made."""
    if member.start == BASE:
        return str(STARTS / BASE)
    before = work / member.start if is_trained(work / member.start) else shipped(member.start, root)
    if not is_trained(before):
        raise UserError(f"{member.name} begins with {member.start}, which isn't trained: train it first.")
    if member.grids is None:
        return str(before)
    from tools.mini.next import save_next

    return str(save_next(before, member.grids, work / f"{member.name}_start"))


def command(member: Member, start: str, work: Path, overrides: Sequence[str] = ()) -> list[str]:
    """The training as a command line."""
    return [
        sys.executable, "-m", "pdrop_eval.run.train.cli",
        f"model={member.model}", f"model.pretrained={start}",
        f"recipe={member.recipe}", "phases=[instruct]", *member.strategy, f"output={work / member.name}",
        *overrides,
    ]  # fmt: skip


def render_data(members: Iterable[Member], processes: int) -> None:
    """Render what the members' recipes read, as far as it isn't there."""
    from tools.mini.conversations import render_conversations

    for name in dict.fromkeys(_DATA_OF[member.recipe] for member in members):
        print(f"Training data: {DATA / name}", flush=True)
        render_conversations(DATA / name, processes=processes, **RENDERED[name])


def train(member: Member, work: Path, root: Path = SHIPPED, overrides: Sequence[str] = ()) -> None:
    """Train one member in a process of its own. Raises UserError if it fails."""
    line = command(member, start_of(member, work, root), work, overrides)
    print(f"Training {member.name}: {shlex.join(line[1:])}", flush=True)
    status = subprocess.run(line, check=False).returncode
    if status or not is_trained(work / member.name):
        raise UserError(
            f"The training of {member.name} ended with status {status}; its last lines say why. The same "
            "command goes on from its last checkpoint."
        )


def export(member: Member, work: Path, root: Path = SHIPPED) -> Path:
    """Copy a trained member to where it is shipped, with its record and its log; returns the folder.

    Raises:
        UserError: Its weights are no bfloat16, or too large to be shipped.
    """
    trained, folder = work / member.name, shipped(member.name, root)
    files = [path for kind in _WEIGHTS for path in trained.glob(kind) if path.name != RECORD]
    _check_weights(trained, files)
    record = json.loads((trained / RECORD).read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()  # nothing of another training stays: its card, its curve
    for path in files:
        shutil.copyfile(path, folder / path.name)
    _tidy(folder)
    log = [
        {"phase": phase["name"], "step": step, "loss": round(loss, 4)}
        for phase in record["phases"]
        for step, loss in phase.get("losses", [])
    ]
    write_atomically(folder / LOG, "".join(f"{json.dumps(entry)}\n" for entry in log))
    kept = _slim(record, member.name)
    kept["base"] = _base(member, record, work, root)
    write_atomically(folder / RECORD, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return folder


def _tidy(folder: Path) -> None:
    """Undo what a training has left in the settings: padding for batches of answers, dtypes of its parts."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {k: v for k, v in settings.items() if k not in ("is_local", "local_files_only")}
    write_atomically(path, json.dumps({**kept, "padding_side": "left"}, indent=2, ensure_ascii=False) + "\n")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        if "dtype" in part:
            part["dtype"] = "bfloat16"
    write_atomically(path, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _check_weights(trained: Path, files: Sequence[Path]) -> None:
    from safetensors import safe_open

    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "np") as weights:
                kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
            if kinds != {"BF16"}:
                raise UserError(
                    f"The weights of {trained} are {', '.join(sorted(kinds))}; members are shipped in "
                    "bfloat16. Train them with save_dtype=bfloat16."
                )
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        raise UserError(f"{trained} has {size:,} bytes; at most {MOST_BYTES:,} are shipped.")


def _slim(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A record without what is in the log, and without what it was compared with on resuming."""
    phases = [{k: v for k, v in p.items() if k not in ("losses", "identity")} for p in record["phases"]]
    return {**record, "name": name, "phases": phases}


def _base(member: Member, record: Mapping[str, Any], work: Path, root: Path) -> dict[str, Any]:
    """What the training began with: its name, its shape, its hash, and how it was trained itself."""
    base = {"name": member.start, "sha256": record["base"]["sha256"]}
    if member.start == BASE:
        return base
    before = work / member.start if is_trained(work / member.start) else shipped(member.start, root)
    earlier = json.loads((before / RECORD).read_text(encoding="utf-8"))
    if "name" not in earlier["base"]:  # as it was trained, not yet as it is shipped
        earlier = {**earlier, "base": _base(FAMILY[member.start], earlier, work, root)}
    return {**base, "as": member.shape, "training": _slim(earlier, member.start)}


def main() -> None:
    """Parse the command line; train, export, and write the model cards."""
    parser = argparse.ArgumentParser(
        description=str(__doc__).partition("\n")[0], epilog=f"Members: {', '.join(FAMILY)}."
    )
    parser.add_argument("names", nargs="*", help="members, or settings of pdrop-eval-train (name=value)")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the trainings")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder with a folder for each miniature")
    parser.add_argument("--processes", type=int, default=2, help="that render the training data")
    parser.add_argument("--again", action="store_true", help="train members that are shipped, too")
    parser.add_argument("--no-cards", action="store_true", help="measure nothing and write no model cards")
    options = parser.parse_args()
    names = [name for name in options.names if "=" not in name]
    with ending("error"):
        run(names, [name for name in options.names if "=" in name], options)


def run(names: Sequence[str], overrides: Sequence[str], options: argparse.Namespace) -> None:
    """What the command does. Raises UserError."""
    work, root = options.work, options.out
    if not (STARTS / BASE / "model.safetensors").is_file():
        raise UserError(f"The start of the family is not in {STARTS / BASE}. Make it: make train-mini576")
    members = plan(names, work, root, options.again)
    render_data(members, options.processes)
    for member in members:
        train(member, work, root, overrides)
    exported = [
        export(FAMILY[name], work, root)
        for name in names or FAMILY
        if _is_new(work / name, shipped(name, root))
    ]
    print("\n".join(f"Exported: {folder}" for folder in exported) or "Nothing to do: all are there.")
    if not options.no_cards:
        from tools.mini.cards.member_card import write_card

        for folder in exported:
            write_card(folder)


def _is_new(trained: Path, folder: Path) -> bool:
    """Whether a finished training isn't the one that is shipped."""
    weights = "model.safetensors"
    if not is_trained(trained):
        return False
    return not is_trained(folder) or (trained / weights).read_bytes() != (folder / weights).read_bytes()


if __name__ == "__main__":
    main()
