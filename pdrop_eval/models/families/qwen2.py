"""Qwen2 and Qwen2.5: a bare decoder."""

from pdrop_eval.models.family import Family


class Qwen2(Family):
    """A Qwen2 without a vision tower. Queries and keys have biases."""

    name = "qwen2"
    model_class = "Qwen2ForCausalLM"
    text_types = ("qwen2",)
    unshared = ""


FAMILY = Qwen2()
