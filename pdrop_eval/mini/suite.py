"""The rendered suite: eight benchmarks in miniature with the columns of the real data sets.

`ensure_suite` renders on first use, deterministically and from other random streams than training. Pictures
stand for photographs, signs, charts and pages; the questions are the benchmarks' in form, not in content.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from random import Random

from PIL import Image

from pdrop_eval.errors import UserError
from pdrop_eval.mini import canvas, pictures, questions
from pdrop_eval.mini.pictures import Picture
from pdrop_eval.mini.questions import MME_CATEGORIES, POPE_CATEGORIES, Question

QUESTIONS = 240  # a benchmark
_SOURCES = (canvas, pictures, questions)

Asked = tuple[Picture, Question, int]


def _stream(task: str) -> Iterator[tuple[int, Random]]:
    """The task's endless random generators, one an image."""
    return ((i, Random(f"suite:{task}:{i}")) for i in count())


def _from_pictures(task: str, kinds: str, ask: Callable, per_picture: int) -> Iterator[Asked]:
    """`per_picture` of the task's questions about each picture; `kinds` are drawn in turn."""
    names = kinds.split()
    for i, rng in _stream(task):
        picture = pictures.KINDS[names[i % len(names)]](rng)
        asked = [q for q in ask(rng, picture) if q.task == task]
        if len(asked) >= per_picture:
            yield from ((picture, question, i) for question in rng.sample(asked, per_picture))


def _mme(task: str) -> Iterator[Asked]:
    """Pairs of yes and no about one picture, the categories in turn."""
    for i, rng in _stream(task):
        category = MME_CATEGORIES[i % len(MME_CATEGORIES)]
        kind = {"OCR": "signs", "scene": rng.choice(list(pictures.KINDS))}.get(category, "objects")
        pair: list[Question] = []
        while not pair:
            picture = pictures.KINDS[kind](rng)
            pair = questions.mme_pair(rng, picture, category)
        rng.shuffle(pair)
        yield from ((picture, question, i) for question in pair)


def _pope(task: str) -> Iterator[Asked]:
    """Six questions a picture: present and absent in each of POPE's three categories."""
    for i, rng in _stream(task):
        picture = pictures.objects(rng)
        asked = [questions.pope(rng, picture, yes, c) for c in POPE_CATEGORIES for yes in (True, False)]
        if None not in asked:
            yield from ((picture, question, i) for question in asked if question)


def _asked(task: str) -> Iterator[Asked]:
    """The endless questions of a task."""
    plain = {
        "scienceqa_img": ("objects objects chart", questions.multiple_choice, 1),
        "mmbench_cn_dev": ("objects objects objects chart", questions.multiple_choice, 1),
        "gqa": ("objects", questions.gqa, 2),
        "textvqa_val": ("signs", lambda _, picture: questions.textvqa(picture), 1),
        "chartqa": ("chart", lambda _, picture: questions.chartqa(picture), 2),
        "docvqa_val": ("page", lambda _, picture: questions.docvqa(picture), 2),
    }
    if task in plain:
        return _from_pictures(task, *plain[task])
    return {"mme": _mme, "pope": _pope}[task](task)


def _columns(task: str, place: int, image: int, fields: dict) -> dict:
    """The row of the real data set for question number `place` about picture number `image`."""
    question, answer = fields["question"], fields["answer"]
    rows = {
        "mme": lambda: {"question_id": f"{fields['category']}/{image:04d}.png", **fields},
        "scienceqa_img": lambda: {
            **fields,
            "task": "closed choice",
            "grade": "grade1",
            "subject": "natural science",
            "topic": "rendered",
            "category": "shapes and bars",
            "skill": "look",
            "lecture": "",
            "solution": "",
        },
        "mmbench_cn_dev": lambda: {
            "index": place,
            "hint": None,
            **fields,
            "category": "attribute_recognition",
            "L2-category": "finegrained_perception (instance-level)",
            "source": "rendered",
            "comment": None,
            "split": "dev",
        },
        "gqa": lambda: {
            "id": str(place),
            "imageId": str(image),
            "fullAnswer": answer,
            "isBalanced": True,
            **fields,
        },
        "pope": lambda: {
            "id": str(place),
            "question_id": str(place),
            "image_source": f"rendered_{image}",
            **fields,
        },
        "textvqa_val": lambda: {
            "image_id": str(image),
            "question_id": place,
            "question": question,
            "answers": [answer] * 10,
            "ocr_tokens": fields.get("ocr_tokens", []),
            "set_name": "val",
        },
        "chartqa": lambda: fields,
        "docvqa_val": lambda: {
            "questionId": str(place),
            "question": question,
            "question_types": ["form"],
            "docId": image,
            "answers": [answer],
            "data_split": "val",
        },
    }
    return rows[task]()


TASKS = ("mme", "scienceqa_img", "mmbench_cn_dev", "gqa", "pope", "textvqa_val", "chartqa", "docvqa_val")


def render(task: str, number: int = QUESTIONS) -> list[tuple[Picture, Question, dict]]:
    """The first `number` questions of a task: picture, question and the data set's row without its image."""
    rows = []
    for place, (picture, question, image) in enumerate(islice(_asked(task), number)):
        fields = dict(question.fields)
        if task == "textvqa_val":
            fields["ocr_tokens"] = [item.text for item in picture.items]
        rows.append((picture, question, _columns(task, place, image, fields)))
    return rows


def content_hash(picture: Picture, row: dict) -> str:
    """sha256 of a row's pixels and fields, whatever the file format."""
    digest = hashlib.sha256(picture.image.tobytes())
    digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()


def suite_version() -> str:
    """Ten hexadecimal digits that change whenever the code that renders the suite does."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for module in _SOURCES:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:10]


def default_root() -> Path:
    """Where rendered suites are kept: `$PDROP_EVAL_CACHE`, else `~/.cache/pdrop-eval`."""
    return Path(os.environ.get("PDROP_EVAL_CACHE") or Path.home() / ".cache" / "pdrop-eval").expanduser()


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "PNG")
    return buffer.getvalue()


def _write_task(task: str, folder: Path) -> dict:
    """Write one task's parquet file; returns its entry in the manifest."""
    import datasets

    rendered = render(task)
    rows = [{"image": {"bytes": _png(picture), "path": None}, **row} for picture, _, row in rendered]
    data = datasets.Dataset.from_list(rows)
    strings = {
        name: datasets.Value("string")
        for name, kind in data.features.items()
        if getattr(kind, "dtype", "") == "null"
    }
    data = data.cast(datasets.Features({**data.features, **strings, "image": datasets.Image()}))
    path = folder / f"{task}.parquet"
    data.to_parquet(path)
    hashes = [content_hash(picture, row) for picture, _, row in rendered]
    return {
        "rows": len(rows),
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def ensure_suite(root: Path | None = None) -> Path:
    """The folder with `<task>.parquet` for the eight tasks and `manifest.json`, rendered if it is missing.

    Raises UserError if the folder cannot be written.
    """
    folder = Path(root or default_root()) / f"suite-{suite_version()}"
    if (folder / "manifest.json").is_file():
        return folder
    import datasets

    quiet = datasets.utils.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="rendering-", dir=folder.parent))
        try:
            manifest = {"tasks": {task: _write_task(task, work) for task in TASKS}}
            (work / "manifest.json").write_text(json.dumps(manifest, indent=1))
            work.chmod(0o755)
            _publish(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"The rendered suite cannot be written to {folder}: {error}. "
            "Set PDROP_EVAL_CACHE to a folder that can be written."
        ) from error
    finally:
        if quiet:
            datasets.enable_progress_bars()
    return folder


def _publish(work: Path, folder: Path) -> None:
    """Rename the finished folder into place; another process may have been faster."""
    try:
        os.replace(work, folder)
    except OSError:
        if not (folder / "manifest.json").is_file():
            raise


if __name__ == "__main__":
    print(ensure_suite())
