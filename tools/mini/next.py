"""The miniature as LLaVA-NeXT: the same weights, told to look at an overview and at the tiles of a grid.

    python -m tools.mini.next --from pdrop_eval/models/checkpoints/mini576 --anyres p9 --out outputs/next_p9

What comes out is where a training starts from, and no model to evaluate: nothing in it has seen a tile yet.
"""

import argparse
from pathlib import Path
from typing import Any

from pdrop_eval.models.pictures.tiling import pinpoints
from pdrop_eval.utils.errors import UserError

TEXT = 512  # tokens of a question and its answer that fit beside the largest picture
# How many times its largest picture a decoder can look back; the base becomes 23 times as large. Before any
# training, mini576 with tiles answered none of 16 questions of TextVQA with its own base, 10 with 8 times it
# and 11 with 24 times; of GQA 9, 12 and 15. They were the first of the suite, which the tables ask, too.
_SPARE = 2.0
_BLANK = 240 / 127.5 - 1  # light grey, as the paper of the rendered pictures, in the processor's units
_SHARED = (
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "projector_hidden_act",
    "multimodal_projector_bias",
    "tie_word_embeddings",
)


def build_next(start: Path | str, anyres: Any) -> tuple[Any, Any]:
    """The LlavaNextForConditionalGeneration and its LlavaNextProcessor, made of a LLaVA-1.5 in a folder.

    `anyres` is "p5", "p9" or a list of resolutions, see `models.tiling`. Tower, projector, decoder,
    tokenizer and chat template are those of `start`, and so is the dtype. Raises UserError if `start` is no
    LLaVA-1.5, or the grids are none.
    """
    import torch
    from transformers import AutoConfig, LlavaForConditionalGeneration, LlavaNextForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    source, config = Path(start), AutoConfig.from_pretrained(start)
    if config.model_type != "llava":
        raise UserError(f"{start} is of type {config.model_type}. Give a folder with a LLaVA-1.5 (llava).")
    grids = pinpoints(anyres, config.vision_config.image_size)
    if grids is None:
        raise UserError("anyres is null: LLaVA-NeXT needs grids. Use p5 or p9.")
    llava = LlavaForConditionalGeneration.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    model = LlavaNextForConditionalGeneration(_config(config, grids)).eval()
    missing, unexpected = model.load_state_dict(llava.state_dict(), strict=False)
    assert (missing, unexpected) == (["model.image_newline"], []), (missing, unexpected)
    with torch.no_grad():
        model.model.image_newline.copy_(_blank_patch(llava))
    model.generation_config = llava.generation_config
    return model.to(config.dtype or torch.float32), _processor(source, grids)


def _config(config: Any, grids: list[list[int]]) -> Any:
    """LLaVA-NeXT's configuration with the parts of a LLaVA-1.5's."""
    from transformers import LlavaNextConfig

    text = config.text_config.to_dict()
    # One of up to eight tiles begins with one of up to four.
    tiled = [*grids, *(pinpoints("p9", config.vision_config.image_size) or [])]
    one, most = _tokens(config.vision_config, tiled)
    positions = _positions(config.vision_config, tiled)
    text["max_position_embeddings"] = max(positions, text["max_position_embeddings"])
    rope = text["rope_parameters"]
    rope["rope_theta"] = round(rope["rope_theta"] * _slower(_SPARE * most / one, text["head_dim"]))
    return LlavaNextConfig(
        vision_config=config.vision_config.to_dict(),
        text_config=text,
        image_token_index=config.image_token_id,
        image_seq_length=config.image_seq_length,
        image_grid_pinpoints=grids,
        **{name: getattr(config, name) for name in _SHARED},
    )


def _tokens(vision: Any, grids: list[list[int]]) -> tuple[int, int]:
    """The image tokens of LLaVA-1.5, and of the overview with the largest grid and its newlines."""
    side = vision.image_size // vision.patch_size
    most = max(
        (height // vision.image_size) * side * ((width // vision.image_size) * side + 1)
        for height, width in grids
    )
    return side**2, side**2 + most


def _positions(vision: Any, grids: list[list[int]]) -> int:
    """Positions for the largest picture and a question: a power of two."""
    return 1 << (_tokens(vision, grids)[1] + TEXT - 1).bit_length()


def _slower(longer: float, head_dim: int) -> float:
    """What RoPE's base is multiplied by, so that inputs `longer` times as long turn its slowest pair as far.

    The decoder then knows the distance from a question back to the overview, as it knew that to the only
    picture; the fast pairs, that tell neighbours apart, turn nearly as before. This is "NTK-aware"
    interpolation (YaRN, arXiv 2309.00071, section 3.1).
    """
    return float(longer ** (head_dim / (head_dim - 2)))


def _blank_patch(llava: Any) -> Any:
    """The mean embedding of a blank picture's patches: [hidden].

    LLaVA-NeXT puts `image_newline` after each row of patches. So it begins as a patch without contents, which
    the decoder knows already, and not as noise.
    """
    import torch

    side = llava.config.vision_config.image_size
    pixels = torch.full((1, 3, side, side), _BLANK)
    with torch.no_grad():
        return llava.get_image_features(pixels).pooler_output[0].mean(0)


def _processor(source: Path, grids: list[list[int]]) -> Any:
    """The processor: each tile is resized and normalised as LLaVA-1.5's processor does with a picture."""
    from transformers import AutoProcessor, LlavaNextImageProcessor, LlavaNextProcessor

    llava = AutoProcessor.from_pretrained(source)
    images = llava.image_processor
    side = {"height": images.size["height"], "width": images.size["width"]}
    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size=side,
            crop_size=side,
            do_center_crop=False,
            image_mean=images.image_mean,
            image_std=images.image_std,
            resample=images.resample,
            image_grid_pinpoints=grids,
        ),
        tokenizer=llava.tokenizer,
        patch_size=llava.patch_size,
        vision_feature_select_strategy=llava.vision_feature_select_strategy,
        num_additional_image_tokens=llava.num_additional_image_tokens,
        chat_template=llava.chat_template,
    )


def save_next(start: Path | str, anyres: Any, out: Path) -> Path:
    """Writes what `build_next` builds in Hugging Face format; returns `out`."""
    model, processor = build_next(start, anyres)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out, safe_serialization=True)
    processor.save_pretrained(out)
    return out


def main() -> None:
    """Parse the command line and write the model."""
    parser = argparse.ArgumentParser(description="A LLaVA-NeXT miniature made of the LLaVA-1.5 one.")
    parser.add_argument("--from", dest="start", type=Path, required=True, help="folder of the LLaVA-1.5")
    parser.add_argument("--anyres", required=True, help="grids of tiles: p5 or p9")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        print(save_next(options.start, options.anyres, options.out))
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
