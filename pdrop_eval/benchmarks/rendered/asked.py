"""The endless stream of pictures and questions of each benchmark, from other random numbers than training."""

from collections.abc import Callable, Iterator
from itertools import count
from random import Random

from pdrop_eval.benchmarks.rendered import pictures, questions
from pdrop_eval.benchmarks.rendered.claims import KINDS as MME_KINDS
from pdrop_eval.benchmarks.rendered.claims import MME_CATEGORIES, mme_pair
from pdrop_eval.benchmarks.rendered.pictures import Picture
from pdrop_eval.benchmarks.rendered.questions import FORMS, POPE_CATEGORIES, Question

Asked = tuple[Picture, Question, int]

# What each benchmark's pictures are, drawn in turn, and how many questions it asks about one.
PICTURES = {
    "gqa": ("objects", 2),
    "vqav2_val": ("objects", 2),
    "textvqa_val": ("signs", 1),
    "chartqa": ("chart", 2),
    "docvqa_val": ("page", 2),
    "infovqa_val": ("poster", 2),
    "ocrvqa": ("cover", 2),
    "vizwiz_vqa_val": ("photo", 1),
    "mmvet": ("objects signs chart page poster cover", 1),
    "scienceqa_img": ("objects objects chart poster", 1),
    "mmbench_en_dev": ("objects objects signs chart", 1),
    "mmbench_cn_dev": ("objects objects objects chart", 1),
    "seedbench": ("objects objects signs chart page poster", 1),
    "mmstar": ("objects objects chart poster cover", 1),
}
SMALL_SHARE = 0.25  # of the questions of a benchmark that has some about small print
SUITE = "suite"  # names the random numbers of the questions that are evaluated
SCENE_SHARE = 0.2  # of the pictures may be asked what kind they are: it can be asked of all


def _stream(task: str, stream: str) -> Iterator[tuple[int, Random]]:
    """The task's endless random generators, one an image."""
    return ((i, Random(f"{stream}:{task}:{i}")) for i in count())


def _varied(rng: Random, found: list[Question], number: int) -> list[Question]:
    """Some of the questions, first one of each kind; a share of them about small print."""
    small, large = ([q for q in found if q.small is wanted] for wanted in (True, False))
    chosen: list[Question] = []
    while len(chosen) < number and (small or large):
        group = small if small and (not large or rng.random() < SMALL_SHARE) else large
        fresh = {q.kind for q in group} - {q.kind for q in chosen} or {q.kind for q in group}
        if fresh != {"scene"} and rng.random() > SCENE_SHARE:
            fresh -= {"scene"}
        kind = rng.choice(sorted(fresh))
        chosen.append(rng.choice([q for q in group if q.kind == kind]))
        group.remove(chosen[-1])
    return chosen


def _from_pictures(task: str, stream: str) -> Iterator[Asked]:
    """A benchmark's questions about one picture after the other."""
    kinds, per_picture = PICTURES[task]
    names = kinds.split()
    for i, rng in _stream(task, stream):
        picture = pictures.KINDS[names[i % len(names)]](rng)
        if task in FORMS:
            found = questions.multiple_choice(rng, picture, task)
        else:
            found = [q for q in questions.open_questions(rng, picture) if q.task == task]
        if len(found) >= per_picture:
            yield from ((picture, question, i) for question in _varied(rng, found, per_picture))


def _mme(task: str, stream: str) -> Iterator[Asked]:
    """Pairs of yes and no about one picture, the categories in turn."""
    for i, rng in _stream(task, stream):
        category = MME_CATEGORIES[i % len(MME_CATEGORIES)]
        kind = MME_KINDS[category]
        kind = rng.choice([k for k in pictures.KINDS if k != "photo"]) if kind == "any" else kind
        pair: list[Question] = []
        while not pair:
            picture = pictures.KINDS[kind](rng)
            pair = mme_pair(rng, picture, category)
        rng.shuffle(pair)
        yield from ((picture, question, i) for question in pair)


def _pope(task: str, stream: str) -> Iterator[Asked]:
    """Six questions a picture: present and absent in each of POPE's three categories."""
    for i, rng in _stream(task, stream):
        picture = pictures.objects(rng)
        found = [questions.pope(rng, picture, yes, c) for c in POPE_CATEGORIES for yes in (True, False)]
        if None not in found:
            yield from ((picture, question, i) for question in found if question)


_SPECIAL: dict[str, Callable[[str, str], Iterator[Asked]]] = {"mme": _mme, "pope": _pope}
TASKS = (
    "mme", "mmbench_en_dev", "mmbench_cn_dev", "seedbench", "mmstar", "pope", "docvqa_val", "infovqa_val",
    "textvqa_val", "chartqa", "ocrvqa", "vqav2_val", "vizwiz_vqa_val", "gqa", "scienceqa_img", "mmvet",
)  # fmt: skip


def asked(task: str, stream: str = SUITE) -> Iterator[Asked]:
    """The endless questions of a task: picture, question and the picture's number.

    Args:
        task: the benchmark's.
        stream: names the random numbers; another one asks about other pictures.
    """
    return _SPECIAL.get(task, _from_pictures)(task, stream)
