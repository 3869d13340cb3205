"""The strategies by name, read from their files without importing them: reports need no torch.

What a strategy is called, where it is published and how it is drawn stands in its class, as plain values. The
files of this folder are parsed for them; a strategy's module is imported only when that strategy is chosen.
A record carries the same facts, so that a report also knows strategies that aren't installed.
"""

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from pdrop_eval.strategies.combinations import JOIN, is_combined, keys_of

FOLDER = Path(__file__).parent
STAGES = ("decoder", "before_decoder", "both")
VANILLA = "vanilla"  # the reference of all others


@dataclass(frozen=True)
class StrategyInfo:
    """What is said of a strategy, beside what it does; the class attributes of the same names say it.

    Attributes:
        name: Short name on the command line and in records.
        display_name: Name in tables, figures and on the site.
        paper: Where it is published: authors, venue, and arXiv number.
        stage: Where tokens go: in the "decoder", "before_decoder", or in "both".
        series_style: Colour (`color`, and `dark` on a dark ground), `marker` and `linestyle` of matplotlib,
            and `order` among other strategies; None for the next free style.
        label_fields: What names a setting, such as "λ={ratio}": the paper's symbol and the field. Each is
            shown where all of its fields have a value.
        solved_fields: The settings that a budget solves; empty for a strategy that takes no budget.
        layout_fields: The settings that say where tokens are dropped, where a budget chooses that too.
        merged: What the tokens are that it makes, in words for legends; empty where it makes none.
        trains: Whether a model can be trained under it.
        recipe_fields: The settings that are calibrated for a model, which a recipe gives.
        ranks_by_attention: Whether the tokens that get the most attention remain; False of one that isn't
            installed.
        summary: The first sentence of the class.
        module: Where the class is.
        class_name: Its name there.
    """

    name: str
    display_name: str = ""
    paper: str = ""
    stage: str = "decoder"
    series_style: Mapping[str, Any] | None = None
    label_fields: tuple[str, ...] = ()
    solved_fields: tuple[str, ...] = ()
    layout_fields: tuple[str, ...] = ()
    merged: str = ""
    trains: bool = True
    recipe_fields: tuple[str, ...] = ()
    ranks_by_attention: bool = False
    summary: str = ""
    module: str = ""
    class_name: str = ""

    @property
    def order(self) -> tuple[float, str]:
        """Its place among others: by its style, then by name."""
        return (self.series_style or {}).get("order", math.inf), self.name

    @property
    def decided(self) -> tuple[str, ...]:
        """The settings that a budget decides: where tokens are dropped, and how many remain."""
        return (*self.layout_fields, *self.solved_fields)

    @property
    def labelled(self) -> list[str]:
        """The fields that a label names."""
        return [name for template in self.label_fields for name in _FIELD.findall(template)]

    def label(self, values: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
        """Return settings in words, `["λ=0.42", "S=4"]`; fields that no label names by their own name.

        Args:
            values: The strategy's fields.
            names: The fields that are told; None for all that a label names.
        """
        told, words = set[str](), []
        for template in self.label_fields:
            own = _fields_of(template)
            told |= own if all(values.get(name) is not None for name in own) else set()
            if own <= told and (names is None or own & set(names)):
                words.append(_FIELD.sub(lambda field: _shown(values[field[1]]), template))
        rest = [name for name in names or () if name not in told and values.get(name) is not None]
        return [*words, *(f"{name}={_shown(values[name])}" for name in rest)]


MARKERS, LINESTYLES = "*os^Dv", ("-", "--", "-.", ":")
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_FIELD = re.compile(r"\{(\w+(?:\.[a-z]\w*)?)\}")  # {ratio}, and of a combination {pdrop.ratio}
# What a record carries, so that a report knows a strategy that isn't installed.
RECORDED = ("display_name", "paper", "stage", "series_style", "label_fields")


@cache
def installed() -> dict[str, StrategyInfo]:
    """Return the strategies of this package by name, in the order in which they are listed."""
    classes: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        module = f"{__package__}.{path.stem}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                classes[node.name] = bases, {**_constants(node), "module": module, "class_name": node.name}
    found = [StrategyInfo(**_inherited(name, classes)) for name in classes if "name" in classes[name][1]]
    return {info.name: info for info in sorted(found, key=lambda info: info.order)}


def info_of(name: str, recorded: Mapping[str, Any] | None = None) -> StrategyInfo:
    """Return what is known of a strategy: from a record where it says it, else from its file, else its name.

    Args:
        name: The strategy's name.
        recorded: The part `strategy` of a record.
    """
    known = installed().get(name) or _named(name)
    if not recorded or not recorded.get("display_name"):
        return known
    said = {key: recorded[key] for key in RECORDED if recorded.get(key) is not None}
    labels = tuple(label for label in said.get("label_fields") or () if isinstance(label, str))
    style = said.get("series_style") if can_be_drawn(said.get("series_style")) else None
    return replace(known, **{**said, "label_fields": labels, "series_style": style})


def combination(halves: Sequence[StrategyInfo]) -> StrategyInfo:
    """Return what is said of a combination, by what is said of its halves.

    A budget decides the settings of the first half.

    Args:
        halves: before the decoder, and in it.
    """
    keys = keys_of([half.name for half in halves])
    labels = [
        _FIELD.sub(lambda field, key=key: f"{{{key}.{field[1]}}}", template)  # type: ignore[misc]
        for key, half in zip(keys, halves, strict=True)
        for template in half.label_fields
    ]
    return StrategyInfo(
        name=JOIN.join(half.name for half in halves),
        display_name=" + ".join(half.display_name for half in halves),
        paper="; ".join(dict.fromkeys(half.paper for half in halves if half.paper)),
        stage="both",
        label_fields=tuple(labels),
        solved_fields=tuple(f"{keys[0]}.{name}" for name in halves[0].solved_fields),
        trains=all(half.trains for half in halves),
        merged="; ".join(dict.fromkeys(half.merged for half in halves if half.merged)),
        ranks_by_attention=halves[-1].ranks_by_attention,
        summary=f"{halves[0].display_name} before the decoder, then {halves[-1].display_name} in it.",
        module=f"{__package__}.combine",
        class_name="Combine",
    )


def described(strategy: Any) -> StrategyInfo:
    """Return what a strategy object says of itself."""
    facts = ("name", "solved_fields", "layout_fields", "trains", "ranks_by_attention", *RECORDED)
    return StrategyInfo(**{name: getattr(strategy, name) for name in facts})


def _named(name: str) -> StrategyInfo:
    """A strategy that isn't installed, or a combination of such as are."""
    halves = name.split(JOIN)
    if is_combined(name) and len(halves) == 2:
        return combination([info_of(half) for half in halves])
    return StrategyInfo(name, name)


def can_be_drawn(style: Any) -> bool:
    """Return whether a style has all that a figure and the site need."""
    return (
        isinstance(style, Mapping)
        and all(_COLOUR.fullmatch(str(style.get(name))) for name in ("color", "dark"))
        and style.get("marker") in set(MARKERS)
        and style.get("linestyle") in LINESTYLES
        and isinstance(style.get("order", 0), int | float)
    )


def display_name(name: str) -> str:
    """Return a strategy's name in tables and figures; of one that isn't installed, the name itself."""
    return info_of(name).display_name


def catalogue(folder: str) -> str:
    """Return the strategies as a table in Markdown.

    Args:
        folder: Where their files are, as a link from the page that shows them.
    """
    lines = ["| strategy | name | published | drops | budget | file |", "|---|---|---|---|---|---|"]
    for info in installed().values():
        paper = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", info.paper)
        file = f"{info.module.rpartition('.')[2]}.py"
        where = info.stage.replace("_", " ") if info.name != VANILLA else "nothing"
        where = {
            "decoder": "in the decoder",
            "before decoder": "before the decoder",
            "both": "before the decoder and in it",
        }.get(where, where)
        budget = "yes" if info.solved_fields else "no"
        lines.append(
            f"| `{info.name}` | {info.display_name} | {paper or '-'} | {where} | {budget} | "
            f"[{file}]({folder}/{file}) |"
        )
    return "\n".join(lines)


def recorded_facts(strategy: Any) -> dict[str, Any]:
    """Return what a record says of a strategy object, beside its name and settings."""
    facts = {key: getattr(strategy, key) for key in RECORDED}
    return {**facts, "label_fields": list(facts["label_fields"])}


def _constants(node: ast.ClassDef) -> dict[str, Any]:
    """The attributes of a class that describe it, where they are plain values."""
    found: dict[str, Any] = {"summary": (ast.get_docstring(node) or "").partition("\n")[0]}
    known = {field.name for field in fields(StrategyInfo)}
    for line in node.body:
        targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
        value: Any = getattr(line, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and target.id in known and value is not None:
                with suppress(ValueError):  # it is computed: then only a record says it
                    found[target.id] = ast.literal_eval(value)
    return found


def _inherited(name: str, classes: Mapping[str, tuple[list[str], dict[str, Any]]]) -> dict[str, Any]:
    """What a class says, over what its bases say."""
    bases, own = classes[name]
    found: dict[str, Any] = {}
    for base in reversed(bases):
        found |= _inherited(base, classes) if base in classes else {}
    found |= own
    return {**found, "display_name": found.get("display_name") or found.get("name", name)}


def _fields_of(template: str) -> set[str]:
    return set(_FIELD.findall(template))


def _shown(value: Any) -> str:
    """A value as a label shows it: `0.42`, `2, 8, 16`."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
