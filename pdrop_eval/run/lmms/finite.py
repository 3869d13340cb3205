"""Stops a generation whose numbers have broken down, instead of taking what comes for an answer."""

import torch
from torch import Tensor
from transformers import LogitsProcessor


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
