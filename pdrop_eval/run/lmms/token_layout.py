"""A loaded checkpoint's geometry, and what its samples retained, in the form of the records."""

from collections.abc import Sequence
from typing import Any

from pdrop_eval.engine.interface import Drop
from pdrop_eval.engine.report import Report
from pdrop_eval.models.token_grid import Geometry
from pdrop_eval.records.token_mask import pack


def geometry_of(model: Any, processor: Any, image_processing: str, downsample: int | None) -> Geometry | None:
    """What a checkpoint's processor does to the shape of a picture, by its settings.

    None where it cuts another square than that of the shorter side: where its tokens lie isn't known then.
    """
    vision, images = model.config.vision_config, processor.image_processor
    resolutions = getattr(images, "image_grid_pinpoints", None)
    cut = bool(images.do_center_crop) and not resolutions
    if cut and (images.size or {}).get("shortest_edge") != vision.image_size:
        return None
    return Geometry(
        tile=vision.image_size,
        patch=vision.patch_size,
        resolutions=tuple((int(high), int(wide)) for high, wide in resolutions) if resolutions else None,
        cut=cut,
        pad=image_processing == "pad",
        downsample=downsample or 1,
    )


def placed(geometry: Geometry | None, sizes: Sequence[tuple[int, int]], tokens: int) -> list[list] | None:
    """The grids of a sample as lists; None if it has other tokens: its processor does something else."""
    if geometry is None:
        return None
    grids = geometry.grids(sizes)
    return [grid.to_list() for grid in grids] if sum(grid.tokens for grid in grids) == tokens else None


def retained_of(report: Report, drops: Sequence[Drop]) -> list[list[list]]:
    """For each row of a prefill: for each drop, [its layer, the mask of the image tokens that remained]."""
    rows: list[list[list]] = [[] for _ in report.image_tokens]
    for drop, kept in zip(drops, report.retained, strict=True):
        for row, ids in enumerate(kept):
            flags = [False] * report.image_tokens[row]
            for token in ids.tolist():
                flags[token] = True
            rows[row].append([drop.layer, pack(flags)])
    return rows
