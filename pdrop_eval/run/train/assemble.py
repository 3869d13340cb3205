r"""Puts a language model and a CLIP tower together to the LLaVA from which projector pretraining starts.

    python -m pdrop_eval.run.train.assemble --decoder lmsys/vicuna-7b-v1.5 \
        --vision openai/clip-vit-large-patch14-336 --out checkpoints/llava_1_5_7b_start

The projector is new, from the seed. Everything else is taken over as it is; the words <image> and <pad> are
added where they are missing. Takes the memory of both models in bfloat16, 14 GB for Vicuna-7B.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pdrop_eval.models import families
from pdrop_eval.models.family import MultimodalFamily
from pdrop_eval.models.pictures.tiling import GRIDS
from pdrop_eval.models.prompts import system_prompt
from pdrop_eval.run.train.machine.disk import writing_to_disk
from pdrop_eval.utils.errors import UserError

IMAGE, PAD = "<image>", "<pad>"
_MULTIPLE = 64  # the vocabulary is filled up to it, as in llava-hf's conversions
CHAT_TEMPLATE = (
    f"{{{{ {system_prompt('vicuna')!r} + ' ' }}}}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' }}{% else %}{{ 'ASSISTANT: ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}{{ ' ' }}{% else %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def assemble(decoder: str, vision: str, out: Path, anyres: str | None = None, seed: int = 0) -> Path:
    """Write a LLaVA-1.5 (or, with grids of tiles, a LLaVA-NeXT) with an untrained projector; returns `out`.

    Args:
        decoder: folder or id of a Llama or Mistral.
        vision: folder or id of a CLIP.
        out: a new folder.
        anyres: "p5" or "p9"; None: a LLaVA-1.5.
        seed: of the projector.

    Raises:
        UserError: models of another kind, a folder that isn't empty.
    """
    import torch

    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} isn't empty. Name a new folder with --out.")
    family = families.of_architecture("llava-1.5" if anyres is None else "llava-next")
    words, tower, tokenizer, images = _load(family, decoder, vision)
    add_words(words, tokenizer)
    words.config.pad_token_id = tokenizer.pad_token_id
    config = family.make_config(words.config, tower.config, tokenizer.convert_tokens_to_ids(IMAGE), anyres)
    with torch.device("meta"):
        model = family.load_class()(config)
    # what is there already takes the place of its outline
    model.model.language_model, model.lm_head, model.model.vision_tower = words.model, words.lm_head, tower
    _new_projector(model, seed)
    model.generation_config = words.generation_config
    model.save_pretrained(out)
    words_of = {"chat_template": CHAT_TEMPLATE, "image_token": IMAGE}
    family.make_processor(config, tokenizer, images, **words_of).save_pretrained(out)
    made = {"decoder": decoder, "vision": vision, "anyres": anyres, "seed": seed}
    (out / "assembled.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return out


def add_words(model: Any, tokenizer: Any) -> None:
    """Give a language model the words <image> and <pad>; their embeddings are the mean of all others."""
    import torch

    missing = [IMAGE] if tokenizer.convert_tokens_to_ids(IMAGE) in (None, tokenizer.unk_token_id) else []
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.unk_token:
        missing.append(PAD)
        tokenizer.pad_token = PAD
    tokenizer.add_tokens(missing, special_tokens=True)
    before = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > before:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=_MULTIPLE, mean_resizing=False)
        with torch.no_grad():
            for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
                weight[before:] = weight[:before].float().mean(0).to(weight.dtype)


def _load(family: MultimodalFamily, decoder: str, vision: str) -> tuple[Any, Any, Any, dict[str, Any]]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel
    from transformers.models.auto.image_processing_auto import get_image_processor_config

    try:
        kinds = [families.type_of(AutoConfig.from_pretrained(name)) for name in (decoder, vision)]
        if kinds[0] not in family.text_types or not family.vision_types[0].startswith(kinds[1]):
            raise UserError(
                f"--decoder is a model of type {kinds[0]!r} and --vision one of type {kinds[1]!r}. Use one "
                f"of {', '.join(family.text_types)}, and a CLIP."
            )
        words = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.bfloat16)
        tower = CLIPVisionModel.from_pretrained(vision, dtype=torch.bfloat16)
        # LLaVA's own code tokenizes what follows <image> apart, so that a space comes first; transformers
        # puts it there only in the behaviour that it calls legacy, and Vicuna's own settings switch that off.
        tokenizer = AutoTokenizer.from_pretrained(decoder, legacy=True)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{decoder} or {vision} can't be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(
            f"{decoder} has no fast tokenizer, which training needs. Convert it to tokenizer.json."
        )
    return words, tower, tokenizer, get_image_processor_config(vision)


def _new_projector(model: Any, seed: int) -> None:
    """Initialise as LLaVA's own code does: torch's linear layers, and a newline of about unit length."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    inner = model.model
    inner.multi_modal_projector.to_empty(device="cpu").to(model.lm_head.weight.dtype)
    for layer in inner.multi_modal_projector.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    if hasattr(inner, "image_newline"):
        width = inner.image_newline.shape[0]
        inner.image_newline = nn.Parameter((torch.randn(width) * width**-0.5).to(model.lm_head.weight.dtype))


def main() -> None:
    """Parse the command line and assemble."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--decoder", required=True, help="folder, or id on the Hugging Face Hub")
    parser.add_argument("--vision", required=True, help="folder, or id on the Hugging Face Hub")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument(
        "--anyres", choices=sorted(GRIDS), help="makes a LLaVA-NeXT with these grids of tiles"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the new projector")
    try:
        asked = parser.parse_args()
        with writing_to_disk(asked.out, goes_on=False):
            out = assemble(**vars(asked))
    except UserError as error:
        parser.error(str(error))
    print(f"The start of a training is in {out}.")


if __name__ == "__main__":
    main()
