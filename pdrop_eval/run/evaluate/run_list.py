"""The list of runs of an experiment, as its YAML writes it. Needs no torch.

An entry is a run, or several: all strategies (or a list of them), each at some budgets.

    runs:
      - {model: mini576, strategy: pdrop, overrides: [strategy.ratio=0.4]}
      - {model: mini576, strategies: all, tokens: [192, 128, 64], overrides: [limit=100]}

Of several, `own` has what one of the strategies takes beside `overrides`, by its name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pdrop_eval.records.run_identity import registered_name
from pdrop_eval.strategies.combinations import check_name, is_combined
from pdrop_eval.strategies.registry import StrategyInfo, info_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.presets import model_configs, presets
from pdrop_eval.utils.validation import check_choice

ALL = "all"
_RUN = ({"model", "strategy"}, {"model", "strategy", "overrides"})  # what it needs, and what it may have
_SEVERAL = ({"model", "strategies"}, {"model", "strategies", "tokens", "overrides", "own"})


def run_list(runs: Any) -> list[dict[str, Any]]:
    """Return the runs that an experiment's list means, each a model, a strategy, and overrides.

    Raises:
        UserError: It is no such list.
    """
    found: list[dict[str, Any]] = []
    entries: list[Any] = runs if isinstance(runs, list) and runs else [None]
    for entry in entries:
        if not _is_entry(entry):
            raise UserError(
                f"runs={entry if entry is not None else runs} is no list of runs. Each is a model and a "
                "strategy, and may have overrides: runs=[{model: mini576, strategy: pdrop, "
                "overrides: [strategy.ratio=0.4]}]. Or it is several: {model: mini576, strategies: all, "
                "tokens: [128, 64]}, with the image tokens a layer."
            )
        check_choice("model", entry["model"], model_configs())
        if "strategy" in entry:
            check_name(str(entry["strategy"]))
            found.append(dict(entry))
        else:
            found += _several(entry)
    return found


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and any(
        needed <= entry.keys() <= allowed for needed, allowed in (_RUN, _SEVERAL)
    )


def _several(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One run of each strategy and budget; what takes no budget runs as it is set."""
    asked = entry["strategies"]
    if asked != ALL:
        for name in asked if isinstance(asked, list) and asked else [asked]:
            check_name(str(name), more=[ALL], fix="Write strategies: all, or a list.")
    budgets = [f"budget.tokens={tokens}" for tokens in _numbers(entry.get("tokens") or [])]
    common = list(entry.get("overrides") or [])
    own = _own(entry, asked)
    combined = [name for name in (asked if isinstance(asked, list) else [asked]) if is_combined(name)]
    for name, info in (_listed() | {name: info_of(name) for name in combined}).items():
        if asked == ALL or name in asked:
            fitted = [[budget] for budget in budgets] if info.solved_fields else []
            for budget in fitted or [[]]:
                yield {
                    "model": entry["model"],
                    "strategy": name,
                    "overrides": [*budget, *common, *own.get(name, [])],
                }


def _own(entry: Mapping[str, Any], asked: Any) -> Mapping[str, list[str]]:
    """What single ones of the strategies that are asked for take beside `overrides`."""
    own = entry.get("own") or {}
    lists = list(own.values()) if isinstance(own, dict) else [None]
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists):
        raise UserError(
            f"own={own}: write a list of settings for a strategy, {{cdpruner: [strategy.text_tower=DIR]}}."
        )
    for name in own:
        check_name(str(name))
        if asked != ALL and name not in asked:
            raise UserError(f"own has settings of {name}, which is none of strategies={asked}. Add it there.")
    return own


def _numbers(tokens: Any) -> list[float]:
    for number in tokens if isinstance(tokens, list) else [tokens]:
        if not isinstance(number, int | float) or isinstance(number, bool) or number <= 0:
            raise UserError(f"tokens: {tokens} is no list of budgets: write image tokens a layer, [64, 32].")
    return list(tokens)


def _listed() -> dict[str, StrategyInfo]:
    """The files of `conf/strategy` with what is known of their classes, in the order of reports."""
    found = {}
    for name in options("strategy"):
        target = str(presets("strategy")[name].get("_target_"))
        found[name] = info_of(registered_name(target) or name)
    return dict(sorted(found.items(), key=lambda one: (one[1].order, one[0])))
