"""The base of methods in the decoder whose layers are of 32, with settings for 192, 128 and 64 tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pdrop_eval.engine.schedule import check_named_layers
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import recipe
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.depth import scaled, scaled_note
from pdrop_eval.strategies.presets import check_preset, fill, preset_note
from pdrop_eval.utils.errors import UserError


class InsideStrategy(Strategy):
    """Base of the strategies in the decoder that aren't made for training and have presets.

    A subclass has the field that `layer_field` names, if any, and `preset`; its `__post_init__` calls
    `prepare`. Layers that are given are the model's own. Those of the paper, or of a preset, belong to 32
    layers and are scaled to others; the record says so.

    Attributes:
        presets: by name, settings; layers among them are those of 32.
        preset_is: what the number of a preset counts: "mean", image tokens a layer in the mean over the
            layers, or "final", image tokens that are left in the end.
        one_layer: whether it names one layer, in place of a list.
        paper_layers: those of the paper, where neither the setting nor the preset says any.
        between_layers: whether the states that enter the drop are compared: a drop after the last layer,
            where they are the decoder's output, can't be then.
    """

    trains: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    preset_is: ClassVar[str] = "mean"
    layer_field: ClassVar[str] = "layers"
    one_layer: ClassVar[bool] = False
    paper_layers: ClassVar[tuple[int, ...]] = ()
    between_layers: ClassVar[bool] = False
    recipe: str | None = None
    preset: str | None = None

    def prepare(self, usual: Mapping[str, Any]) -> None:
        """Take the settings of the recipe and of the preset, or else the usual ones, and check the layers.

        Args:
            usual: by setting, the value without a preset; None for layers.

        Raises:
            UserError: an unknown preset, one beside what it says, layers that can't be.
        """
        recipe.take(self)
        fill(self, usual, scaled=(self.layer_field,))
        if not self.layer_field:
            return
        given = getattr(self, self.layer_field)
        if isinstance(given, Sequence) and not isinstance(given, str):
            setattr(self, self.layer_field, tuple(given))
        elif isinstance(given, int) and not self.one_layer:
            setattr(self, self.layer_field, (given,))
        self._check_given(None)

    def layers_of(self, num_layers: int) -> tuple[int, ...]:
        """Return the layers before which tokens go in a model of `num_layers`.

        Raises:
            UserError: they don't fit it.
        """
        recipe.check_depth(self, num_layers)
        given = self._check_given(num_layers)
        layers = scaled(self._named, num_layers) if given is None else given
        if self.between_layers and layers[-1] == num_layers:
            raise UserError(
                f"{self.layer_field}={layers[-1]} is after the last of {num_layers} layers, and {self.name} "
                f"compares states that enter a layer: use values from 1 to {num_layers - 1}."
            )
        return layers

    def check_image(self, shape: TokenShape) -> None:
        """Refuse a preset for images with other tokens than LLaVA-1.5's."""
        check_preset(self, shape)

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Say what a preset's number means, and which layers were scaled."""
        notes = preset_note(self, self.preset_is, num_layers, image_tokens)
        if self.layer_field and getattr(self, self.layer_field) is None:
            notes += scaled_note(self._named, num_layers)
        return notes

    @property
    def _named(self) -> tuple[int, ...]:
        """The layers of the preset or the paper, of 32."""
        said = self.presets.get(self.preset or "", {}).get(self.layer_field, self.paper_layers)
        return (said,) if isinstance(said, int) else tuple(said)

    def _check_given(self, num_layers: int | None) -> tuple[int, ...] | None:
        given = getattr(self, self.layer_field)
        if given is None:
            return None
        if given == () or (self.one_layer and isinstance(given, tuple)):
            wanted = "name one layer" if self.one_layer else "name one or more layers, as [2,4]"
            raise UserError(f"{self.layer_field}={given!r} is not allowed: {wanted}, from 1 to the depth.")
        return check_named_layers(self.layer_field, given, num_layers)
