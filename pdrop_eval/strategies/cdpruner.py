"""CDPruner: patches that matter to the question and are unlike each other."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.engine.before_decoder.interface import ImageView
from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.models.towers.encoded import Needs, TokenShape
from pdrop_eval.strategies.per_tile import PerTile
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text

if TYPE_CHECKING:
    from torch import Tensor

# What prompts of benchmarks end with, and no question about the picture.
ENDINGS = (
    "Answer the question using a single word or phrase.",
    "Answer with the option's letter from the given choices directly.",
)
OFFICIAL_TOWER = "openai/clip-vit-large-patch14-336"
FIX = f"Name a folder with a CLIP and its tokenizer, or text_tower={OFFICIAL_TOWER}."


@dataclass(frozen=True)
class TextTower:
    """What CLIP adds to a vision tower: its text model, and what maps both into one space of width j.

    Attributes:
        text: the text model.
        text_projection: its last map, to j.
        post_layernorm: the vision tower's final norm, of width w.
        visual_projection: the map of patches, w to j.
        tokenize: a text's ids, with beginning and end.
    """

    text: Any
    text_projection: Any
    post_layernorm: Any
    visual_projection: Any
    tokenize: Callable[[str], list[int]]


TOWERS: dict[str, TextTower] = {}  # those that are loaded


@dataclass
class CDPruner(PerTile):
    """CDPruner (Zhang et al., NeurIPS 2025, arXiv 2506.10967, section 3.3).

    T patches of each tile, by a greedy search for the determinant's maximum (a DPP): the kernel is
    rel_i·cos_ij·rel_j, of the patches after the projector. Relevance rel is how unlike a patch is to the
    question in CLIP's space (minus the cosine, as the authors say on purpose), scaled to 0..1 over all tiles.

    Source: Theia-4869/CDPruner at 9541616, llava/model/llava_arch.py (141-187) and
    multimodal_encoder/clip_encoder.py (39-97). Cosines of all pairs, N^2·d multiply-adds a tile, are its own
    cost, and so is the text tower.

    Deliberate differences from the official code:

    - Exactly T patches are left: past the kernel's rank, where officially NaN leads to fewer, the most
      relevant of the others follow.
    - Equal gains go to the earlier patch. Cosines are float32 throughout.
    - Relevance is scaled over the tiles of one image; officially over the batch, which is one image.
    - The grid of tiles is the model's own; officially all pictures are taken to 672 x 672.
    - Training is refused: the question isn't known to it.

    Attributes:
        visual_token_num: T, of each tile; None: 64, or what the preset says.
        layout: as in FasterVLM.
        preset: as in FasterVLM.
        text_tower: the CLIP whose vision tower the model has, as a folder or a name on the Hub; LLaVA's is
            openai/clip-vit-large-patch14-336. "embedded:<name>" is one that ships with the package.
    """

    text_tower: str | None = None
    name: ClassVar[str] = "cdpruner"
    display_name: ClassVar[str] = "CDPruner"
    paper: ClassVar[str] = "Zhang et al., NeurIPS 2025, arXiv 2506.10967"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#882255", "dark": "#cc6699", "marker": "v", "linestyle": "-", "order": 15
    }  # fmt: skip
    trains: ClassVar[bool] = False
    needs = Needs(features=True, projected=True, question=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text_tower is not None and not (isinstance(self.text_tower, str) and self.text_tower):
            raise UserError(
                f"text_tower={self.text_tower!r} names no CLIP: give a folder, or a name on the Hub such as "
                f"{OFFICIAL_TOWER}."
            )

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more than a tile has, a preset for other tiles, and that no text tower is named."""
        super().check_shape(shape)
        if self.text_tower is None:
            raise UserError(
                "CDPruner compares the picture with the question by CLIP's text tower: name the CLIP from "
                f"which the model's vision tower is, text_tower={OFFICIAL_TOWER} for LLaVA."
            )
        if self.text_tower not in TOWERS:
            check_named(self.text_tower)

    def get_ready(self, width: int) -> None:
        """Load the text tower, and refuse that of another vision tower."""
        wide = self._tower().post_layernorm.weight.shape[0]
        if wide != width:
            raise UserError(
                f"text_tower={self.text_tower} belongs to a vision tower of width {wide}, and the model's "
                f"has {width}: name the CLIP from which the model's vision tower is."
            )

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the cosines, the search and, of a question that fits into one segment, the text tower."""
        tower = self._tower()
        words, joint = tower.text.config, tower.visual_projection.out_features
        n, count, context = shape.patches, min(self.count, shape.patches), words.max_position_embeddings
        tile = n * n * sizes.d + n * sizes.vision_d * joint + n * joint + n * count * (count - 1) // 2
        width = words.hidden_size
        layer = context * (4 * width**2 + 2 * width * words.intermediate_size) + 2 * context**2 * width
        return shape.tiles * tile + words.num_hidden_layers * layer + width * joint

    def choose(self, view: ImageView, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches that the search picks in each tile, and their relevance."""
        import torch

        assert view.features is not None
        assert view.question is not None
        tower = self._tower()
        for part in (tower.text, tower.text_projection, tower.post_layernorm, tower.visual_projection):
            part.to(view.features.device)
        images = tower.visual_projection(tower.post_layernorm(view.features.float()))
        relevance = relevance_of(images, embedded(tower, asked(view.question)))
        order = picked(view.projected, relevance, seen, self.count)
        chosen = torch.zeros_like(seen).scatter(1, order, True) & seen
        return chosen, relevance

    def _tower(self) -> TextTower:
        assert self.text_tower is not None  # `check_shape` has refused it
        if self.text_tower not in TOWERS:
            TOWERS[self.text_tower] = load(self.text_tower)
        return TOWERS[self.text_tower]


def located(name: str) -> str:
    """Return where a CLIP is: the package's own for "embedded:<name>", else what it is called.

    Raises:
        UserError: the package has none of that name.
    """
    return str(resolve_checkpoint(name)) if name.startswith("embedded:") else name


def check_named(name: str) -> None:
    """Refuse what can't be a CLIP, without loading it: no folder with one, and no name on the Hub.

    Raises:
        UserError: otherwise.
    """
    folder = Path(located(name)).expanduser()
    if os.path.isdir(folder):  # also of a name that no file can have
        try:
            kind = json.loads(read_text(folder / "config.json")).get("model_type")
        except (OSError, ValueError, AttributeError):
            raise UserError(f"text_tower={name} holds no config.json of a CLIP. {FIX}") from None
        if kind != "clip":
            raise UserError(f"text_tower={name} is a {kind}, and not a CLIP with both towers. {FIX}")
    elif (
        os.path.exists(folder)
        or len([part for part in name.split("/") if part.strip(".~")]) != 2
        or name[0] in "/.~"
    ):
        raise UserError(f"text_tower={name} is no folder, and no name on the Hub (organisation/name). {FIX}")


def load(name: str) -> TextTower:
    """Return the parts of a CLIP that CDPruner needs, in float32.

    Raises:
        UserError: no CLIP, or one that can't be read.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer, CLIPModel

    try:
        place = located(name)
        kind = AutoConfig.from_pretrained(place).model_type
        if kind != "clip":
            raise UserError(f"text_tower={name} is a {kind}, and not a CLIP with both towers. {FIX}")
        model = CLIPModel.from_pretrained(place, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(f"text_tower={name} can't be loaded: {first}. {FIX}") from error
    return TextTower(
        model.text_model,
        model.text_projection,
        model.vision_model.post_layernorm,
        model.visual_projection,
        lambda text: list(tokenizer(text).input_ids),
    )


def asked(question: str) -> str:
    """Return a question without the fixed ending of its benchmark."""
    text = question.strip()
    for ending in ENDINGS:
        text = text.removesuffix(ending).rstrip()
    return text or question.strip()


def embedded(tower: TextTower, text: str) -> Tensor:
    """Return [s, j]: a text in segments of what the text tower reads at once, pooled at its highest id."""
    import torch

    from pdrop_eval.engine.stages.ops import on_device

    ids = tower.tokenize(text)
    length = tower.text.config.max_position_embeddings
    segments = max(1, math.ceil(len(ids) / length))
    padding = segments * length - len(ids)
    device = tower.text_projection.weight.device
    rows = on_device(ids + [0] * padding, device).view(segments, length)
    mask = on_device([1] * len(ids) + [0] * padding, device).view(segments, length)
    hidden = tower.text(input_ids=rows, attention_mask=mask).last_hidden_state
    pooled = hidden[torch.arange(segments, device=device), rows.argmax(dim=1)]
    found: Tensor = tower.text_projection(pooled)
    return found


def relevance_of(images: Tensor, text: Tensor) -> Tensor:
    """Return [P, N] in 0..1: how unlike patches [P, N, j] are to a text [s, j], scaled over all tiles."""
    import torch

    unit = torch.nn.functional.normalize
    unlike = -(unit(images.float(), dim=-1) @ unit(text.float(), dim=-1).T).mean(-1)
    low, high = unlike.min(), unlike.max()
    return (unlike - low + 1e-6) / (high - low).clamp(min=1e-6)


def picked(projected: Tensor, relevance: Tensor, seen: Tensor, count: int) -> Tensor:
    """Pick patches of each tile, one after the other, so that the kernel's determinant grows the most.

    Args:
        projected: [P, N, d].
        relevance: [P, N].
        seen: [P, N] bool, from which to pick.
        count: how many of each tile, at most N.

    Returns:
        [P, count] ids in the order of the picks; of a tile where fewer are seen, the last ones are not seen.
    """
    import torch

    values = torch.nn.functional.normalize(projected.float(), dim=-1)
    kernel = relevance[:, :, None] * (values @ values.transpose(1, 2)) * relevance[:, None]
    tiles, n = relevance.shape
    row = torch.arange(tiles, device=projected.device)
    gain = kernel.diagonal(dim1=1, dim2=2).clone().masked_fill(~seen, -torch.inf)
    free, order = torch.ones_like(seen), []
    found = projected.new_zeros(count, tiles, n, dtype=torch.float32)
    for step in range(count):
        best = gain.argmax(dim=-1)
        good = gain[row, best] > 0
        # Past the kernel's rank nothing is gained: the most relevant of those that are left follow.
        left = (relevance + seen * 2).masked_fill(~free, -torch.inf).argmax(dim=-1)
        best = torch.where(good, best, left)
        order.append(best)
        free[row, best] = False
        before = found[:step]
        known = torch.einsum("tp,tpn->pn", before[:, row, best], before)
        root = gain[row, best].clamp(min=torch.finfo(torch.float32).tiny).sqrt()
        change = torch.where(good[:, None], (kernel[row, best] - known) / root[:, None], 0.0)
        found[step] = change
        gain = (gain - change**2).masked_fill(~free, -torch.inf)
    return torch.stack(order, dim=1)
