"""The miniature's tokenizer: words, fixed instructions, and what is to be read character by character."""

import re
from random import Random

from pdrop_eval.benchmarks.rendered.canvas import BAR, CHARACTERS, COLORS, KEYS, PARTS, SHAPES
from pdrop_eval.benchmarks.rendered.claims import NUMBERS
from pdrop_eval.benchmarks.rendered.facts import CN_COLORS, CN_SHAPES, PLURALS, SCENES, UNANSWERABLE
from pdrop_eval.benchmarks.rendered.pictures import GENRES, KINDS, SMALL_KEYS
from pdrop_eval.benchmarks.rendered.questions import (
    CN_LETTER,
    INSUFFICIENT,
    LETTER,
    OPTIONS,
    REASON,
    SHORT,
    STAR_LETTER,
    STAR_OPTIONS,
    WORD,
)

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:")
PAD, BOS, EOS, UNKNOWN, IMAGE, USER, ASSISTANT = range(len(SPECIAL))
# The benchmarks' fixed instructions are one token each: they say the same thing every time.
INSTRUCTIONS = (SHORT, WORD, LETTER, STAR_LETTER, OPTIONS, STAR_OPTIONS, CN_LETTER, INSUFFICIENT, REASON)
LETTERS = tuple(f"{letter}{mark}" for mark in ".:" for letter in "ABCDE")
_ENGLISH = """Is there a in the image this What color is shape object objects On on which side of left right
 top bottom part Which bar highest lowest value written next to text option Are Does show yes no above How
 many are more than small print percentage shown year book Who wrote genre related In was printed does"""
_CHINESE = ("是", "什么", "颜色", "的", "图形", "形状", "哪个", "选项", "最高", "最低", "柱子")

_NAMES = (*COLORS, *SHAPES, BAR, *KEYS, *PARTS, *NUMBERS, *PLURALS.values(), *GENRES.values(), *SMALL_KEYS)
ENGLISH = tuple(sorted({*_NAMES, *_ENGLISH.split(), *SCENES.values(), UNANSWERABLE}))
CHINESE = (*CN_COLORS.values(), *CN_SHAPES.values(), *_CHINESE)
TOKENS = (*SPECIAL, *CHARACTERS, *LETTERS, *".,?:'？", *INSTRUCTIONS, *CHINESE, *ENGLISH)
ID = {token: i for i, token in enumerate(TOKENS)}
assert len(ID) == len(TOKENS)

_FIXED = sorted((*SPECIAL, *INSTRUCTIONS, *CHINESE), key=len, reverse=True)
PATTERN = "|".join(
    [
        *(re.escape(piece).replace("\\ ", " ") for piece in _FIXED),
        r"[A-E][.:]",
        r"[A-Za-z]?[a-z]+",
        r"[0-9A-Z%]",
        r"\S",
    ]
)
_PIECES = re.compile(PATTERN)


def encode(text: str) -> list[int]:
    """Token ids of `text`, the way the saved tokenizer makes them (a test holds the two together)."""
    return [ID.get(piece, UNKNOWN) for piece in _PIECES.findall(text)]


def prompt_ids(prompt: str) -> list[int]:
    """Ids of what follows the image in the conversation, up to and including "ASSISTANT:"."""
    return [*encode(prompt), ASSISTANT]


def build_tokenizer():
    """The fast tokenizer, with the conversation's chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(ID, unk_token="<unk>"))
    isolate = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    blanks = pre_tokenizers.Split(Regex(r"\A\s+\z"), "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([isolate, blanks])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    # Words are set apart by a space, characters are not: "top left" but "4B7".
    space = decoders.Replace(Regex(r"^(?=[A-Za-z]?[a-z]+$)"), " ")
    tokenizer.decoder = decoders.Sequence([space, decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>", "USER:", "ASSISTANT:"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def sample_prompts(seed: int, pictures: int) -> list[str]:
    """Prompts and answers of some training pictures, to check the vocabulary against."""
    from tools.mini.training.lessons import training_questions

    found = []
    for kind, draw in KINDS.items():
        for i in range(pictures):
            rng = Random(f"{seed}:{kind}:{i}")
            found += [f"{q.prompt} ASSISTANT: {q.answer}" for q in training_questions(rng, draw(rng))]
    return found
