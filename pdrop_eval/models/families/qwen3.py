"""Qwen3: a bare decoder."""

from pdrop_eval.models.family import Family


class Qwen3(Family):
    """A Qwen3 without a vision tower. Each head's queries and keys are normed before they are rotated."""

    name = "qwen3"
    model_class = "Qwen3ForCausalLM"
    text_types = ("qwen3",)
    unshared = ""


FAMILY = Qwen3()
