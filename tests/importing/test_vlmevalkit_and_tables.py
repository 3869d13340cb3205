"""VLMEvalKit's result files and plain tables as records."""

from pathlib import Path

import pytest
from foreign_results import importing, our_run, prompt, sheet, stored

from pdrop_eval import UserError


def pope_rows(scored):
    """Two questions of the category random, and one of both others: TP, FP; TN (twice)."""
    rows = [
        {"index": 0, "question": "Is there a dog?", "answer": "Yes", "prediction": "Yes, a dog.",
         "category": "random", "image_path": "a.jpg"},
        {"index": 1, "question": "Is there a cat?", "answer": "No", "prediction": "Yes",
         "category": "random", "image_path": "a.jpg"},
        {"index": 2, "question": "Is there a cow?", "answer": "Yes", "prediction": "yes",
         "category": "popular,adversarial", "image_path": "b.jpg"},
    ]  # fmt: skip
    said = ("Yes", "Yes", "Yes")
    return [
        {**row, "extracted": one, "score": one == row["answer"]} for row, one in zip(rows, said, strict=True)
    ] if scored else rows  # fmt: skip


def test_popes_questions_count_in_each_of_their_categories():
    sheet(Path("M/M_POPE.xlsx"), pope_rows(False))
    sheet(Path("M/M_POPE_auxmatch.xlsx"), pope_rows(True))
    record, _ = importing("kind=vlmevalkit", "from=M")
    entry = record["tasks"]["pope"]
    # random: TP 1, FP 1: F1 2/3; popular and adversarial: one TP each: F1 1
    assert entry["score"] == pytest.approx(100 * (2 / 3 + 1 + 1) / 3)
    assert entry["parts"] == pytest.approx({"random": 200 / 3, "popular": 100, "adversarial": 100})
    assert (entry["n"], entry["clusters"]) == (4, 2)
    assert entry["imported"]["scored_by"] == "VLMEvalKit (score)"
    first = stored(record, "pope")[0]
    assert (first["answer"], first["said"]) == ("Yes", "Yes, a dog.")
    assert record["imported"]["model"] == record["model"]["name"] == "M"
    assert set(record["imported"]["files"]) == {"M_POPE.xlsx", "M_POPE_auxmatch.xlsx"}


def test_mmbenchs_hits_are_of_questions_with_their_copies():
    copies = [{"index": i, "question": "What is it?", "answer": "A", "prediction": "A"}
              for i in (3, 1_000_003, 4)]  # fmt: skip
    hits = [{**copies[0], "hit": 1}, {**copies[2], "hit": 0}]
    sheet(Path("M/my_model_MMBench_DEV_EN.tsv"), copies)
    sheet(Path("M/my_model_MMBench_DEV_EN_openai_result.xlsx"), hits)
    record, _ = importing("kind=vlmevalkit", "from=M")
    entry = record["tasks"]["mmbench_en_dev"]
    assert (entry["score"], entry["n"], entry["clusters"]) == (50, 2, 2)
    assert entry["imported"]["pairs_by"] == ["question_id"]
    assert record["model"]["name"] == "my_model"


def test_mme_is_of_perception_and_its_pairs_are_those_of_a_picture():
    marks = [("color", "a.png", 1), ("color", "a.png", 1), ("color", "b.png", 0), ("color", "b.png", 1),
             ("code_reasoning", "c.png", 1)]  # fmt: skip
    rows = [
        {"index": i, "question": f"Is it {i}?", "answer": "Yes", "prediction": "Yes", "category": category,
         "image_path": path, "extracted": "Yes", "score": mark}
        for i, (category, path, mark) in enumerate(marks)
    ]  # fmt: skip
    sheet(Path("M/M_MME_auxmatch.json"), rows)
    record, _ = importing("kind=vlmevalkit", "from=M")
    assert record["tasks"]["mme"]["score"] == pytest.approx(75 + 50)  # 3 of 4, and one of two pairs


@pytest.mark.parametrize(("name", "task", "matches", "score"), [
    # of DocVQA, distances: 1 - 0.25; 0 of the second, which is too far; the nearest of several counts
    ("DocVQA_VAL", "docvqa_val", ("[0.25]", "[0.75]", "[1.0, 0.0]"), 100 * (0.75 + 0 + 1) / 3),
    ("InfoVQA_VAL", "infovqa_val", ("[np.float64(0.0)]", "[0.9]", "[0.9]"), 100 / 3),
    ("ChartQA_TEST", "chartqa", ("[True]", "[False]", "[False, True]"), 200 / 3),
])  # fmt: skip
def test_short_answers_earn_what_vlmevalkits_score_counts_and_not_its_column_of_means(
    name, task, matches, score
):
    rows = [
        {**gqa_rows(3)[i], "eval_match": one, "eval_score": 0.123, "eval_gt": "['red']"}
        for i, one in enumerate(matches)
    ]
    sheet(Path(f"M/M_{name}_results.xlsx"), rows)
    entry = importing("kind=vlmevalkit", "from=M")[0]["tasks"][task]
    assert entry["score"] == pytest.approx(score)
    sheet(Path(f"N/M_{name}_results.xlsx"), [{**row, "eval_match": ""} for row in rows])
    with pytest.raises(UserError, match="eval_match is '', no list of numbers"):
        importing("kind=vlmevalkit", "from=N")


def test_multiple_choice_of_tasks_beside_the_papers():
    sheet(Path("M/M_RealWorldQA_exact_matching_result.xlsx"), gqa_rows(hit=1))
    sheet(Path("M/M_AI2D_TEST_openai_result.tsv"), gqa_rows(hit=0))
    tasks = importing("kind=vlmevalkit", "from=M")[0]["tasks"]
    assert {task: entry["score"] for task, entry in tasks.items()} == {"realworldqa": 100, "ai2d": 0}


@pytest.mark.parametrize("name", ["MMBench_DEV_EN_V11", "AI2D_TEST_NO_MASK", "MME_CoT_TEST", "MMStar_KO"])
def test_another_edition_of_a_data_set_is_other_data(name):
    sheet(Path(f"M/M_{name}_openai_result.xlsx"), gqa_rows(hit=1, category="a", image_path="b"))
    with pytest.raises(UserError, match="no results of VLMEvalKit"):
        importing("kind=vlmevalkit", "from=M")


def test_mmstars_parts_have_either_name():
    rows = [{**row, "l2_category": part} for row, part in zip(gqa_rows(hit=1), "aab", strict=True)]
    rows[0]["hit"] = 0
    sheet(Path("M/M_MMStar_exact_matching_result.xlsx"), rows)
    # the mean of parts: one of two in a, one of one in b
    assert importing("kind=vlmevalkit", "from=M")[0]["tasks"]["mmstar"]["score"] == 75


def gqa_rows(n=3, **more):
    return [
        {"index": i, "question": prompt(i), "answer": "red", "prediction": "red", **more} for i in range(n)
    ]


@pytest.mark.parametrize(("files", "words"), [
    ({"M_GQA_TestDev_Balanced.xlsx": gqa_rows()}, ("answers and no scores", "suite=")),
    ({"M_MMStar.xlsx": gqa_rows(), "M_MMStar_x_result.xlsx": gqa_rows(2, hit=1)},
     ("results are partial", "index 2")),
    ({"M_GQA_TestDev_Balanced.json": gqa_rows(prediction="Failed to obtain answer via API.")},
     ("3 of 3 questions have no answer", "no score")),
    ({"A_MMStar.xlsx": gqa_rows(), "B_MME.xlsx": gqa_rows()}, ("different models", "A", "B")),
    ({"M_MMStar_result.xlsx": gqa_rows(1, hit=3)}, ("row 2", "score 3", "0 to 1")),
    ({"M_Unknown.xlsx": gqa_rows()}, ("no results of VLMEvalKit", "POPE")),
    ({"M_MMStar_result.tsv": [{"index": 1, "hit": 1}]}, ("no column 'prediction'",)),
    ({"M_MMStar_a_result.xlsx": gqa_rows(hit=1), "M_MMStar_b_result.xlsx": gqa_rows(hit=0)},
     ("two files of what each question", "from=FILE")),
    ({"M_MME_auxmatch.json": gqa_rows(score=1, category="color")}, ("pairs", "image")),
    ({"M_MMStar_result.json": gqa_rows(hit=1)}, ("parts", "category")),
], ids=range(10))  # fmt: skip
def test_results_of_vlmevalkit_that_are_none_are_refused(files, words):
    for name, rows in files.items():
        sheet(Path("M") / name, rows)
    with pytest.raises(UserError) as caught:
        importing("kind=vlmevalkit", "from=M")
    for word in words:
        assert word in str(caught.value)


def test_a_spreadsheet_that_is_cut_off_is_refused():
    path = sheet(Path("M/M_MMStar_result.xlsx"), gqa_rows(hit=1))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="no spreadsheet"):
        importing("kind=vlmevalkit", "from=M")


def table(rows, name="gqa.csv"):
    return sheet(Path(name), rows)


@pytest.mark.parametrize("name", ["gqa.csv", "gqa.tsv", "gqa.jsonl", "gqa.json", "gqa.xlsx"])
def test_a_table_is_read_in_every_form(name):
    rows = [{"Question ID": f"q{i}", "answer": "red", "score": mark} for i, mark in enumerate((1, 0.5, 0))]
    record, _ = importing("kind=table", f"from={table(rows, name)}")
    entry = record["tasks"]["gqa"]
    assert (entry["score"], entry["n"]) == (pytest.approx(50), 3)
    assert entry["imported"]["pairs_by"] == ["question_id"]
    assert [one["question_id"] for one in stored(record, "gqa")] == ["q0", "q1", "q2"]


def test_rows_are_found_in_a_run_by_number_and_by_words():
    ours = our_run(Path("runs"), (1, 1, 1, 1), of_picture=2)
    numbered = table(
        [{"doc_id": 2, "answer": "blue", "score": 0}, {"doc_id": 0, "answer": "red", "score": 1}]
    )
    record, _ = importing("kind=table", f"from={numbered}", f"like={ours}")
    assert [(one["doc_id"], one["score"], one["target"]) for one in stored(record, "gqa")] == [
        (0, 1.0, "red"), (2, 0.0, "red"),
    ]  # fmt: skip
    rows = [{"id": "x", "question": "What colour is shape 3?", "answer": "red", "score": 1}]
    record, _ = importing("kind=table", f"from={table(rows, 'words.csv')}", f"like={ours}", "tasks=[gqa]")
    assert stored(record, "gqa")[0]["doc_id"] == 3


def test_several_tasks_in_one_table_and_a_budget_as_it_is_said():
    rows = [
        {"id": i, "task": task, "score": 1, "model": "X"} for task in ("gqa", "chartqa") for i in range(2)
    ]
    record, _ = importing(
        "kind=table", f"from={table(rows, 'all.csv')}", "budget.tokens=64", "strategy=VisionZip"
    )
    assert list(record["tasks"]) == ["chartqa", "gqa"]
    assert record["changes"] == ["budget.tokens=64"]
    assert record["imported"]["said"]["strategy"] == "VisionZip"
    assert "efficiency" not in record


ROW = {"id": "a", "answer": "red", "score": 1}


@pytest.mark.parametrize(("rows", "name", "words"), [
    ([{"answer": "red", "score": 1}], "gqa.csv", ("no column numbers the questions", "doc_id")),
    ([{"id": 1, "note": "red"}], "gqa.csv", ("no column of score or answer", "note")),
    ([ROW, ROW], "gqa.csv", ("'a'", "twice", "line 3")),
    ([{**ROW, "score": 85}], "gqa.csv", ("line 2", "'85'"[1:-1], "Divide percentages by 100")),
    ([{**ROW, "score": -0.1}], "gqa.csv", ("line 2", "0 to 1")),
    ([{**ROW, "score": ""}], "gqa.csv", ("line 2", "0 to 1")),
    ([{**ROW, "id": ""}], "gqa.csv", ("no id",)),
    ([{"doc_id": "x", "score": 1}], "gqa.csv", ("'x'", "question_id")),
    ([ROW], "mine.csv", ("'mine'", "tasks=[gqa]")),
    ([{**ROW, "task": "gqq"}], "a.csv", ("'gqq'", "Did you mean gqa?")),
    ([{**ROW, "model": "A"}, {"id": "b", "score": 1, "model": "B"}], "gqa.csv", ("different models",)),
    ([{"id": 1, "answer": "red"}], "gqa.csv", ("answers and no scores", "suite=")),
    ([{"id": 1, "score": 1}], "pope.csv", ("doesn't name one", "category")),
    ([{"id": 1, "score": 1, "category": "random"}], "pope.csv", ("answer and the target",)),
    ([{"id": 1, "score": 1, "category": "random", "answer": "Yes, it is", "target": "yes"}], "pope.csv",
     ("yes or no in one word",)),
    ([{"id": 1, "score": 1, "category": "color"}], "mme.csv", ("pairs", "image")),
], ids=range(16))  # fmt: skip
def test_tables_that_say_too_little_are_refused(rows, name, words):
    columns = dict.fromkeys(key for row in rows for key in row)
    with pytest.raises(UserError) as caught:
        importing(
            "kind=table", f"from={table([{key: row.get(key, '') for key in columns} for row in rows], name)}"
        )
    for word in words:
        assert word in str(caught.value)


def test_a_table_that_is_cut_off_or_has_a_column_twice_is_refused():
    Path("gqa.csv").write_text("id,score\n1,1\n2")
    with pytest.raises(UserError, match="line 3 has 1 cells where the first has 2"):
        importing("kind=table", "from=gqa.csv")
    Path("gqa.csv").write_text("id,score,score\n1,1,0\n")
    with pytest.raises(UserError, match="two columns 'score'"):
        importing("kind=table", "from=gqa.csv")
    Path("gqa.csv").write_text("")
    with pytest.raises(UserError, match="is empty"):
        importing("kind=table", "from=gqa.csv")


def test_a_folder_of_tables_has_one_of_each_task():
    for name in ("t/gqa.csv", "t/chartqa.csv"):
        table([ROW], name)
    assert list(importing("kind=table", "from=t")[0]["tasks"]) == ["chartqa", "gqa"]
    table([ROW], "t/gqa.tsv")
    with pytest.raises(UserError, match="two logs of gqa"):
        importing("kind=table", "from=t")


def test_pictures_beside_a_table_make_it_pair_by_content():
    from PIL import Image

    from pdrop_eval.utils.code.hashing import content_hashes

    image = Image.new("RGB", (4, 4), "red")
    Path("t").mkdir()
    image.save("t/a.png")
    rows = [{"id": 7, "question": "What colour?", "image": "a.png", "answer": "red", "score": 1}]
    record, _ = importing("kind=table", f"from={table(rows, 't/gqa.csv')}")
    content, pixels = content_hashes("What colour?", [image])
    found = stored(record, "gqa")[0]
    assert (found["content_sha256"], found["images_sha256"]) == (content, pixels)
    assert record["tasks"]["gqa"]["imported"]["pairs_by"][0] == "content"
