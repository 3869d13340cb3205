"""What a strategy changes of a model's answers: the divergence of their first token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pdrop_eval.run.calibrate.questions import Asked
from pdrop_eval.run.calibrate.rules.vtw import divergence


@dataclass(frozen=True)
class Loss:
    """The divergence from the model with all image tokens, over the questions.

    Attributes:
        mean: in nats.
        stderr: of the mean; None for a single question, of which nothing is known.
        agreement: the share of the questions whose answer begins with the same token.
        tokens: image tokens a layer, in the mean.
        each: of each question.
    """

    mean: float
    stderr: float | None
    agreement: float
    tokens: float
    each: Sequence[float]

    @classmethod
    def of(cls, asked: Asked, full: Asked) -> "Loss":
        """Return the loss of what a strategy answers, against what the model answers without one."""
        each = divergence(asked.logits, full.logits)
        same = (asked.logits.argmax(-1) == full.logits.argmax(-1)).double().mean()
        return cls(float(each.mean()), _error(each), float(same), asked.mean_tokens, each.tolist())

    def gain_of(self, other: "Loss") -> tuple[float, float | None]:
        """Return how much less another strategy loses on the same questions, and the error of this mean."""
        gains = torch.tensor(self.each, dtype=torch.float64) - torch.tensor(other.each, dtype=torch.float64)
        return float(gains.mean()), _error(gains)

    def to_dict(self) -> dict[str, Any]:
        """Return what a recipe's file says of it."""
        return {
            "loss": self.mean,
            "stderr": self.stderr,
            "agreement": self.agreement,
            "tokens": self.tokens,
        }


def _error(values: torch.Tensor) -> float | None:
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
