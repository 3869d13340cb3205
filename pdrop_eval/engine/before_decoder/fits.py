"""What a strategy can't do with a model, found out from the model's config alone. Needs no torch."""

from typing import Any

from pdrop_eval.engine.before_decoder.interface import ImageReducer
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.towers.tower import check_tower


def check_fits(family: MultimodalFamily, config: Any, selector: Any, ready: bool = True) -> None:
    """Refuse what a strategy can't do with a model.

    Args:
        family: the model's.
        config: the model's; what of it is looked at may be all that there is.
        selector: a strategy.
        ready: whether what a strategy before the decoder needs beside the model is loaded, too.

    Raises:
        UserError: drops outside the decoder, a tower that lacks what a strategy before the decoder needs,
            counts that an image can't have, and images that a strategy in the decoder isn't made for.
    """
    layers = config.get_text_config().num_hidden_layers
    selector.drops(layers)
    if (check_image := getattr(selector, "check_image", None)) is not None:
        check_image(family.nominal_shape(config))
    if (check_counts := getattr(selector, "check_counts", None)) is not None:
        check_counts(layers, family.nominal_shape(config))
    if (reducer := getattr(selector, "reducer", None)) is not None:
        check_reducer(family, config, reducer, ready)


def check_reducer(family: MultimodalFamily, config: Any, reducer: ImageReducer, ready: bool = True) -> None:
    """Refuse what a strategy before the decoder can't do with a model; see `check_fits`."""
    check_tower(family, config, reducer)
    reducer.check_shape(family.nominal_shape(config))
    if ready:
        reducer.get_ready(family.vision_sizes(config).vision_d)
