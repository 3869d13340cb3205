"""GQA on the Hub keeps questions and images apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_local_images: list[str] = []


def use_local_images(files: Sequence[Path]) -> None:
    """From now on the images are in these files (none: on the Hub).

    Here and not an argument, because lmms-eval calls `join_gqa_images` with the questions alone.
    """
    _local_images[:] = map(str, files)


def join_gqa_images(questions: Any) -> Any:
    """GQA's questions with their images, which the Hub keeps in a subset of their own.

    lmms-eval's own `gqa_process_docs` does the same, but needs a Hub login for this public data set and keeps
    every image decoded in memory; this one passes the encoded bytes on. Questions that have an image keep it.
    """
    from datasets import Features, Image, load_dataset

    if "image" in questions.column_names:
        return questions
    if _local_images:
        kind = "parquet" if _local_images[0].endswith(".parquet") else "arrow"
        stored = load_dataset(kind, data_files=_local_images, split="train")
    else:
        stored = load_dataset("lmms-lab-encoder/GQA", "testdev_balanced_images", split="testdev")
    stored = stored.cast_column("image", Image(decode=False))
    images = dict(zip(stored["id"], stored["image"], strict=True))
    features = Features({**questions.features, "image": Image()})
    return questions.map(lambda doc: {"image": images[doc["imageId"]]}, features=features)
