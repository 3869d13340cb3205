"""PruMerge+: PruMerge, and evenly spaced patches beside those that stand out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pdrop_eval.strategies.prumerge import PruMerge


@dataclass
class PruMergePlus(PruMerge):
    """PruMerge+ (Shang et al., ICCV 2025, arXiv 2403.15388, section 3.4).

    PruMerge, but evenly spaced patches that aren't kept yet are kept too, behind the others: about three
    times as many as there are outliers, so that 144 tokens are left of LLaVA-1.5's 576 in the mean.

    Source: 42Shawn/LLaVA-PruMerge at 097c041, llava/model/multimodal_encoder/clip_encoder.py (174-281).

    Deliberate differences from the official code, beside those of PruMerge:

    - Without an outlier, one token is left; with more than a third, every patch is spaced in. The official
      code crashes on both.
    - Its 575 is the number of patches less one.

    Attributes:
        reduction_ratio: None: outliers say how many are kept; a number in [0, 1]: int(N·ratio) of each tile
            by attention, and about as many evenly spaced ones, of which some may be the same.
    """

    name: ClassVar[str] = "prumerge_plus"
    display_name: ClassVar[str] = "PruMerge+"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#787800", "dark": "#dbdb8d", "marker": "D", "linestyle": "--", "order": 17
    }  # fmt: skip
    plus: ClassVar[bool] = True
