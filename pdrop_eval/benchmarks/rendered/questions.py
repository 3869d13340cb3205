"""Facts about a picture in the words of the sixteen benchmarks, with the patches that hold the answer.

`fields` are the columns that the benchmark's data set has for the question; `prompt` is the text that
lmms-eval makes of them for a LLaVA model. A test holds the two together, so that the miniature is trained on
the very prompts with which it is evaluated.
"""

from dataclasses import dataclass, field
from random import Random

from pdrop_eval.benchmarks.rendered.canvas import SHAPES
from pdrop_eval.benchmarks.rendered.facts import Fact, facts
from pdrop_eval.benchmarks.rendered.pictures import Picture

SHORT = "Answer the question using a single word or phrase."
WORD = "Answer the question with a single word."
LETTER = "Answer with the option's letter from the given choices directly."
STAR_LETTER = "Answer with the option's letter from the given choices directly"  # MMStar: no full stop
CN_LETTER = "请直接使用所提供的选项字母作为答案回答。"
OPTIONS = "There are several options:"
STAR_OPTIONS = "Options:"
INSUFFICIENT = "When the provided information is insufficient, respond with 'Unanswerable'."
REASON = (
    "First please perform reasoning, and think step by step to provide best answer to the following question:"
)

# Which facts each benchmark asks for, without their form.
ASKED = {
    "gqa": {"color", "shape", "side", "order", "neighbour"},
    "vqav2": {"color", "shape", "count", "order", "more"},
    "textvqa": {"text", "print"},
    "chartqa": {"value", "extreme", "print"},
    "docvqa": {"entry", "print"},
    "infovqa": {"title", "percentage", "extreme", "print"},
    "ocrvqa": {"title", "author", "genre", "related", "print"},
    "vizwiz": {"color", "text"},
    "mmvet": {"color", "shape", "part", "neighbour", "count", "text", "value", "extreme", "entry", "title"},
}
CAPABILITIES = {
    "color": "rec", "shape": "rec", "part": "rec,spat", "neighbour": "rec,spat", "count": "rec,math",
    "text": "ocr,spat", "value": "ocr,spat", "extreme": "ocr,math", "entry": "ocr", "title": "ocr",
}  # fmt: skip
# MMStar's categories, in its own names; what is asked under them is rendered, not science.
STAR = {
    "scene": ("coarse perception", "image scene and topic"),
    "color": ("fine-grained perception", "recognition"),
    "part": ("fine-grained perception", "localization"),
    "shape": ("instance reasoning", "single-instance reasoning"),
    "neighbour": ("instance reasoning", "cross-instance relation reasoning"),
    "extreme": ("logical reasoning", "diagram reasoning"),
    "percentage": ("science & technology", "geography & earth science & agriculture"),
    "genre": ("science & technology", "biology & chemistry & physics"),
    "count": ("math", "numeric commonsense and calculation"),
    "value": ("math", "statistical reasoning"),
}
# SEED-Bench's question types, by number.
SEED = {"scene": 1, "shape": 2, "color": 3, "part": 4, "count": 5, "neighbour": 6, "extreme": 8, "text": 9,
        "value": 9, "entry": 9, "title": 9}  # fmt: skip
FORMS = ("scienceqa_img", "mmbench_en_dev", "mmbench_cn_dev", "seedbench", "mmstar")
FORM_KINDS = {
    "scienceqa_img": {"color", "shape", "extreme", "count"},
    "mmbench_en_dev": {"color", "shape", "part", "count", "neighbour", "scene", "extreme", "text"},
    "seedbench": set(SEED),
    "mmstar": set(STAR),
}


@dataclass(frozen=True)
class Question:
    """One question.

    `task` is the lmms-eval task, or "train" for exercises that no benchmark asks. `evidence` has a patch for
    each token of the answer (empty: nothing in particular to look at); `option` is the place of the right
    option among the options in the prompt, or None; `small` marks what only small print says.
    """

    task: str
    prompt: str
    answer: str
    fields: dict = field(default_factory=dict)
    evidence: tuple[int, ...] = ()
    option: int | None = None
    small: bool = False
    kind: str = ""


def ask(task: str, fact: Fact, suffix: str = SHORT, prefix: str = "", **fields) -> Question:
    """A fact as an open question."""
    prompt = "\n".join(part for part in (prefix, fact.text, suffix) if part)
    given = {"question": fact.text, "answer": fact.answer, **fields}
    return Question(task, prompt, fact.answer, given, fact.evidence, small=fact.small, kind=fact.kind)


def open_questions(rng: Random, picture: Picture) -> list[Question]:
    """The picture's questions in the form of the benchmarks with open answers."""
    known = facts(rng, picture)
    made = []
    for fact in known:
        asked = [name for name, kinds in ASKED.items() if fact.kind in kinds]
        tasks = _OPEN[picture.kind]
        made += [_FORM_OF[name](fact) for name in asked if name in tasks]
    return made


def _chartqa(fact: Fact) -> Question:
    split = "human_test" if fact.kind == "extreme" else "augmented_test"
    return ask("chartqa", fact, WORD, type=split)


_FORM_OF = {
    "gqa": lambda fact: ask("gqa", fact),
    "vqav2": lambda fact: ask("vqav2_val", fact),
    "textvqa": lambda fact: ask("textvqa_val", fact),
    "chartqa": _chartqa,
    "docvqa": lambda fact: ask("docvqa_val", fact),
    "infovqa": lambda fact: ask("infovqa_val", fact),
    "ocrvqa": lambda fact: ask("ocrvqa", fact),
    "vizwiz": lambda fact: ask("vizwiz_vqa_val", fact, f"{INSUFFICIENT}\n{SHORT}"),
    "mmvet": lambda fact: ask("mmvet", fact, "", REASON, capability=CAPABILITIES[fact.kind]),
}
# The benchmarks that ask about a kind of picture.
_OPEN = {
    "objects": ("gqa", "vqav2", "mmvet"),
    "signs": ("textvqa", "mmvet"),
    "chart": ("chartqa", "mmvet"),
    "page": ("docvqa", "mmvet"),
    "poster": ("infovqa", "mmvet"),
    "cover": ("ocrvqa", "mmvet"),
    "photo": ("vizwiz",),
}


def _choices(rng: Random, answer: str, others: tuple[str, ...], count: int) -> tuple[list[str], int]:
    """The answer among `count - 1` others in random order, and its place."""
    wrong = [other for other in others if other != answer]
    options = [answer, *rng.sample(wrong, min(count - 1, len(wrong)))]
    rng.shuffle(options)
    return options, options.index(answer)


def choose(rng: Random, form: str, fact: Fact) -> Question | None:
    """A fact as a multiple-choice question in a benchmark's form; None if it doesn't suit that benchmark."""
    text, answer, others = fact.text, fact.answer, fact.others
    if form == "mmbench_cn_dev":
        if fact.chinese is None:
            return None
        text, answer, others = fact.chinese
    elif fact.kind not in FORM_KINDS[form]:
        return None
    count = rng.choice((3, 4)) if form == "scienceqa_img" else 4
    if len({*others} - {answer}) < (2 if form == "scienceqa_img" else 3):
        return None
    options, place = _choices(rng, answer, others, count)
    prompt, fields = _WRITE[form](text, options, place, fact)
    return Question(form, prompt, "ABCD"[place], fields, fact.evidence[:1], place, kind=fact.kind)


def _lines(options: list[str]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False)]


def _science(text: str, options: list[str], place: int, _: Fact) -> tuple[str, dict]:
    fields = {"question": text, "choices": options, "answer": place, "hint": ""}
    return "\n".join([text, *_lines(options), LETTER]), fields


def _mmbench(last: str):
    def write(text: str, options: list[str], place: int, _: Fact) -> tuple[str, dict]:
        fields = {"question": text, "answer": "ABCD"[place], **dict(zip("ABCD", options, strict=True))}
        return "\n".join([f"{text} {OPTIONS}", *_lines(options), "", last]), fields

    return write


def _seed(text: str, options: list[str], place: int, fact: Fact) -> tuple[str, dict]:
    letters = (f"choice_{letter}" for letter in "abcd")
    fields = {"question": text, "answer": "ABCD"[place], **dict(zip(letters, options, strict=True))}
    return "\n".join([text, *_lines(options), LETTER]), {**fields, "question_type_id": SEED[fact.kind]}


def _mmstar(text: str, options: list[str], place: int, fact: Fact) -> tuple[str, dict]:
    listed = ", ".join(f"{letter}: {option}" for letter, option in zip("ABCD", options, strict=True))
    asked = f"{text}\n{STAR_OPTIONS} {listed}"
    names = dict(zip(("category", "l2_category"), STAR[fact.kind], strict=True))
    return f"{asked}\n{STAR_LETTER}", {"question": asked, "answer": "ABCD"[place], **names}


_WRITE = {
    "scienceqa_img": _science,
    "mmbench_en_dev": _mmbench(LETTER),
    "mmbench_cn_dev": _mmbench(CN_LETTER),
    "seedbench": _seed,
    "mmstar": _mmstar,
}


def multiple_choice(rng: Random, picture: Picture, form: str) -> list[Question]:
    """All multiple-choice questions about a picture in one benchmark's form."""
    found = [choose(rng, form, fact) for fact in facts(rng, picture) if not fact.small]
    return [question for question in found if question]


def pope(rng: Random, picture: Picture, present: bool, category: str) -> Question | None:
    """Is there such a shape? None if the picture has no fitting one.

    Adversarial questions name a color and a shape that are both in the picture, together or not; the others
    name a shape alone.
    """
    pairs = {(item.color, item.thing): item.patch for item in picture.items}
    colors, things = sorted({color for color, _ in pairs}), sorted({thing for _, thing in pairs})
    patches: tuple[int, ...] = ()
    if category == "adversarial":
        absent = [(color, thing) for color in colors for thing in things if (color, thing) not in pairs]
        if not present and not absent:
            return None
        named = rng.choice([(i.color, i.thing) for i in picture.items] if present else absent)
        name = " ".join(named)
        patches = (pairs[named],) if present else ()
    else:
        names = things if present else [shape for shape in SHAPES if shape not in things]
        if not names:
            return None
        name = rng.choice(names)
        patches = tuple(item.patch for item in picture.items if item.thing == name)[:1]
    fact = Fact("existence", f"Is there a {name} in the image?", "yes" if present else "no", (), patches)
    return ask("pope", fact, category=category)


POPE_CATEGORIES = ("random", "popular", "adversarial")
