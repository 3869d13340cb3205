"""GQA on the Hub keeps questions and images apart."""

from typing import Any


def join_gqa_images(questions: Any) -> Any:
    """GQA's questions with their images, which the Hub keeps in a subset of their own.

    lmms-eval's own `gqa_process_docs` does the same, but needs a Hub login for this public data set and keeps
    every image decoded in memory; this one passes the encoded bytes on.
    """
    from datasets import Features, Image, load_dataset

    stored = load_dataset("lmms-lab-encoder/GQA", "testdev_balanced_images", split="testdev")
    stored = stored.cast_column("image", Image(decode=False))
    images = dict(zip(stored["id"], stored["image"], strict=True))
    features = Features({**questions.features, "image": Image()})
    return questions.map(lambda doc: {"image": images[doc["imageId"]]}, features=features)
