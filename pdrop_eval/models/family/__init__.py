"""What the rest of the package asks of a model family. Importing it needs no torch.

A family is one file in `models/families`, named after the `model_type` of its transformers config, with a
subclass of `Family` and one instance of it, `FAMILY`. Nothing outside of that folder asks which family a
model belongs to.

`Family` is what any decoder answers (`decoder.py`). One that takes images is a `MultimodalFamily`, whose
questions are a file for each subject: sizes of images by the config (`image_sizes.py`), the vision tower and
its way into a prompt (`encoding.py`), the processor (`processing.py`), checkpoints and configs
(`multimodal.py`).
"""

from pdrop_eval.models.family.decoder import Family
from pdrop_eval.models.family.multimodal import PARTS, MultimodalFamily
from pdrop_eval.models.family.sizes import NOMINAL_SIZE, ImageShape, TokenLayout, VisionSizes

__all__ = [
    "NOMINAL_SIZE",
    "PARTS",
    "Family",
    "ImageShape",
    "MultimodalFamily",
    "TokenLayout",
    "VisionSizes",
]
