"""From a question and its images to a prompt and pixels, with every choice named."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from pdrop_eval.models.family import MultimodalFamily

CHAT_TEMPLATES = ("checkpoint", "lmms", "vicuna")
IMAGE_PROCESSING = ("checkpoint", "pad")

# The system sentence and the turns of LLaVA-1.5's own evaluation (conversation template "vicuna_v1").
_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_VICUNA = _SYSTEM + " USER: {content} ASSISTANT:"


class PlaceholderError(ValueError):
    """A prompt with other places for images than it has images; the message says how many of each."""


def _pictures(count: int) -> str:
    return f"{count or 'no'} image{'' if count == 1 else 's'}"


def build_prompt(template: str, processor: Any, context: str, images: int, system: str | None = None) -> str:
    """Return the text of one question with its image placeholders, ready for the processor.

    Placeholders that the question lacks are put before it. With "lmms", the prompt is that of the family's
    chat class in lmms-eval (qwen2_5_vl, qwen3_vl, llava_hf, internvl_hf): its system message, if it has one,
    all images, and the question as it is, by the checkpoint's template. Kept out is what these classes do to
    pictures: resizing twice, with bounds of their own (qwen_vl_utils), and JPEG. They don't cut answers at a
    task's `until` either. A task that has a prompt of its own for that class, as mmstar has for qwen3_vl,
    gives it in `pdrop-eval`; lmms-eval's own command names the model pdrop_llava, so it gives the default's.

    Args:
        template: one of `CHAT_TEMPLATES`.
        processor: the checkpoint's.
        context: the question.
        images: how many images it has.
        system: the system message of the family's chat class in lmms-eval; only "lmms" takes it.

    Raises:
        PlaceholderError: more placeholders than images.
    """
    if template == "lmms":
        before = [] if system is None else [{"role": "system", "content": [{"type": "text", "text": system}]}]
        parts = [{"type": "image"}] * images + [{"type": "text", "text": context}]
        return str(
            processor.apply_chat_template(
                [*before, {"role": "user", "content": parts}], add_generation_prompt=True
            )
        )
    token = processor.image_token
    missing = images - context.count(token)
    if missing < 0:
        raise PlaceholderError(
            f"the question has {context.count(token)} times {token!r}, but {_pictures(images)}"
        )
    if template == "vicuna":
        return _VICUNA.format(content=(token + "\n") * missing + context)
    content = [{"type": "image"}] * missing + [{"type": "text", "text": context}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def asked_as(family: "MultimodalFamily", template: str) -> str | None:
    """Return the model of lmms-eval whose prompts its tasks give; None: the default ones.

    Args:
        family: the checkpoint's.
        template: one of `CHAT_TEMPLATES`.
    """
    return (family.lmms_name or None) if template == "lmms" else None


def system_prompt(template: str) -> str | None:
    """Return the system sentence that a template puts first; None if that is up to the checkpoint's."""
    return _SYSTEM if template == "vicuna" else None


def begins_with_bos(tokenizer: Any, text: str) -> bool:
    """Tell whether a text brings its own beginning-of-sequence token, so that none may be added."""
    return bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a prompt, with the tokenizer's special tokens unless its template wrote them.

    This is the rule of `processor.apply_chat_template(tokenize=True)`.
    """
    return list(tokenizer(text, add_special_tokens=not begins_with_bos(tokenizer, text))["input_ids"])


def expand_images(family: "MultimodalFamily", processor: Any, prompt: str, tokens: Sequence[int]) -> str:
    """Return the prompt with each image's placeholder once for each of its tokens.

    Args:
        family: the checkpoint's model family.
        processor: the checkpoint's.
        prompt: with one placeholder an image.
        tokens: how many tokens each image has.

    Raises:
        PlaceholderError: other than one placeholder for each image.
    """
    first, *rest = prompt.split(processor.image_token)
    if len(rest) != len(tokens):
        raise PlaceholderError(
            f"the prompt has {len(rest)} times {processor.image_token!r}, but {_pictures(len(tokens))}"
        )
    images = (family.placeholder(processor, n) for n in tokens)
    return first + "".join(image + part for image, part in zip(images, rest, strict=True))


def prompt_ids(family: "MultimodalFamily", processor: Any, prompt: str, tokens: Sequence[int]) -> list[int]:
    """Return the ids of a prompt, the image token's once for each token of its images.

    The text is tokenized with one token an image: image tokens are cut out before words are looked at, so
    what is between them doesn't depend on how many they are. A processor for which it does is refused when it
    is loaded.

    Args:
        family: the checkpoint's model family.
        processor: the checkpoint's.
        prompt: with one placeholder an image.
        tokens: how many tokens each image has.

    Raises:
        PlaceholderError: other than one placeholder for each image.
    """
    text = expand_images(family, processor, prompt, [1] * len(tokens))
    counts, image = iter(tokens), processor.image_token_id
    return [
        one
        for token in token_ids(processor.tokenizer, text)
        for one in ([token] * next(counts) if token == image else [token])
    ]


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
