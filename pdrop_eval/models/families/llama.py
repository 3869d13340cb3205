"""Llama: a bare decoder, such as Vicuna."""

from pdrop_eval.models.family import Family


class Llama(Family):
    """A Llama without a vision tower."""

    name = "llama"
    model_class = "LlamaForCausalLM"
    text_types = ("llama",)
    unshared = ""


FAMILY = Llama()
