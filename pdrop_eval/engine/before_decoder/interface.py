"""What passes between a strategy before the decoder and the engine: `ImageView`, `Reduced`.

`Needs` and `TokenShape`, of which strategies make use too, are in `models.encoded`.
Importing this needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pdrop_eval.models.towers.encoded import FEATURES, EncodedImage, Needs, Places, TokenShape
from pdrop_eval.utils.validation import check_setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LAYOUTS = ("official", "packed")


@dataclass(frozen=True)
class Reduced:
    """What a strategy makes of an image.

    Attributes:
        tokens: [T, d], in the order of the prompt; at least one.
        source: [T] int64, the packed token that each is; -1 for those that were made.
        scores: [n] float, what the packed tokens were ranked by, for drawings; None if there is no such
            thing.
        place: [T] int64, the packed token whose position ids each takes where they say where on an image a
            token lies; None: its source's, or the first token's.
        added: [layers, T, d], what the decoder adds to them after its first layers; None: what it adds to
            those in whose places they stand.
        marks: [T] bool, tokens that a strategy in the decoder is told of (`context.marked`), or None.
    """

    tokens: Tensor
    source: Tensor
    scores: Tensor | None = None
    place: Tensor | None = None
    added: Tensor | None = None
    marks: Tensor | None = None

    @property
    def standing(self) -> Tensor:
        """[T] int64, the packed token in whose place each stands."""
        return self.source.clamp(min=0) if self.place is None else self.place


class ImageView:
    """One image as a strategy sees it: P tiles (the overview first) of N patches, n packed tokens.

    Widths are w in the tower and d in the decoder. What `needs` doesn't name is None, or a KeyError.

    Attributes:
        tokens: [n, d], as the model packs them, newlines included.
        features: [P, N, w], patches before the projector.
        class_token: [P, w] before the projector.
        heads: of the tower's attention.
        project: the model's projector, [..., w] to [..., d].
        received: [n] float32, how much attention the tower pays to each token, where it joins patches to
            tokens: it stands in for the class token's, and tokens for patches. Else None.
        metric: [n, e] float32, the mean key of each token there.
        added: [layers, n, d], what the decoder adds to the tokens after its first layers, or None.
        newline: [d], the token that ends a row, or None.
        question: its text, or None.
    """

    def __init__(
        self,
        encoded: EncodedImage,
        project: Callable[[Tensor], Tensor],
        *,
        newline: Tensor | None = None,
        question: str | None = None,
        seed: Callable[[], int] = lambda: 0,
    ):
        assert encoded.places is not None
        self._encoded = encoded
        self._places: Places = encoded.places
        self._seed = seed
        self.tokens = encoded.tokens
        self.features = encoded.features
        self.class_token = encoded.class_token
        self.heads = encoded.heads
        self.received, self.metric, self.added = encoded.received, encoded.metric, encoded.added
        self.project = project
        self.newline = newline
        self.question = question

    @property
    def projected(self) -> Tensor:
        """[P, N, d], all patches after the projector."""
        if self._encoded.projected is not None:
            return self._encoded.projected
        if self.shape.tiles > 1 or self.shape.newlines:
            raise KeyError("projected")
        return self.tokens[None]  # one square: the packed tokens are its patches

    @cached_property
    def sources(self) -> Tensor:
        """[n, 2], tile and patch of each packed token; the patch is -1 for what is none, such as newlines."""
        return _upload(self._places.sources, self.tokens.device)

    @cached_property
    def patch_places(self) -> tuple[Tensor, Tensor]:
        """Tile and patch [k] of the packed tokens that are patches."""
        tile, patch = _upload(self._places.sources[self._is_patch], self.tokens.device).unbind(1)
        return tile, patch

    @cached_property
    def _is_patch(self) -> Tensor:
        """[n] bool in the host's memory, false on packed tokens such as newlines; so nobody waits for it."""
        return self._places.sources[:, 1] >= 0

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of patches in a tile."""
        return self._places.side

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the tiles behind the overview, or None where there is one square."""
        return self._places.grid

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, where the model is told it."""
        return self._places.image_size

    @property
    def shape(self) -> TokenShape:
        """The numbers of tokens."""
        return self._places.shape

    @cached_property
    def generator(self) -> torch.Generator:
        """For chance, on the CPU: seeded by the run, the sample and the image's place in it."""
        import torch

        return torch.Generator().manual_seed(self._seed())

    def attention(self, layer: str = FEATURES) -> Tensor:
        """[P, heads, N] float32: the class token's attention to the patches, softmax over itself and them."""
        return self._encoded.attention[layer]

    def keys(self, layer: str = FEATURES) -> Tensor:
        """[P, 1 + N, w], all heads side by side, the class token first where there is one."""
        return self._encoded.keys[layer]

    def query(self, layer: str = FEATURES) -> Tensor:
        """[P, w], of the class token, all heads side by side."""
        return self._encoded.queries[layer]

    def where(self, tile: Tensor, patch: Tensor) -> Tensor:
        """Return the packed token that each patch is, -1 for those that unpadding has taken out."""
        return self._packed[tile, patch]

    def stitched(self) -> Tensor:
        """Return [k, 2]: tile and patch of the tiles behind the overview, row by row over their grid."""
        import torch

        if self.grid is None:
            return torch.zeros(0, 2, dtype=torch.long, device=self.tokens.device)
        (down, across), (rows, columns) = self.grid, self.side
        numbers = torch.arange(down * across * rows * columns, device=self.tokens.device)
        whole = numbers.view(down, across, rows, columns).permute(0, 2, 1, 3).flatten()
        return torch.stack((1 + whole // (rows * columns), whole % (rows * columns)), dim=1)

    def take(self, ids: Tensor, scores: Tensor | None = None) -> Reduced:
        """Return packed tokens in the order of their ids [T]."""
        ids = _upload(ids, self.tokens.device)
        return Reduced(self.tokens[ids], ids, scores)

    def take_patches(self, chosen: Tensor, layout: str = "packed", scores: Tensor | None = None) -> Reduced:
        """Return the chosen patches.

        Args:
            chosen: [P, N] bool.
            layout: "official": the overview's, then those of the tiles row by row over their grid, those on
                padding included, no newlines (this needs `projected`); "packed": those that the model itself
                takes, in its order, with every newline.
            scores: [P, N] by which they were chosen, or None.
        """
        import torch

        check_setting("layout", layout, LAYOUTS)
        chosen = chosen.to(self.tokens.device)
        tile, patch = self.sources.unbind(1)
        if scores is not None:
            scores = scores.to(self.tokens.device)[tile, patch].masked_fill(patch < 0, -torch.inf)
        if layout == "packed" or (self.grid is None and bool(self._is_patch.all())):
            return self.take((chosen[tile, patch] | (patch < 0)).nonzero().flatten(), scores)
        overview = chosen[0].nonzero()
        order = torch.cat((torch.cat((torch.zeros_like(overview), overview), dim=1), self.stitched()))
        order = order[chosen[order[:, 0], order[:, 1]]]
        return Reduced(self.projected[order[:, 0], order[:, 1]], self.where(*order.unbind(1)), scores)

    @cached_property
    def _packed(self) -> Tensor:
        import torch

        rows, columns = self.side
        table = torch.full((self._places.tiles, rows * columns), -1, device=self.tokens.device)
        table[self.patch_places] = _upload(self._is_patch.nonzero().flatten(), self.tokens.device)
        return table


class ImageReducer(Protocol):
    """What the engine needs of a strategy before the decoder.

    It may have `for_image(shape)`, which gives the strategy with the settings of an image of that shape, and
    `port`, the name by which families know it, where that isn't its own.
    """

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def needs(self) -> Needs:
        """What of the tower it needs."""

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse what can't be of images of this shape."""

    def get_ready(self, width: int) -> None:
        """Load what it needs beside a model whose vision tower has this width."""

    def reduce(self, view: ImageView) -> Reduced:
        """Choose, or make, the tokens of one image."""


def _upload(tensor: Tensor, device: torch.device) -> Tensor:
    from pdrop_eval.models.transfer import upload

    return upload(tensor, device)
