"""What is asked of any family: its decoder, and which of its tokens are an image's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family.sizes import VisionSizes
from pdrop_eval.models.rotary import gather_columns, rotate
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Family:
    """A bare decoder with a language-model head; the caller says which columns are image tokens.

    Attributes:
        name: the `model_type` of its transformers config; the file's name.
        model_class: its class in transformers.
        text_types: the `model_type`s of the text models that it works with; the first is the usual one.
        multimodal: whether it takes images.
        can_renumber: whether the gaps in position ids may be closed; false for M-RoPE, whose ids say where on
            an image a token lies.
        lowest_transformers: the first release of transformers that it works with; "" where each supported
            one does.
        unshared: why questions of one image can't share the prefix of their prompts; "" where they can: its
            attention is causal over images too, and no position before the question depends on it. It is said
            of a model's class: a family that extends another and has a class of its own says it anew.
        architecture: its name in records and in `conf/model`.
        display_name: its name in tables and figures.
    """

    name: ClassVar[str]
    model_class: ClassVar[str]
    text_types: ClassVar[tuple[str, ...]]
    multimodal: ClassVar[bool] = False
    can_renumber: ClassVar[bool] = True
    lowest_transformers: ClassVar[str] = ""
    unshared: ClassVar[str] = "it isn't known whether its attention is causal over images"
    architecture: ClassVar[str] = ""
    display_name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        of_its_own = {"model_class", "load_class", "decoder"} & vars(cls).keys()
        if of_its_own and "unshared" not in vars(cls):
            cls.unshared = Family.unshared

    def check_version(self) -> None:
        """Refuse an installed transformers that is too old for the family. Imports nothing large.

        Raises:
            UserError: with the release to install.
        """
        if not self.lowest_transformers:
            return
        from importlib.metadata import version

        from packaging.version import Version

        found = version("transformers")
        if Version(found) < Version(self.lowest_transformers):
            raise UserError(
                f"{self.display_name or self.name} needs transformers {self.lowest_transformers} or newer, "
                f"and {found} is installed: pip install 'transformers>={self.lowest_transformers}'."
            )

    def load_class(self) -> Any:
        """Return the model's class."""
        import transformers

        return getattr(transformers, self.model_class)

    def decoder(self, model: Any) -> Any:
        """Return the text model, with its `layers` and `rotary_emb`."""
        return model.get_decoder()

    def parts(self, model: Any) -> dict[str, nn.Module]:
        """Return the modules whose FLOPs are counted apart, by name: head, and vision and projector."""
        return {"head": model.get_output_embeddings()}

    def image_mask(self, config: Any, inputs: Mapping[str, Any]) -> Tensor | None:
        """Return [b, n] bool, true on image tokens, or None where these inputs can't tell.

        Args:
            config: the model's transformers config.
            inputs: of a forward, by name.
        """
        return None

    def has_images(self, inputs: Mapping[str, Any]) -> bool:
        """Tell whether these forward (or generate) inputs bring images."""
        return False

    def rotary_positions(self, position_ids: Tensor) -> Tensor:
        """Return the position ids [..., b or 1, n] that `rotary_emb` takes, of those given to the decoder."""
        return position_ids

    def added_features(
        self, inputs: dict[str, Any], before: Sequence[int]
    ) -> tuple[Tensor, Sequence[Tensor]] | None:
        """Take out of the decoder's inputs what it would add to image tokens between its first layers.

        Qwen3-VL does (DeepStack): its mask has the columns of the full prompt, so after a drop the decoder
        can't do so itself.

        Args:
            inputs: of the decoder's forward, by name; changed where features are returned.
            before: the layers before which tokens are dropped.

        Returns:
            ([b, n] bool: the tokens that they are added to; for each of the first layers, features
            [tokens, d] that are added to its output), or None where the decoder can do it itself.
        """
        return None

    def query_key(
        self, layer: Any, hidden: Tensor, columns: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, float]:
        """Project the queries of some columns and the keys of all columns, with positions.

        As Llama's layers do; a norm of each head's queries and keys, as Qwen3 has it, comes before the
        rotation.

        Args:
            layer: a decoder layer.
            hidden: [b, n, d], entering the layer.
            columns: [b, t], those whose queries are projected.
            cos: [b or 1, n, e].
            sin: [b or 1, n, e].

        Returns:
            (query [b, h, t, e], key [b, g, n, e], scaling of q·k).
        """
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        query = attention.q_proj(gather_columns(normed, columns)).unflatten(-1, (-1, attention.head_dim))
        key = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm(query), attention.k_norm(key)
        query = rotate(query.transpose(1, 2), gather_columns(cos, columns), gather_columns(sin, columns))
        return query, rotate(key.transpose(1, 2), cos, sin), attention.scaling

    def vision_sizes(self, config: Any) -> VisionSizes:
        """Return the sizes of the vision tower and the projector."""
        return VisionSizes()
