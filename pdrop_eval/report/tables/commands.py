"""Which command fills an empty row, and what it needs that isn't there."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pdrop_eval.records.rows.overrides import USERS_FOLDER
from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.utils.paths import MINI_CHECKPOINT, PACKAGE
from pdrop_eval.utils.presets import DEFAULT_SIZE, presets
from pdrop_eval.utils.terminal.console import in_checkout, script, typed

FOLDER = "<folder>"  # stands for the user's checkpoint
ELSEWHERE = "…/"  # stands for the folders of another machine, in records that are shared
# What a shell or make would not leave as it is: a record that others wrote must not write our commands.
_SPECIAL = re.compile(r"[^\w@%+=:,./~\[\]{}-]", re.ASCII)
_PLACEHOLDER = re.compile("<(folder|name)>$")


@dataclass(frozen=True)
class Fill:
    """A run that fills a row. needs: the checkpoint that has to be there first, in words; empty if it is."""

    model: str | None
    command: str = ""
    needs: str = ""


def fill(
    size: str,
    suite: str,
    key: RowKey,
    model: str | None = None,
    settings: Iterable[str] = (),
    folders: Mapping[str, str] | None = None,
) -> Fill:
    """The run of a row. `model` is the one that has filled a part of it; `settings` are overrides to keep.

    Args:
        folders: Where the checkpoints of models were in other runs, for those that everyone has elsewhere.
    """
    found = model or find_model(size, key)
    if found is None:
        words = f"size={size}, architecture={key.architecture}, patches={key.patches}, train={key.train}"
        return Fill(None, needs=f"a conf/model/<name>.yaml ({words}) with a checkpoint {key.training}")
    changes = list(settings)
    default = presets("strategy").get(key.strategy, {}).get("ratio")
    if key.ratio is not None and key.ratio != default:
        changes.append(f"strategy.ratio={key.ratio:g}")
    changes += key.settings
    source = str(presets("model").get(found, {}).get("pretrained"))
    needs = ""
    if not is_there(source) and not any(change.startswith("model.pretrained=") for change in changes):
        known = (folders or {}).get(found, source)
        needs = "" if known != source else f"a checkpoint {key.training}"
        changes.append(f"model.pretrained={FOLDER if needs else known}")
    return Fill(found, command(key.strategy, found, suite, changes), needs)


def find_model(size: str, key: RowKey) -> str | None:
    """The file in `conf/model` that is this row's model; of several, the one with the shortest name."""
    wanted = {
        "size": size,
        "architecture": key.architecture,
        "patches": key.patches,
        "train": key.train,
        "train_ratio": key.train_ratio,
    }
    fitting = [
        name
        for name, model in presets("model").items()
        if all(model.get(field) == value for field, value in wanted.items())
    ]
    return min(fitting, key=lambda name: (len(name), name), default=None)


def is_there(pretrained: str) -> bool:
    """Whether a checkpoint can be had without more ado: it is shipped, a folder here, or on the Hub."""
    kind, _, name = pretrained.partition(":")
    if kind == "embedded":
        folder = PACKAGE / "models" / "checkpoints" / name if name else MINI_CHECKPOINT
        return (folder / "config.json").is_file()
    local = pretrained.startswith((USERS_FOLDER, "/", ".", "~"))
    return Path(pretrained).expanduser().is_dir() or not local


def is_elsewhere(path: object) -> bool:
    """Whether a path of a shared record was on another machine, so that no command can name it here."""
    return str(path).startswith(ELSEWHERE)


def command(strategy: str, model: str, suite: str, settings: Iterable[str] = ()) -> str:
    """The command that measures a row: `make` in a checkout, as far as it can say it."""
    changes = list(settings)
    own = any(change.startswith("data.folder=") for change in changes)  # a suite without a name of its own
    named = [f"strategy={strategy}", f"model={model}", *([] if own else [f"suite={suite}"])]
    return _command("eval", named, changes)


def experiment(table: str, size: str, settings: Iterable[str] = ()) -> str:
    """The command that measures all rows of a table, likewise. The miniatures need not be named."""
    named = [] if size == DEFAULT_SIZE else [f"size={size}"]
    return _command("experiment", [f"experiment={table}", *named], settings)


def usual_limit(table: str, model: str | None) -> list[str]:
    """The limit that the experiment of a table or figure gives a model's runs, as overrides."""
    runs = presets("experiment").get(table, {}).get("runs") or []
    own = next((run.get("overrides") or [] for run in runs if run["model"] == model), [])
    return [change for change in own if change.startswith("limit=")]


def _command(target: str, named: list[str], settings: Iterable[str]) -> str:
    changes = list(settings)
    limit = [change for change in changes if change.startswith("limit=")]
    rest = [change for change in changes if not change.startswith("limit=")]
    special = any(_SPECIAL.search(_PLACEHOLDER.sub("", text)) for text in [*named, *changes])
    if special or not in_checkout():
        return " ".join([script("pdrop-eval"), *map(typed, [*named, *limit, *rest])])
    variables = [setting.partition("=") for setting in [*named, *limit]]
    run = [f"make {target}", *(f"{name.upper()}={value}" for name, _, value in variables)]
    return " ".join(run) + (f" ARGS='{' '.join(rest)}'" if rest else "")
