"""A checkpoint's processor: loaded, completed from the model's config, and tried with pictures.

Needs no weights, so that the doctor and a run refuse the same checkpoints, before anything large is read.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.processing_utils import ProcessorMixin

from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.loading.chat_templates import settle_template
from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.models.loading.shapes import outline
from pdrop_eval.models.pictures.image_bounds import NO_BOUNDS, ImageBounds
from pdrop_eval.models.prompts import begins_with_bos, build_prompt, prompt_ids
from pdrop_eval.utils.errors import UserError

# What transformers raises where a checkpoint's files are missing or damaged.
UNREADABLE = (
    OSError, ImportError, ValueError, TypeError, AttributeError, LookupError, RuntimeError,
    StrictDataclassError,
)  # fmt: skip
_PROBES = ((640, 400), (300, 470))  # (width, height): no squares, so that cuts and paddings show
_QUESTION = "What is it?"


def load_processor(
    pretrained: str, family: MultimodalFamily, revision: str | None, trust_remote_code: bool,
    anyres: Any = None, chat_template: str | None = None, bounds: ImageBounds = NO_BOUNDS,
) -> Any:  # fmt: skip
    """Return a checkpoint's processor, padding on the left, that counts image tokens as the model does.

    What its files don't say is filled in from the model's config: processors of 2024 left it to the model.

    Args:
        pretrained: a folder, an id on the Hub, or "embedded".
        family: the checkpoint's model family.
        revision: a branch, tag or commit on the Hub; None: main.
        trust_remote_code: whether code of the checkpoint may run.
        anyres: replaces the grids of a family that cuts images into tiles (see `models.tiling`).
        chat_template: the template of the prompts (see `models.prompts`); None: they have none.
        bounds: of the size of pictures.

    Raises:
        UserError: a processor that can't be loaded or doesn't fit the model, a template that can't be used.
    """
    source = str(resolve_checkpoint(pretrained))
    common = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    try:
        config = family.load_class().config_class.from_pretrained(source, revision=common["revision"])
        processor = _load(source, config, common)
        _complete(processor, family, config, source, common["revision"])
        family.set_anyres(anyres, config, processor.image_processor)
        family.set_bounds(bounds, config, processor.image_processor)
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"  # the last prompt token of every row is then at the same place
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model = outline(family, config)
    except UNREADABLE as error:
        raise unloadable(pretrained, family, error) from error
    if chat_template in ("checkpoint", "lmms"):
        settle_template(processor, pretrained)
    _try(processor, family, model, pretrained, chat_template or "vicuna")
    return processor


def unloadable(pretrained: str, family: MultimodalFamily, error: Exception) -> UserError:
    """Return the error of a checkpoint that transformers can't load."""
    return UserError(
        f"The checkpoint {pretrained} can't be loaded: {error} It needs config.json, *.safetensors, a "
        f"tokenizer and a processor, as {family.model_class}.save_pretrained and its processor's "
        "save_pretrained write them."
    )


class Processed(NamedTuple):
    """What a processor makes of one image.

    Attributes:
        pixels: the `processor_inputs` of the family.
        tokens: how many stand for it in a prompt.
    """

    pixels: dict[str, Tensor]
    tokens: int


def process_image(
    family: MultimodalFamily, processor: Any, image: Image.Image, tokens: int | None = None
) -> Processed:
    """Return what a processor makes of one image.

    Args:
        family: the checkpoint's model family.
        processor: the checkpoint's.
        image: in RGB.
        tokens: how many stand for an image of this size, where that is known: they are then not counted.
    """
    if tokens is None or not _takes_images_alone(processor):
        found = processor(text=processor.image_token, images=[image], return_tensors="pt")
        tokens = int((found["input_ids"] == processor.image_token_id).sum())
    else:
        found = processor(images=[image], return_tensors="pt")
    pixels = {name: found[name] for name in family.processor_inputs if name in found}
    return Processed(pixels, tokens)


def _takes_images_alone(processor: Any) -> bool:
    """Tell whether a processor can be given no text: the older ones, and some of one's own, look into it."""
    usual: Any = ProcessorMixin
    return hasattr(usual, "_process_images") and type(processor).__call__ is usual.__call__


def _load(source: str, config: Any, common: Mapping[str, Any]) -> Any:
    processor = AutoProcessor.from_pretrained(source, **common)
    if not all(hasattr(processor, name) for name in ("image_processor", "tokenizer", "image_token")):
        # Old files name no class, or that of CLIP: what is found then is a part, or another model's.
        usual: Any = PROCESSOR_MAPPING[type(config)]
        processor = usual.from_pretrained(source, **common)
    return processor


def _complete(processor: Any, family: MultimodalFamily, config: Any, source: str, revision: Any) -> None:
    """Set what the model's config says, where the processor's own files say nothing."""
    written, _ = type(processor).get_processor_dict(source, revision=revision)
    needed = family.processor_values(config)
    # Where nothing but a later version's default of 0 stands, that wasn't meant either.
    none_meant = not any(written.get(name) for name in needed)
    for name, value in needed.items():
        if none_meant or written.get(name) is None:
            setattr(processor, name, value)
    images = family.image_processor_values(config)
    written = ImageProcessingMixin.get_image_processor_dict(source, revision=revision)[0] if images else {}
    for name, value in images.items():
        if written.get(name) is None:
            setattr(processor.image_processor, name, value)


def _try(processor: Any, family: MultimodalFamily, model: Any, pretrained: str, template: str) -> None:
    """Put pictures through the processor, the model's outline and our own prompt; all must agree."""
    config = model.config
    if processor.image_token_id != config.image_token_id:
        raise UserError(
            f"The processor of {pretrained} writes {processor.image_token!r}, id {processor.image_token_id}, "
            f"for an image, and the model's config.json has the image token {config.image_token_id}. Set "
            "image_token in processor_config.json and image_token_index in config.json to the same token."
        )
    for size in _PROBES:
        problem = _problem(processor, family, model, Image.new("RGB", size, (200, 120, 40)), template)
        if problem:
            differing = "; ".join(_differing(processor, family, config))
            fix = f"Correct {differing}" if differing else "Use the processor that was published with it"
            raise UserError(f"The processor of {pretrained} doesn't fit its model: {problem}. {fix}.")


def _problem(
    processor: Any, family: MultimodalFamily, model: Any, image: Image.Image, template: str
) -> str | None:
    """What is wrong with what a processor makes of an image; None: nothing."""
    what = f"an image of {image.width}x{image.height} pixels"
    prompt = build_prompt(template, processor, _QUESTION, 1, family.lmms_system)
    special = not begins_with_bos(processor.tokenizer, prompt)
    try:  # code of a checkpoint's choice: it may end in any way
        pixels, tokens = process_image(family, processor, image)
        found = processor(text=prompt, images=[image], add_special_tokens=special, return_tensors="pt")
    except Exception as error:
        return f"it can't take {what} ({_words(error)})"
    try:
        own = family.count_tokens(model, pixels)
    except Exception as error:
        return f"the model can't take what it makes of {what} ({_words(error)})"
    if tokens != own:
        return f"it counts {tokens:,} tokens for {what}, of which the model makes {own:,}"
    ours = prompt_ids(family, processor, prompt, [tokens])
    if ours != found["input_ids"][0].tolist():
        return f"it puts other tokens between those of {what} than {family.display_name} has"
    return None


def _differing(processor: Any, family: MultimodalFamily, config: Any) -> Iterator[str]:
    """Each value of a processor that isn't what the model's config implies."""
    for holder, file, values in (
        (processor, "processor_config.json", family.processor_values(config)),
        (processor.image_processor, "the image processor's config", family.image_processor_values(config)),
    ):
        for name, value in values.items():
            found = getattr(holder, name, None)
            if found != value:
                yield f"{name}={found!r} in {file}: by config.json it is {value!r}"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
