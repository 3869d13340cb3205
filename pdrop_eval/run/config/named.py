"""What a published model's name says of its family: checked before its checkpoint is fetched. No torch."""

from pathlib import Path

import yaml

from pdrop_eval.models import families
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.loading.checkpoint import check_image_processing, check_trainable
from pdrop_eval.models.towers.tower import check_reduced
from pdrop_eval.run.config.spec import ModelSpec, StrategySpec
from pdrop_eval.strategies.make import without_torch
from pdrop_eval.utils.paths import CONF


def check_named(model: ModelSpec, strategy: StrategySpec, trained: bool = False) -> None:
    """Refuse what the family of a published model can't have; a checkpoint of one's own is looked at later.

    Args:
        model: the model.
        strategy: what it is asked to do.
        trained: whether it is to be trained.

    Raises:
        UserError: with what is allowed.
    """
    family = _published_family(model)
    if family is None:
        return
    family.check_version()
    if trained:
        check_trainable(family.name)
    check_image_processing(model.image_processing, family.name)
    family.check_bounds(model.bounds)
    strategy.settled(family.can_renumber, model.name)
    reducer = getattr(without_torch(strategy.build), "reducer", None)
    if reducer is not None:
        check_reduced(family, reducer)


def _published_family(model: ModelSpec) -> MultimodalFamily | None:
    """Return the family of the checkpoint that the model's file names, if it is the one that is asked for."""
    file = CONF / "model" / f"{model.name}.yaml"
    if not file.is_file() or Path(model.pretrained).is_dir():
        return None
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    if (said.get("pretrained"), said.get("architecture")) != (model.pretrained, model.architecture):
        return None
    return families.of_architecture(model.architecture)
