"""What a rule or a search has found."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The settings that were found, and how.

    Attributes:
        settings: of the strategy, by name.
        words: the rule, for people.
        rule_settings: the rule's own: thresholds, budgets.
        found: what it found beside the settings.
        tried: one entry for each of the settings that were tried, see `records.recipe_file.Tried`.
        image_tokens: of a question before any drop, where all have as many; else None.
        budget: of a search: what was asked for, and what was reached.
    """

    settings: dict[str, Any]
    words: str
    rule_settings: dict[str, Any]
    tried: list[dict[str, Any]]
    image_tokens: int | None
    found: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, Any] | None = None


def same_image_tokens(counts: list[list[int]]) -> int | None:
    """Return the image tokens that enter the decoder, if they are as many for every question.

    Args:
        counts: per question, the image tokens of each layer.
    """
    found = {row[0] for row in counts}
    return found.pop() if len(found) == 1 else None
