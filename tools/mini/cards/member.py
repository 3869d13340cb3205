"""A member of the family as it lies in its folder: what its files say of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.models.pictures.tiling import patches, tile_size
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.presets import model_configs


@dataclass(frozen=True)
class Member:
    """A trained miniature in a folder.

    Attributes:
        folder: of its weights.
        name: what its record calls it.
        training: the record.
        config: its config.json.
    """

    folder: Path
    name: str
    training: Training
    config: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "Member":
        """Read it. Raises UserError without a training record."""
        path = folder / "training_record.json"
        if not path.is_file():
            raise UserError(f"{folder} has no training_record.json: a card says how a model was trained.")
        record = json.loads(path.read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(folder, str(record["name"]), Training.of(record), config)

    @property
    def drops(self) -> bool:
        """Whether it was trained with a strategy."""
        return self.training.strategy not in (None, ("vanilla", None))

    @property
    def is_compared_on(self) -> bool:
        """Whether it is one that strategies are compared on, so that its card has what was aimed at."""
        return self.config["model_type"] == "llava" and not self.drops

    @property
    def side(self) -> int:
        """Pixels of a tile's side."""
        return tile_size(dict(self.config))

    @property
    def patches(self) -> int:
        """Tiles and overview of the largest picture, by the checkpoint's own grids."""
        is_next = self.config["model_type"] == "llava_next"
        return patches(self.config["image_grid_pinpoints"], self.side) if is_next else 1

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """The models of conf/model that read these weights, by name."""
        own = f"embedded:{self.name}"
        return {name: model for name, model in model_configs().items() if model["pretrained"] == own}
