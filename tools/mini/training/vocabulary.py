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

# The text tower pools at the highest token, as CLIP's does.
CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")
CLIP_TOKENS = (*TOKENS, *CLIP_ENDS)
CLIP_BEGIN, CLIP_END = (CLIP_TOKENS.index(end) for end in CLIP_ENDS)

# The Qwen2.5-VL miniature has the same words; what frames a conversation takes the places of `SPECIAL`.
QWEN_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "<|image_pad|>", "user", "assistant"),
    *("system", "You are a helpful assistant.", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
)
QWEN_TOKENS = (*QWEN_SPECIAL[: len(SPECIAL)], *TOKENS[len(SPECIAL) :], *QWEN_SPECIAL[len(SPECIAL) :])


def _pattern(special: tuple[str, ...]) -> str:
    """What a text is cut into."""
    fixed = sorted((*special, *INSTRUCTIONS, *CHINESE), key=len, reverse=True)
    return "|".join(
        [
            *(re.escape(piece).replace("\\ ", " ") for piece in fixed),
            r"[A-E][.:]",
            r"[A-Za-z]?[a-z]+",
            r"[0-9A-Z%]",
            r"\S",
        ]
    )


PATTERN = _pattern(SPECIAL)
_PIECES = re.compile(PATTERN)


def encode(text: str) -> list[int]:
    """Token ids of `text`, the way the saved tokenizer makes them (a test holds the two together)."""
    return [ID.get(piece, UNKNOWN) for piece in _PIECES.findall(text)]


def prompt_ids(prompt: str) -> list[int]:
    """Ids of what follows the image in the conversation, up to and including "ASSISTANT:"."""
    return [*encode(prompt), ASSISTANT]


def build_tokenizer():
    """The fast tokenizer of the LLaVA miniatures."""
    return _tokenizer(
        TOKENS,
        PATTERN,
        begins=True,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>", "USER:", "ASSISTANT:"],
    )


def build_qwen_tokenizer():
    """The fast tokenizer of the Qwen2.5-VL miniature; it puts no token before a text, as Qwen's doesn't."""
    marks = [token for token in QWEN_SPECIAL if token.startswith("<|") and token != "<|endoftext|>"]
    return _tokenizer(
        QWEN_TOKENS,
        _pattern(QWEN_SPECIAL),
        begins=False,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=marks,
    )


def build_clip_tokenizer():
    """The tokenizer of the text tower beside the miniature: a caption has a beginning and an end."""
    return _tokenizer(
        CLIP_TOKENS,
        _pattern((*SPECIAL, *CLIP_ENDS)),
        begins=True,
        bos_token=CLIP_ENDS[0],
        eos_token=CLIP_ENDS[1],
        pad_token="<pad>",
        ends=True,
    )


def _tokenizer(tokens: tuple[str, ...], pattern: str, begins: bool, ends: bool = False, **special):
    """A fast tokenizer of whole words; `begins`, `ends`: every text has the token that says so."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    isolate = pre_tokenizers.Split(Regex(pattern), "isolated")
    blanks = pre_tokenizers.Split(Regex(r"\A\s+\z"), "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([isolate, blanks])
    if begins:
        marks = [special["bos_token"], *([special["eos_token"]] if ends else [])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{marks[0]} $A {marks[1]}" if ends else f"{marks[0]} $A",
            special_tokens=[(mark, ids[mark]) for mark in marks],
        )
    # Words are set apart by a space, characters are not: "top left" but "4B7".
    space = decoders.Replace(Regex(r"^(?=[A-Za-z]?[a-z]+$)"), " ")
    tokenizer.decoder = decoders.Sequence([space, decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **special,
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
