"""Stand-in data of benchmarks that run from lmms-eval's own files, with the columns of the real data sets."""

from pathlib import Path
from typing import Any

import datasets
from PIL import Image

TESTMINI = {
    "split": "testmini", "language": "english", "source": "a", "category": "general-vqa", "task": "t",
    "context": "c", "grade": "g", "skills": ["s"], "img_width": 32, "img_height": 24,
}  # fmt: skip


def picture(number: int) -> Image.Image:
    """A plain picture, of a colour of its own."""
    return Image.new("RGB", (32, 24), (40 * number % 256, 80, 200 - 30 * number % 200))


def rows_of(task: str, n: int = 4) -> list[dict[str, Any]]:
    """Questions of a task, as its data set has them."""
    return [ROWS[task](i) for i in range(n)]


def ocrbench(i: int) -> dict[str, Any]:
    """OCRBench: answers are lists."""
    return {
        "dataset": "IIIT5K", "question": f"what is written in the image {i}?", "answer": [f"word{i}"],
        "question_type": "Regular Text Recognition", "image": picture(i),
    }  # fmt: skip


def ai2d(i: int) -> dict[str, Any]:
    """AI2D: the answer is the number of a choice, as text."""
    return {
        "question": f"Which {i}?",
        "options": ["a", "b", "c", "d"],
        "answer": str(i % 4),
        "image": picture(i),
    }


def mmmu_val(i: int) -> dict[str, Any]:
    """MMMU: choices are a list written as text, and up to seven pictures have columns of their own."""
    more = {f"image_{k}": None for k in range(2, 8)}
    return {
        "id": f"validation_Art_{i}", "question": f"What does <image 1> show, {i}?",
        "options": "['a cat', 'a dog']", "explanation": "", "image_1": picture(i), **more,
        "img_type": "['Photos']",
        "answer": "AB"[i % 2], "topic_difficulty": "Easy", "question_type": "multiple-choice",
        "subfield": "s",
    }  # fmt: skip


def hallusion(i: int) -> dict[str, Any]:
    """HallusionBench's split of questions with a picture."""
    return {
        "category": "VD" if i % 2 else "VS", "subcategory": "chart", "visual_input": "1", "set_id": str(i),
        "figure_id": "1", "sample_note": "", "question_id": "0", "question": f"Is this bar {i} taller?",
        "gt_answer_details": "It is taller.", "gt_answer": "1", "filename": f"./{i}.png", "image": picture(i),
    }  # fmt: skip


def mathvista(i: int) -> dict[str, Any]:
    """MathVista: the picture is in `decoded_image`; `image` is the name of its file."""
    return {
        "pid": str(i), "question": f"How many dots are there, {i}?", "image": f"images/{i}.jpg",
        "decoded_image": picture(i), "choices": None if i % 2 else ["one", "two"], "unit": None,
        "precision": 1.0,
        "answer": "3" if i % 2 else "two", "question_type": "free_form" if i % 2 else "multi_choice",
        "answer_type": "integer" if i % 2 else "text", "metadata": TESTMINI, "query": f"Hint. Question: {i}",
    }  # fmt: skip


def refcoco(i: int) -> dict[str, Any]:
    """RefCOCO: a picture with a box and several expressions for it."""
    return {
        "question_id": str(i), "image": picture(i), "question": "Please give a box",
        "bbox": [8.0, 6.0, 8.0, 6.0],
        "answer": [f"left one {i}", f"the red one {i}"], "segmentation": [0.0], "iscrowd": 0,
        "file_name": f"{i}.jpg",
    }  # fmt: skip


ROWS = {
    "ocrbench": ocrbench, "ai2d": ai2d, "mmmu_val": mmmu_val, "hallusion_bench_image": hallusion,
    "refcoco_bbox_rec_val": refcoco,
    **dict.fromkeys([f"mathvista_testmini_{kind}" for kind in ("cot", "solution", "format")], mathvista),
}  # fmt: skip
PICTURES = {"mmmu_val": [f"image_{k}" for k in range(1, 8)]} | {
    name: ["decoded_image"] for name in ROWS if name.startswith("mathvista")
}


def write(root: Path, task: str, rows: list[dict[str, Any]], pictures: list[str] | None = None) -> None:
    """Writes a task's data to `root/<task>.parquet`, as the Hub keeps them."""
    made = datasets.Dataset.from_list(rows)
    for name in pictures or PICTURES.get(task, ["image"]):
        made = made.cast_column(name, datasets.Image())
    root.mkdir(parents=True, exist_ok=True)
    made.to_parquet(root / f"{task}.parquet")


def write_all(root: Path, n: int = 4) -> Path:
    """Writes the data of all of them."""
    for task in ROWS:
        write(root, task, rows_of(task, n))
    return root
