"""Searches the layers and ratios that lose least at a budget, for any strategy that takes one.

A budget's solver finds how many tokens remain where layers are given. So what is tried are the layers: those
that the solver takes by itself first, then other choices of as many drops or fewer; and, where a strategy
takes the share of each drop, how the loss of tokens is spread over them.
"""

import contextlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pdrop_eval.efficiency.budget import KINDS, Layout, solve
from pdrop_eval.efficiency.budget import find as find_budget
from pdrop_eval.run.calibrate.loss import Loss
from pdrop_eval.run.calibrate.outcome import Outcome, same_image_tokens
from pdrop_eval.run.calibrate.plan import CalibrationPlan
from pdrop_eval.run.calibrate.questions import ask
from pdrop_eval.run.lmms.inputs.preprocess import Prepared
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text, write_atomically, writing_to

_LISTED = 50_000  # places that are listed and shuffled; of more, some are drawn
_DRAWS = 50  # of those, how many for each setting that is wanted
# How tokens go over several drops: after drop i, s to the power of the profile's i-th number remains. Even:
# each drop takes the same share, as PyramidDrop's; early: the first takes most; late: the last.
_PROFILES = {"even": lambda i: i, "early": lambda i: (1 + i) / 2, "late": lambda i: i * (i + 1) / 2}

Place = tuple[tuple[int, ...], str]  # layers, and the profile of their shares


@dataclass(frozen=True)
class Candidate:
    """A strategy that meets the budget.

    Attributes:
        strategy: the strategy.
        settings: what the search chose of it, and what the budget solved.
        usual: whether the budget alone gives it.
    """

    strategy: Any
    settings: dict[str, Any]
    usual: bool


def find(plan: CalibrationPlan, model: Any, questions: Sequence[Prepared]) -> Outcome:
    """Return the settings of the least loss.

    Raises:
        UserError: a budget that is out of reach, a strategy that takes none.
    """
    spec = plan.spec
    found, places = candidates(spec.strategy.build(), model.config, plan.budget, spec.candidates, spec.seed)
    done = Tried(plan.partial, plan.identity)
    full = ask(model, model.strategy, questions, spec.seed)
    for number, candidate in enumerate(tqdm(found, desc="settings", leave=False, disable=None)):
        if number not in done.losses:
            done.add(number, Loss.of(ask(model, candidate.strategy, questions, spec.seed), full))
    losses = [done.losses[number] for number in range(len(found))]
    best = min(range(len(found)), key=lambda number: (losses[number].mean, number))
    gain, error = losses[0].gain_of(losses[best])
    return Outcome(
        settings=found[best].settings,
        words=(
            "the settings of the least mean divergence among those tried: sum of p_s (log p_s - log p) of "
            "the answer's first token, p_s under the strategy"
        ),
        rule_settings={"candidates": spec.candidates},
        tried=[
            {"settings": candidate.settings, "usual": candidate.usual, **loss.to_dict()}
            for candidate, loss in zip(found, losses, strict=True)
        ],
        image_tokens=same_image_tokens(full.tokens),
        found={
            "places": places,
            "loss": losses[best].mean,
            "gain": {"mean": gain, "stderr": error},
            "fields": found[best].strategy.settings(),
        },
        budget={"asked": plan.budget, "reached": asdict(found[best].strategy.reached)},
    )


def candidates(
    strategy: Any, config: Any, budget: Mapping[str, Any], number: int, seed: int
) -> tuple[list[Candidate], int]:
    """Return the settings to try, the solver's own first, and how many places for drops there are in all.

    Args:
        strategy: as it was asked for.
        config: of the model.
        budget: by kind.
        number: of settings, at most.
        seed: of those that are drawn where there are more.

    Raises:
        UserError: a budget that is out of reach, a strategy that takes none.
    """
    usual, kind = solve(strategy, config, **budget), type(strategy)
    found, depth = [Candidate(usual, _settings(usual), True)], config.get_text_config().num_hidden_layers
    if kind.layer_field not in kind.layout_fields:  # there are none that could be chosen
        return found, 1
    kept = _kept(strategy)
    single = isinstance(getattr(usual, kind.layer_field), int)
    sizes = [1] if single else list(range(1, len(usual.drops(depth)) + 1))
    shares = not single and kind.share_field in kind.solved_fields
    for place in _places(depth, sizes, [*_PROFILES] if shares else ["even"], seed, number):
        if len(found) >= number:
            break
        with contextlib.suppress(
            UserError
        ):  # these layers can't cost so little, or the strategy wants others
            made = _solved(kind, config, budget, kept, single, place)
            if _settings(made) not in [one.settings for one in found]:
                found.append(Candidate(made, _settings(made), False))
    profiles = len(_PROFILES) if shares else 1
    return found, sum(comb(depth - 1, size) * (profiles if size > 1 else 1) for size in sizes)


def _solved(
    kind: Any, config: Any, budget: Mapping[str, float], kept: Mapping[str, Any], single: bool, place: Place
) -> Any:
    """The strategy that meets the budget with drops at a place. Raises UserError where there is none."""
    layers, profile = place
    if profile == "even":
        given = {kind.layer_field: layers[0] if single else layers}
        return kind.for_budget(config, **budget, **{**kept, **given})
    layout = Layout(partial(_spread, kind, layers, profile, kept))
    asked = {one: budget.get(one) for one in KINDS}
    return find_budget(kind.__name__, lambda depth: [layout], config, None, dict(kept), asked)


def _spread(kind: Any, layers: tuple[int, ...], profile: str, kept: Mapping[str, Any], share: float) -> Any:
    ratios = tuple(share ** _PROFILES[profile](i) for i in range(1, len(layers) + 1))
    return kind(**{**kept, kind.layer_field: layers, kind.share_field: ratios})


def _kept(strategy: Any) -> dict[str, Any]:
    """The settings that aren't the class's own, nor the search's, nor the budget's."""
    usual = type(strategy)()
    decided = (*strategy.solved_fields, *strategy.layout_fields, *strategy.instead_of_layers)
    names = [field.name for field in fields(strategy) if field.name not in decided]
    return {
        name: getattr(strategy, name) for name in names if getattr(strategy, name) != getattr(usual, name)
    }


def _settings(strategy: Any) -> dict[str, Any]:
    """What says where tokens are dropped and how many remain."""
    settings = strategy.settings()
    found = {name: settings[name] for name in (*strategy.layout_fields, *strategy.solved_fields)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _places(
    depth: int, sizes: Sequence[int], profiles: Sequence[str], seed: int, number: int
) -> Iterator[Place]:
    """Yield rising layers from 1 to the depth less 1, with a profile, in a seeded order."""
    rng = random.Random(seed)
    if sum(comb(depth - 1, size) for size in sizes) <= _LISTED:
        every = [
            (layers, profile)
            for size in sizes
            for layers in combinations(range(1, depth), size)
            for profile in (profiles if size > 1 else profiles[:1])
        ]
        rng.shuffle(every)
        yield from every
        return
    for _ in range(_DRAWS * number):
        layers = tuple(sorted(rng.sample(range(1, depth), rng.choice(sizes))))
        yield layers, rng.choice(profiles) if len(layers) > 1 else profiles[0]


class Tried:
    """What was tried already, on disk, so that a search that is interrupted goes on.

    Attributes:
        losses: by the number of a candidate, what its questions gave.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self._path, self._identity = path, json.dumps(identity, sort_keys=True)
        self.losses: dict[int, Loss] = {}
        # nothing there, or nothing that can be read: all is tried anew
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = json.loads(read_text(path))
            if found["identity"] == self._identity:
                self.losses = {int(number): Loss(**loss) for number, loss in found["losses"].items()}

    def add(self, number: int, loss: Loss) -> None:
        """Keep the loss of the candidate of this number."""
        self.losses[number] = loss
        with writing_to(self._path.parent):
            kept = {number: asdict(loss) for number, loss in self.losses.items()}
            write_atomically(self._path, json.dumps({"identity": self._identity, "losses": kept}))
