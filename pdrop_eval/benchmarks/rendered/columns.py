"""A question as a row of the real data set: its columns, without the image."""

from collections.abc import Callable
from random import Random

from pdrop_eval.benchmarks.rendered.canvas import COLORS
from pdrop_eval.benchmarks.rendered.facts import GENRES, UNANSWERABLE
from pdrop_eval.benchmarks.rendered.pictures import Picture
from pdrop_eval.benchmarks.rendered.questions import Question

ANNOTATORS = 10


def annotators(task: str, place: int, answer: str) -> list[str]:
    """Ten people's answers: up to three of them disagree, so that the common one still earns everything."""
    rng = Random(f"annotators:{task}:{place}")
    if answer in ("yes", "no"):
        others = ["no" if answer == "yes" else "yes"]
    elif answer.isdigit():
        others = [str(int(answer) + 1), str(max(int(answer) - 1, 0))]
    elif answer == UNANSWERABLE:
        others = ["unsuitable", "unsuitable image"]
    else:
        others = [UNANSWERABLE, rng.choice([color for color in COLORS if color != answer])]
    given = [rng.choice(others) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
    given += [answer] * (ANNOTATORS - len(given))
    rng.shuffle(given)
    return given


def _mme(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {"question_id": f"{question.fields['category']}/{image:04d}.png", **question.fields}


def _scienceqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        **question.fields, "task": "closed choice", "grade": "grade1", "subject": "natural science",
        "topic": "rendered", "category": "shapes and bars", "skill": "look", "lecture": "", "solution": "",
    }  # fmt: skip


def _mmbench(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        "index": place, "hint": None, **question.fields, "category": "attribute_recognition",
        "L2-category": "finegrained_perception (instance-level)", "source": "rendered", "comment": None,
        "split": "dev",
    }  # fmt: skip


def _seedbench(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {"question_id": str(place), "data_id": str(image), "data_type": "image", **question.fields}


def _mmstar(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {"index": place, **question.fields, "meta_info": {"source": "rendered", "split": "val"}}


def _gqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    fields = question.fields
    return {
        "id": str(place), "imageId": str(image), "fullAnswer": fields["answer"], "isBalanced": True, **fields
    }  # fmt: skip


def _pope(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        "id": str(place),
        "question_id": str(place),
        "image_source": f"rendered_{image}",
        **question.fields,
    }


def _textvqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        "image_id": str(image), "question_id": place, "question": question.fields["question"],
        "answers": [question.answer] * ANNOTATORS, "set_name": "val",
        "ocr_tokens": [text for item in picture.items for text in (item.text, item.small)],
    }  # fmt: skip


def _chartqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    return dict(question.fields)


def _docvqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        "questionId": str(place), "question": question.fields["question"], "question_types": ["form"],
        "docId": image, "answers": [question.answer], "data_split": "val",
    }  # fmt: skip


def _infovqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        "questionId": str(place), "question": question.fields["question"], "answers": [question.answer],
        "answer_type": ["single span"], "image_url": f"rendered_{image}", "ocr": "", "data_split": "val",
    }  # fmt: skip


def _ocrvqa(picture: Picture, question: Question, place: int, image: int) -> dict:
    title, _, emblem = picture.items
    return {
        "question_id": place, "image_id": str(image), "question": question.fields["question"],
        "answer": question.answer, "title": title.text, "genre": GENRES[emblem.thing],
    }  # fmt: skip


def _vqav2(picture: Picture, question: Question, place: int, image: int) -> dict:
    kind = {"yes": "yes/no", "no": "yes/no"}.get(
        question.answer, "number" if question.kind == "count" else "other"
    )
    given = annotators("vqav2_val", place, question.answer)
    return {
        "question_id": place, "image_id": image, "question": question.fields["question"],
        "question_type": " ".join(question.fields["question"].split()[:2]).lower(), "answer_type": kind,
        "multiple_choice_answer": question.answer,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": number + 1}
            for number, answer in enumerate(given)
        ],
    }  # fmt: skip


def _vizwiz(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {
        "question_id": f"rendered_val_{place:08d}", "question": question.fields["question"],
        "answers": annotators("vizwiz_vqa_val", place, question.answer),
        "category": "unanswerable" if question.answer == UNANSWERABLE else "other",
    }  # fmt: skip


def _mmvet(picture: Picture, question: Question, place: int, image: int) -> dict:
    return {"question_id": f"v1_{place}", "image_source": f"rendered_{image}", **question.fields}


_ROWS: dict[str, Callable[[Picture, Question, int, int], dict]] = {
    "mme": _mme,
    "scienceqa_img": _scienceqa,
    "mmbench_en_dev": _mmbench,
    "mmbench_cn_dev": _mmbench,
    "seedbench": _seedbench,
    "mmstar": _mmstar,
    "gqa": _gqa,
    "pope": _pope,
    "textvqa_val": _textvqa,
    "chartqa": _chartqa,
    "docvqa_val": _docvqa,
    "infovqa_val": _infovqa,
    "ocrvqa": _ocrvqa,
    "vqav2_val": _vqav2,
    "vizwiz_vqa_val": _vizwiz,
    "mmvet": _mmvet,
}
# Data sets that keep a question's images in a list.
LISTS = ("seedbench",)


def columns(task: str, picture: Picture, question: Question, place: int, image: int) -> dict:
    """The row of the real data set for question number `place`, about picture number `image`."""
    return _ROWS[task](picture, question, place, image)
