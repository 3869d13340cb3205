"""The rendered suite: what it holds, that it is the same everywhere, and that nobody trained on it."""

import hashlib
import json
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.benchmarks.rendered.canvas import SHAPES
from pdrop_eval.benchmarks.rendered.facts import PLURALS
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINTS
from tools.mini.training import packing


@pytest.fixture(scope="module")
def folder():
    return suite.ensure_suite()  # where a run looks for it: rendered once for all tests


@pytest.mark.parametrize("task", suite.TASKS)
def test_a_task_has_the_real_columns_and_at_least_200_questions(folder, task):
    table = pq.read_table(folder / f"{task}.parquet")
    assert set(table.column_names) >= set(by_task()[task].columns)
    assert table.num_rows >= 200
    image = table.schema.field("image").type
    image = image.value_type if task == "seedbench" else image
    assert {field.name for field in image} == {"bytes", "path"}


def test_the_suite_has_every_benchmark_of_the_registry():
    assert tuple(by_task()) == suite.TASKS


@pytest.mark.thin(4)
@pytest.mark.parametrize("task", suite.TASKS)
def test_pictures_are_288_pixels_wide_and_infographics_twice_as_high(task):
    tall = {"poster": (576, 288, 3)}
    for picture, _, _ in suite.render(task, 48):
        assert picture.image.shape == tall.get(picture.kind, (288, 288, 3))


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
    assert digest == "b97c3adf755a3f604ba915ef7ef1c18ce5d51d4f4412340a0ad8a7e1ac70a32d"


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
        ("existence", "count", "position", "color", "posters", "scene", "artwork", "OCR"), 30
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


@pytest.mark.thin(1)
@pytest.mark.parametrize("task", ["mmbench_en_dev", "mmbench_cn_dev", "seedbench", "mmstar"])
def test_multiple_choice_answers_are_spread_over_the_letters(task):
    letters = Counter(question.answer for _, question, _ in suite.render(task))
    assert set(letters) == set("ABCD")
    assert max(letters.values()) / letters.total() < 0.35


@pytest.mark.thin(1)
@pytest.mark.parametrize("task", ["vqav2_val", "vizwiz_vqa_val"])
def test_ten_people_answer_and_at_least_seven_agree(task):
    disagree = 0
    for _, question, row in suite.render(task):
        given = [answer["answer"] if task == "vqav2_val" else answer for answer in row["answers"]]
        assert len(given) == 10
        assert given.count(question.answer) >= 7
        disagree += len(set(given)) > 1
    assert disagree > 100


def test_some_photographs_cannot_answer_the_question():
    for picture, question, row in suite.render("vizwiz_vqa_val"):
        shape = row["question"].rstrip("?").split()[-1]
        missing = shape not in {item.thing for item in picture.items}
        assert (question.answer == "unanswerable") == (missing or picture.blurred)
    answers = Counter(question.answer for _, question, _ in suite.render("vizwiz_vqa_val"))
    assert 40 < answers["unanswerable"] < 120


def test_counts_and_relations_are_true():
    for picture, question, row in suite.render("vqav2_val") + suite.render("gqa"):
        words = row["question"].rstrip("?").split()
        if question.kind == "count" and words[2] in PLURALS.values():
            things = [PLURALS[item.thing] for item in picture.items]
            assert question.answer == str(things.count(words[2]))
        if question.kind == "order":
            named = {(item.color, item.thing): item for item in picture.items}
            one, other = named[words[2], words[3]], named[words[-2], words[-1]]
            near, far = (one.y, other.y) if "above" in words else (one.x, other.x)
            assert question.answer == ("yes" if near < far else "no")


@pytest.mark.thin(1)
@pytest.mark.parametrize("task", ["docvqa_val", "infovqa_val", "textvqa_val", "chartqa", "ocrvqa"])
def test_a_part_of_the_reading_tasks_asks_for_small_print(task):
    small = [question.small for _, question, _ in suite.render(task)]
    assert 0.15 < sum(small) / len(small) < 0.35


def test_what_is_read_takes_several_tokens_to_answer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MINI_CHECKPOINTS / "mini576")
    for task in ("docvqa_val", "infovqa_val", "textvqa_val", "ocrvqa"):
        answers = [question.answer for _, question, _ in suite.render(task, 60)]
        counts = [len(tokenizer(answer, add_special_tokens=False).input_ids) for answer in answers]
        assert sum(counts) / len(counts) >= 3, task


@pytest.mark.slow
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


def test_a_task_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match=r"'textvqa'.*chartqa.*textvqa_val"):
        suite.render("textvqa", 1)
