"""Mistral: a bare decoder; without its sliding window."""

from pdrop_eval.models.family import Family


class Mistral(Family):
    """A Mistral without a vision tower."""

    name = "mistral"
    model_class = "MistralForCausalLM"
    text_types = ("mistral",)
    unshared = ""


FAMILY = Mistral()
