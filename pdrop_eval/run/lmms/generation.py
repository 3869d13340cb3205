"""A model's generation settings, checked logits, and a strategy's fields as lmms-eval passes them."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor

from pdrop_eval.models.loading.generation import CHECKPOINT, TOKEN_IDS, check_generation, left_out
from pdrop_eval.strategies.make import combination_of, instantiate_strategy, settings_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import log


def settle_generation(model: Any, choice: str | None, settings: Mapping[str, Any]) -> None:
    """Leave of a model's generation settings its token ids, and what of the others is asked for.

    Args:
        model: as it was loaded.
        choice: `model.generation`: None, or "checkpoint".
        settings: of the checkpoint, those that would change answers.

    Raises:
        UserError: settings that can't be taken over.
    """
    check_generation(choice, settings)
    ids = {name: getattr(model.generation_config, name, None) for name in TOKEN_IDS}
    taken = settings if choice == CHECKPOINT else {}
    if settings and not taken:
        log.log_rank_zero(left_out(settings))
    try:
        model.generation_config = GenerationConfig(**ids, **taken)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"The checkpoint's generation_config.json can't be used: {error} Use model.generation=null."
        ) from error


def read_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as lmms-eval's parser leaves them: `8/16/24` is a list (it splits at commas), `None` is text."""
    return {key: _read(value) if isinstance(value, str) else value for key, value in fields.items()}


def strategy_of(strategy: Any, combine: Any, fields: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The strategy that arguments of a model name, and its settings; of an object, none.

    Args:
        strategy: a strategy object, or a name; None: vanilla, unless there is a combination.
        combine: two strategies in place of one, `[visionzip,{pdrop:{ratio:0.4}}]` or `visionzip/pdrop`.
        fields: further arguments; of a combination, with a part's name in front: `pdrop.ratio`.

    Raises:
        UserError: both are given, and what can't be made.
        TypeError: further arguments beside an object.
    """
    if combine is not None:
        if strategy is not None:
            raise UserError(
                f"strategy={strategy} and combine={combine} can't be given together: a combination names its "
                "strategies itself. Leave one of them out."
            )
        strategy, given = combination_of(combine)
        fields = {**given, **fields}
    strategy = "vanilla" if strategy is None else strategy
    if isinstance(strategy, str):
        settings = settings_of(strategy, read_fields(fields))
        return instantiate_strategy(settings, list(fields)), settings
    if fields:
        raise TypeError(f"unknown arguments: {', '.join(fields)}")
    return strategy, {}


def _read(value: str) -> Any:
    if value in ("None", "null"):
        return None
    try:
        return [json.loads(part) for part in value.split("/")] if "/" in value else value
    except ValueError:  # the path of a file
        return value


class NonFiniteLogitsError(ArithmeticError):
    """The model gave no finite numbers for the next token of some rows of a batch."""

    def __init__(self, rows: list[int], step: int):
        super().__init__(f"the model's logits are not finite at new token {step}")
        self.rows = rows


class FiniteLogits(LogitsProcessor):
    """Raises NonFiniteLogitsError at the first step whose scores hold a NaN or +inf, or nothing but -inf.

    A single -inf is how other processors forbid a token. scores: [rows, vocabulary], returned as they are.
    """

    def __init__(self) -> None:
        self._steps = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See the class."""
        self._steps += 1
        broken = ~torch.isfinite(scores.max(dim=-1).values)  # the maximum of what holds a NaN is NaN
        if broken.any():
            raise NonFiniteLogitsError(broken.nonzero().flatten().tolist(), self._steps)
        return scores
