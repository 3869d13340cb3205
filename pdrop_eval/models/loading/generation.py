"""A checkpoint's generation_config.json: what of it would change answers. Needs no torch.

The benchmark says how answers are made, and the checkpoint only which tokens begin and end them; anything
else of it would be taken by transformers without a word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.weights import read_object
from pdrop_eval.utils.errors import UserError

FILE = "generation_config.json"
CHECKPOINT = "checkpoint"
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
# Always the benchmark's, and what doesn't change an answer.
_NOT_TAKEN = (
    *TOKEN_IDS, "max_new_tokens", "max_length", "num_beams", "do_sample", "temperature", "top_p", "top_k",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "transformers_version", "renormalize_logits", "remove_invalid_values",
)  # fmt: skip
_NEUTRAL: Mapping[str, Any] = {
    "use_cache": True, "min_length": 0, "min_new_tokens": 0, "num_return_sequences": 1, "num_beam_groups": 1,
    "repetition_penalty": 1, "encoder_repetition_penalty": 1, "length_penalty": 1, "diversity_penalty": 0,
    "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "typical_p": 1, "epsilon_cutoff": 0,
    "eta_cutoff": 0, "cache_implementation": "dynamic",
}  # fmt: skip
# What an evaluation can't take over, because each question has one answer and layers differ in length.
_IMPOSSIBLE = (
    "num_return_sequences", "use_cache", "prefill_chunk_size", "prompt_lookup_num_tokens",
    "assistant_early_exit", "use_mtp", "num_beam_groups",
)  # fmt: skip


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the settings of a checkpoint's generation_config.json that would change answers.

    Raises:
        UserError: a damaged file.
    """
    path = folder / FILE
    found = read_object(path) if path.is_file() else {}
    return {
        name: value
        for name, value in found.items()
        if name not in _NOT_TAKEN and not name.startswith("_") and not _is_neutral(name, value)
    }


def check_generation(choice: str | None, settings: Mapping[str, Any]) -> None:
    """Refuse to take over settings that an evaluation can't have.

    Args:
        choice: `model.generation`: None, or "checkpoint".
        settings: of the checkpoint, see `settings_of`.

    Raises:
        UserError: with the setting to take out.
    """
    if choice not in (None, CHECKPOINT):
        raise UserError(f"model.generation={choice} is not allowed: use checkpoint, or null.")
    if choice is None:
        return
    caches = settings.get("cache_implementation") not in (None, "dynamic", "offloaded")
    wrong = [name for name in _IMPOSSIBLE if name in settings] + ["cache_implementation"] * caches
    if wrong:
        raise UserError(
            f"model.generation=checkpoint can't take over {wrong[0]}={settings[wrong[0]]!r} of "
            f"{FILE}: each question has one answer, and layers hold different numbers of tokens. Take it out "
            "of the file, or use model.generation=null."
        )


def left_out(settings: Mapping[str, Any]) -> str:
    """Return the warning about settings of a checkpoint that aren't taken over."""
    named = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return (
        f"The checkpoint's {FILE} has {named}, which would change answers and is left out: the benchmark's "
        "settings count. model.generation=checkpoint takes it over."
    )


def _is_neutral(name: str, value: Any) -> bool:
    if value is None or value in ([], {}):
        return True
    return value == _NEUTRAL[name] if name in _NEUTRAL else value is False
