"""From a question and its images to a prompt and pixels, with every choice named."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from pdrop_eval.utils.errors import UserError

CHAT_TEMPLATES = ("checkpoint", "vicuna")
IMAGE_PROCESSING = ("checkpoint", "pad")

# The system sentence and the turns of LLaVA-1.5's own evaluation (conversation template "vicuna_v1").
_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_VICUNA = _SYSTEM + " USER: {content} ASSISTANT:"


def build_prompt(template: str, processor: Any, context: str, images: int) -> str:
    """Return the text of one question with its image placeholders, ready for the processor.

    Placeholders that the question lacks are put before it.

    Args:
        template: one of `CHAT_TEMPLATES`.
        processor: the checkpoint's.
        context: the question.
        images: how many images it has.

    Raises:
        ValueError: more placeholders than images.
    """
    token = processor.image_token
    missing = images - context.count(token)
    if missing < 0:
        raise ValueError(f"the question has {context.count(token)} times {token!r}, but {images} images")
    if template == "vicuna":
        return _VICUNA.format(content=(token + "\n") * missing + context)
    content = [{"type": "image"}] * missing + [{"type": "text", "text": context}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def system_prompt(template: str) -> str | None:
    """Return the system sentence that a template puts first; None if that is up to the checkpoint's."""
    return _SYSTEM if template == "vicuna" else None


def check_template(template: str, processor: Any, pretrained: str) -> None:
    """Check that a checkpoint that is asked to use its chat template brings one.

    Raises:
        UserError: it brings none.
    """
    if template == "checkpoint" and not getattr(processor, "chat_template", None):
        raise UserError(
            f"The checkpoint {pretrained} brings no chat template, but chat_template=checkpoint asks for it. "
            "Use chat_template=vicuna."
        )


def shrunk(image: Image.Image, factor: int) -> Image.Image:
    """Return the image with each side divided by a whole number, rounded down, but never below one pixel.

    Pillow's bicubic filter, which averages over what it leaves out, as the checkpoints' own processors use.
    """
    size = (max(1, image.width // factor), max(1, image.height // factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Return the image centred on a square of the processor's mean colour, as LLaVA-1.5's own code pads it.

    Args:
        image: in RGB.
        mean: the processor's mean per channel, 0 to 1.
    """
    side = max(image.size)
    if image.width == image.height:
        return image
    square = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in mean))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
