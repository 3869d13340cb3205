"""An image as the vision tower knows it: its tokens, and what strategies before the decoder choose by.

Importing this needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

FIRST, FEATURES, LAST = "first", "features", "last"
LAYERS = (FIRST, FEATURES, LAST)


@dataclass(frozen=True)
class Needs:
    """What of the vision tower has to be held, beside the image's tokens.

    Layers are "first", "features" (the one whose output is taken) and "last".

    Attributes:
        attention: layers whose attention of the class token is wanted.
        keys: layers whose keys are wanted.
        queries: layers whose query of the class token is wanted.
        features: the patches before the projector.
        class_token: the class token before the projector.
        projected: all patches after the projector, those included that unpadding takes out.
        question: the question's text; of no tower, so the features of an image don't depend on it.
    """

    attention: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    features: bool = False
    class_token: bool = False
    projected: bool = False
    question: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose queries and keys are needed."""
        return tuple(name for name in LAYERS if name in {*self.attention, *self.keys, *self.queries})

    @property
    def of_class_token(self) -> bool:
        """Whether the tower must have a class token."""
        return bool(self.attention or self.queries or self.class_token)

    def covers(self, other: Needs) -> bool:
        """Tell whether all that `other` asks of the tower is among this."""
        return replace(self | other, question=self.question) == self

    def __or__(self, other: Needs) -> Needs:
        """Return the needs of both."""
        both: dict[str, Any] = {}
        for name in (one.name for one in fields(self)):
            mine, others = getattr(self, name), getattr(other, name)
            if isinstance(mine, tuple):
                both[name] = tuple(layer for layer in LAYERS if layer in {*mine, *others})
            else:
                both[name] = mine or others
        return Needs(**both)


@dataclass(frozen=True)
class TokenShape:
    """How many image tokens an image has, and where they come from.

    Attributes:
        tokens: n, as the model packs them, newlines included.
        tiles: P, the tiles that the tower sees.
        patches: N, patches of a tile.
        newlines: tokens that are no patch.
        seen: tokens that are left of each tile, when those on padding are taken out.
    """

    tokens: int
    tiles: int = 1
    patches: int = 0
    newlines: int = 0
    seen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        patches = self.patches or (self.tokens - self.newlines) // max(1, self.tiles)
        object.__setattr__(self, "patches", patches)
        object.__setattr__(self, "seen", self.seen or (patches,) * self.tiles)

    @classmethod
    def of(cls, tokens: int, tile_tokens: int | None, tiles: int | None = None) -> TokenShape:
        """Return the shape of so many tokens of tiles that nothing is cut from.

        Args:
            tokens: n; what is more than the tiles have are newlines.
            tile_tokens: N; None: it isn't known, and all is one tile.
            tiles: P; None: as many as fit best.
        """
        if not tile_tokens:
            return cls(tokens)
        tiles = max(1, round(tokens / tile_tokens)) if tiles is None else tiles
        return cls(tokens, tiles, tile_tokens, max(0, tokens - tiles * tile_tokens))


@dataclass(frozen=True)
class Places:
    """Where the packed tokens of an image come from.

    Attributes:
        sources: [n, 2] int64 (CPU): tile and patch of each token; the patch is -1 for newlines (of tile -1)
            and class tokens.
        side: rows and columns of patches in a tile.
        tiles: P.
        grid: rows and columns of the tiles behind the overview; None where there is one square.
        image_size: (height, width) in pixels, where the model is told it.
    """

    sources: Tensor
    side: tuple[int, int]
    tiles: int = 1
    grid: tuple[int, int] | None = None
    image_size: tuple[int, int] | None = None

    @property
    def shape(self) -> TokenShape:
        """The numbers of tokens."""
        of_patches = self.sources[self.sources[:, 1] >= 0, 0]
        seen = tuple(of_patches.bincount(minlength=self.tiles).tolist())
        tokens = len(self.sources)
        return TokenShape(tokens, self.tiles, self.side[0] * self.side[1], tokens - sum(seen), seen)


@dataclass(frozen=True)
class EncodedImage:
    """One image after vision tower and projector; P tiles of N patches, of w channels in the tower.

    Attributes:
        tokens: [n, d], as they enter the decoder.
        places: where they come from; None where only the tokens were asked for.
        needs: what was asked for.
        heads: of the tower's attention.
        attention: by layer, [P, heads, N] float32: the class token's row of the softmax over itself and all
            patches, its own column cut off and the rest not normalised again.
        keys: by layer, [P, 1 + N, w]: outputs of k_proj, the class token first where there is one.
        queries: by layer, [P, w]: the class token's output of q_proj.
        features: [P, N, w] before the projector.
        class_token: [P, w] before the projector.
        projected: [P, N, d].
        grid: (frames, rows, columns) of patches, where position ids follow from them.
        received: [n] float32, how much attention the tower pays to each token, in towers that join patches to
            tokens; it stands in for the class token's.
        metric: [n, e] float32, the mean key of each token there.
        added: [layers, n, d], what the decoder adds to the tokens after its first layers (DeepStack).
    """

    tokens: Tensor
    places: Places | None = None
    needs: Needs = field(default_factory=Needs)
    heads: int = 0
    attention: Mapping[str, Tensor] = field(default_factory=dict)
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    queries: Mapping[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    class_token: Tensor | None = None
    projected: Tensor | None = None
    grid: tuple[int, int, int] | None = None
    added: Tensor | None = None
    received: Tensor | None = None
    metric: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def holds(self, needs: Needs | None) -> bool:
        """Tell whether what is asked for of the tower is here; None asks for nothing but the tokens."""
        return needs is None or (self.places is not None and self.needs.covers(needs))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def to(self, device: Any) -> EncodedImage:
        """Return the same on a device; what is there already is not copied."""
        return self.mapped(lambda tensor: tensor.to(device))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> EncodedImage:
        """Return the same with each of its tensors changed."""
        changes: dict[str, Any] = {}
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                changes[name] = {layer: change(tensor) for layer, tensor in value.items()}
            elif hasattr(value, "device"):
                changes[name] = change(value)
        return replace(self, **changes)

    def cpu(self) -> EncodedImage:
        """Return the same in the host's memory."""
        return self.to("cpu")

    def _tensors(self) -> list[Tensor]:
        values = [getattr(self, one.name) for one in fields(self)]
        several = [tensor for value in values if isinstance(value, Mapping) for tensor in value.values()]
        return [*several, *(value for value in values if hasattr(value, "nbytes"))]
