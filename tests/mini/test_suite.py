"""The rendered suite: what it holds, that it is the same everywhere, and that nobody trained on it."""

import hashlib
import json
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest

from pdrop_eval.errors import UserError
from pdrop_eval.mini import packing, suite
from pdrop_eval.mini.canvas import SHAPES

# The columns that lmms-eval's task code and users of the real data sets read.
COLUMNS = {
    "mme": {"question_id", "image", "question", "answer", "category"},
    "scienceqa_img": {
        "image",
        "question",
        "choices",
        "answer",
        "hint",
        "subject",
        "topic",
        "category",
        "skill",
    },
    "mmbench_cn_dev": {"index", "question", "hint", "answer", "A", "B", "C", "D", "category", "L2-category"}
    | {"source", "split", "image"},
    "gqa": {"id", "imageId", "image", "question", "answer", "fullAnswer"},
    "pope": {"id", "question_id", "question", "answer", "image_source", "image", "category"},
    "textvqa_val": {"image_id", "question_id", "question", "answers", "image", "ocr_tokens"},
    "chartqa": {"type", "question", "answer", "image"},
    "docvqa_val": {"questionId", "question", "answers", "image", "docId"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return suite.ensure_suite(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("task", suite.TASKS)
def test_a_task_has_the_real_columns_and_at_least_200_questions(folder, task):
    table = pq.read_table(folder / f"{task}.parquet")
    assert set(table.column_names) >= COLUMNS[task]
    assert table.num_rows >= 200
    assert {field.name for field in table.schema.field("image").type} == {"bytes", "path"}


def test_manifest_counts_and_hashes_the_content(folder):
    manifest = json.loads((folder / "manifest.json").read_text())["tasks"]
    assert set(manifest) == set(suite.TASKS)
    rendered = [suite.content_hash(picture, row) for picture, _, row in suite.render("pope")]
    assert manifest["pope"] == {
        "rows": 240,
        "sha256": hashlib.sha256("".join(rendered).encode()).hexdigest(),
        "file_sha256": hashlib.sha256((folder / "pope.parquet").read_bytes()).hexdigest(),
    }


def test_rendering_depends_on_nothing_but_the_code():
    """The committed scores are those of this content; other pixels need a new table."""
    hashes = [suite.content_hash(picture, row) for picture, _, row in suite.render("docvqa_val")]
    digest = hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert digest == "67f798aa90415ffa040d860a26da24f40da5838c90a64b6f1db686f421cdc178"


def test_a_second_call_renders_nothing(folder):
    before = (folder / "mme.parquet").stat().st_mtime_ns
    assert suite.ensure_suite(folder.parent) == folder
    assert (folder / "mme.parquet").stat().st_mtime_ns == before


def test_mme_asks_in_pairs_of_yes_and_no_about_one_picture():
    rows = [(picture, row) for picture, _, row in suite.render("mme")]
    for (first, a), (second, b) in zip(rows[::2], rows[1::2], strict=True):
        assert first is second
        assert a["question_id"] == b["question_id"]
        assert {a["answer"], b["answer"]} == {"Yes", "No"}
        assert a["question"] != b["question"]
    assert Counter(row["category"] for _, row in rows) == dict.fromkeys(
        ("existence", "count", "position", "color", "scene", "OCR"), 40
    )


def test_pope_is_balanced_and_true():
    answers = defaultdict(Counter)
    for picture, _, row in suite.render("pope"):
        answers[row["category"]][row["answer"]] += 1
        words = row["question"].removeprefix("Is there a ").removesuffix(" in the image?").split()
        there = any(item.thing == words[-1] for item in picture.items)
        if len(words) == 2:
            there = any((item.color, item.thing) == tuple(words) for item in picture.items)
        assert words[-1] in SHAPES
        assert there == (row["answer"] == "yes")
    assert answers == {c: {"yes": 40, "no": 40} for c in ("random", "popular", "adversarial")}


def test_multiple_choice_answers_are_spread_over_the_letters():
    for task, most in (("scienceqa_img", 0.45), ("mmbench_cn_dev", 0.35)):
        letters = Counter(question.answer for _, question, _ in suite.render(task))
        assert max(letters.values()) / letters.total() < most


def test_no_picture_of_the_suite_is_a_training_picture():
    def pixels(image):
        return hashlib.sha256(image.tobytes()).hexdigest()

    shown = {pixels(picture.image) for task in suite.TASKS for picture, _, _ in suite.render(task)}
    streams = (("vision", False, 0), ("joint", True, 0), ("joint", False, 10_000))
    trained = {
        pixels(packing.draw(packing.Random(f"train:0:{name}:{i}"), easy).image)
        for name, easy, first in streams
        for i in range(first, first + 1000)
    }
    assert len(trained) == 3000  # every index gives another picture
    assert not shown & trained


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file.*PDROP_EVAL_CACHE"):
        suite.ensure_suite(tmp_path / "file")
