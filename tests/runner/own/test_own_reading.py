"""A folder of the user's own data: its three forms give the same questions, and what is wrong is refused."""

import json
import os
import re

import pyarrow as pa
import pytest
from own_folders import COLOURS, make_pictures, rows_of, without, write_jsonl
from PIL import Image
from pyarrow import parquet

from pdrop_eval.benchmarks.own.folder import read_folder
from pdrop_eval.benchmarks.own.store import store_folder
from pdrop_eval.utils.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    made = tmp_path / "mine"
    made.mkdir()
    return made


def refused(folder, metric="exact_match", **settings):
    """What is said of a folder that can't be used."""
    with pytest.raises(UserError) as error:
        store_folder(str(folder), metric, **settings)
    return str(error.value)


def stored_rows(folder, metric="exact_match"):
    """The rows that lmms-eval reads, pictures left out."""
    found = store_folder(str(folder), metric)
    names = [name for name in parquet.read_schema(found.path).names if name != "image"]
    return found, parquet.read_table(found.path, columns=names).to_pylist()


def test_an_empty_column_without_a_name_is_none(folder):
    make_pictures(folder)
    text = "image,question,answer,,\nimages/0.png,a,red,,{}\n"
    (folder / "data.csv").write_text(text.format(""))
    assert [row.answers for row in read_folder(str(folder)).rows] == [("red",)]
    (folder / "data.csv").write_text(text.format("late"))
    assert "line 2: the cell 'late' is in a column without a name" in refused(folder)


def test_json_lines_csv_and_parquet_are_the_same_questions(folder, tmp_path):
    write_jsonl(folder, rows_of())
    (one, rows) = stored_rows(folder)
    group = rows[1].pop("group")
    assert rows[1] == {"id": "q1", "question": "Which colour?", "answers": ["green"], "choices": []}
    assert group not in [row.get("group") for row in rows]  # each has a picture of its own
    table = tmp_path / "table"
    make_pictures(table)
    head = "\ufeffid,image,question,answer\r\n"  # as Excel writes it
    lines = [f'{row["id"]},{row["image"]},"{row["question"]}",{row["answer"]}\r\n' for row in rows_of()]
    (table / "data.csv").write_text(head + "".join(lines), encoding="utf-8", newline="")
    by_path, held = tmp_path / "by_path", tmp_path / "held"
    make_pictures(by_path)
    parquet.write_table(pa.Table.from_pylist(rows_of()), by_path / "data.parquet")
    held.mkdir()
    inside = [{**row, "image": (folder / row["image"]).read_bytes()} for row in rows_of()]
    parquet.write_table(pa.Table.from_pylist(inside), held / "data.parquet")
    hashes = {store_folder(str(one), "exact_match").sha256 for one in (folder, table, by_path, held)}
    assert hashes == {one.sha256}
    assert one.questions == 4


def test_several_pictures_answers_and_choices_in_one_cell(folder):
    make_pictures(folder)
    (folder / "data.csv").write_text(
        "image,question,answers,choices,group\n"
        'images/0.png|images/1.png,"Which, and\nwhere?",red | green,red|green|blue,a\n'
        'images/2.png,Which?,"[""blue, dark"", ""blue""]","[""blue, dark"",""blue""]",b\n',
        encoding="utf-8",
    )
    first, second = read_folder(str(folder)).rows
    assert first.images == ("images/0.png", "images/1.png")
    assert first.answers == ("red", "green")
    assert first.choices == ("red", "green", "blue")
    assert first.question == "Which, and\nwhere?"
    assert second.answers == ("blue, dark", "blue") == second.choices
    assert (first.line, second.line) == (2, 4)  # a question may go over two lines
    assert (first.group, second.group) == ("a", "b")


def test_numbers_are_texts_and_a_three_stays_a_three(folder):
    write_jsonl(folder, rows_of(3, answer=[3, 3.0, 2.5], id=[1, 2, 3], group=[7, 7, 8]))
    rows = read_folder(str(folder)).rows
    assert [row.answers for row in rows] == [("3",), ("3",), ("2.5",)]
    assert [row.id for row in rows] == ["1", "2", "3"]
    assert rows[0].group == "7"


def test_what_was_stored_is_stored_again_only_if_something_changed(folder):
    write_jsonl(folder, rows_of())
    first = store_folder(str(folder), "exact_match")
    made = first.path.stat().st_mtime_ns
    assert store_folder(str(folder), "exact_match") == first
    assert first.path.stat().st_mtime_ns == made
    Image.new("RGB", (20, 16), "black").save(folder / "images/0.png")
    os.utime(folder / "images/0.png", ns=(1, 1))
    assert store_folder(str(folder), "exact_match").sha256 != first.sha256
    write_jsonl(folder, rows_of(answer=["Red", *COLOURS[1:]]))
    assert store_folder(str(folder), "exact_match").sha256 != first.sha256


ROWS = rows_of()
WRONG = {
    "a missing picture": (
        [*ROWS[:2], {**ROWS[2], "image": "images/22.png"}],
        r"data\.jsonl, line 3, id 'q2': image='images/22\.png' isn't there \(there is images/2\.png\)",
    ),
    "in no folder": (
        [{**ROWS[0], "image": "pictures/0.png"}],
        r"line 1, id 'q0': .* isn't there \(there is no folder .*pictures\)",
    ),
    "in capitals": ([{**ROWS[0], "image": "images/0.PNG"}], r"there is images/0\.png"),
    "with backslashes": ([{**ROWS[0], "image": "images\\0.png"}], r"write images/0\.png, with slashes"),
    "a folder": ([{**ROWS[0], "image": "images"}], r"is a folder, not a picture"),
    "an address": (
        [{**ROWS[0], "image": "https://example.org/a.png"}],
        r"is an address.*download the picture",
    ),
    "above the folder": ([{**ROWS[0], "image": "../a.png"}], r"'\.\./a\.png' leads out of the folder.*ln -s"),
    "somewhere else": ([{**ROWS[0], "image": "/data/a.png"}], r"'/data/a\.png' leads out of the folder"),
    "no picture": ([ROWS[0], without(ROWS, "image")[1]], r"line 2, id 'q1': it names no picture"),
    "an id twice": (
        [*ROWS, {**ROWS[3], "id": "q0"}],
        r"line 5, id 'q0': it has the id of line 1\. Give each row an id of its own",
    ),
    "a row twice": (without([*ROWS, ROWS[1]], "id"), r"line 5: it is the same as line 2\."),
    "an id forgotten": ([ROWS[0], without(ROWS, "id")[1]], r"line 2: it has no id, and other rows have one"),
    "a group forgotten": ([{**ROWS[0], "group": "a"}, ROWS[1]], r"line 2, id 'q1': it has no group"),
    "no answers": ([{**row, "answer": ""} for row in ROWS], r"none of its 4 lines has an answer"),
    "one answer empty": (
        [ROWS[0], {**ROWS[1], "answer": " "}, {**ROWS[2], "answer": None}],
        r"line 2, id 'q1': its answer is empty\. The same holds for line 3\.",
    ),
    "an empty one of several": (
        [{**without(ROWS, "answer")[0], "answers": ["a", ""]}],
        r"its answer is empty",
    ),
    "answer and answers": ([{**ROWS[0], "answers": ["red"]}], r"both answer and answers"),
    "answer as a list": ([{**ROWS[0], "answer": ["red"]}], r"answer is a list\. Name the field answers"),
    "no question": ([{**ROWS[0], "question": ""}], r"line 1, id 'q0': it has no question"),
    "a truth value": ([{**ROWS[0], "answer": True}], r"answer=true, a truth value\. Write answer as a text"),
    "an object": ([{**ROWS[0], "question": {"en": "a"}}], r"question=.*of kind dict"),
    "an unknown field": (
        [{**ROWS[0], "qestion": "a"}],
        r"Unknown field in .*line 1: 'qestion'.*Did you mean question\?.*data\.ignore=\[qestion\]",
    ),
    "without questions": (without(ROWS, "question"), r"has no field question\. It has id, image, answer"),
    "without answers": (without(ROWS, "answer"), r"has no field answer \(or answers\)"),
    "too many places": (
        [{**ROWS[0], "question": "<image> or <image>?"}],
        r"2 times '<image>', but 1 picture\.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows_are_refused_with_line_and_id(folder, case):
    rows, words = WRONG[case]
    said = refused(write_jsonl(folder, rows))
    assert re.search(words, said), said


FILES = {
    "no JSON": ("data.jsonl", b'{"image": 1}\n{"image"\n', r"data\.jsonl, line 2: no JSON"),
    "a field twice": ("data.jsonl", b'{"id": 1, "id": 2}\n', r"line 1: no JSON \(it has 'id' twice\)"),
    "not a number": ("data.jsonl", b'{"answer": NaN}\n', r"line 1: no JSON \(NaN is no number"),
    "a list": ("data.jsonl", b'[\n{"id": 1}\n]\n', r"The file is one JSON list: write one object a line"),
    "a text": ("data.jsonl", b'"a"\n', r"line 1: 'a' is no object"),
    "Latin-1": (
        "data.jsonl",
        '{"answer": 1}\n{"answer": "über"}\n'.encode("latin-1"),
        r"not UTF-8: line 2 has the byte 0xfc",
    ),
    "UTF-16": ("data.csv", "image,question".encode("utf-16"), r"not UTF-8 but UTF-16"),
    "empty": ("data.jsonl", b"\n", r"holds no question"),
    "only a head": ("data.csv", b"image,question,answer\n", r"holds no question"),
    "a short row": (
        "data.csv",
        b"image,question,answer\na.png,b\n",
        r"line 2: it has 2 cells, and the first line names 3 fields",
    ),
    "a long row": ("data.csv", b"image,question,answer\na.png,b,c\na.png,b,c,d\n", r"line 3: it has 4 cells"),
    "semicolons": ("data.csv", b"image;question;answer\na.png;b;c\n", r"by semicolons\. Save it with commas"),
    "tabs": ("data.csv", b"image\tquestion\tanswer\n", r"by tabs"),
    "an open quote": ("data.csv", b'image,question,answer\na.png,"b,c\n', r"line 2: no CSV"),
    "a name twice": ("data.csv", b"image,question,question\n", r"names the field 'question' twice"),
    "half a list": (
        "data.csv",
        b'image,question,answers\na.png,b,"[""c"", d]"\n',
        r"line 2: answers=.* is no JSON list",
    ),
    "no Parquet": ("data.parquet", b"PAR1", r"data\.parquet"),
}


@pytest.mark.parametrize("case", FILES)
def test_wrong_files_are_refused_with_the_line(folder, case):
    name, content, words = FILES[case]
    (folder / name).write_bytes(content)
    said = refused(folder)
    assert re.search(words, said), said


def test_the_folder_has_just_one_data_file(folder, tmp_path):
    assert re.search(r"data\.folder=.*mine has no data\.jsonl, .*It is empty", refused(folder))
    (folder / "questions.json").write_text("[]", encoding="utf-8")
    assert "It holds questions.json." in refused(folder)
    write_jsonl(folder, rows_of())
    (folder / "data.csv").write_text("image,question,answer\n", encoding="utf-8")
    assert "has data.jsonl and data.csv: which one counts?" in refused(folder)
    assert re.search(r"data\.folder=.*nowhere is no folder", refused(tmp_path / "nowhere"))
    assert f"That is a file: give the folder, data.folder={folder}." in refused(folder / "data.csv")


def test_damaged_pictures_are_refused_before_anything_is_stored(folder, tmp_path):
    write_jsonl(folder, rows_of())
    whole = (folder / "images/2.png").read_bytes()
    (folder / "images/2.png").write_bytes(whole[: len(whole) // 2])
    said = refused(folder)
    assert re.search(
        r"line 3, id 'q2': image='images/2\.png' can't be opened: .*Replace it with a whole", said
    )
    (folder / "images/2.png").write_text("no picture", encoding="utf-8")
    assert re.search(r"line 3, id 'q2': .*cannot identify image file", refused(folder))
    held = tmp_path / "held"
    held.mkdir()
    rows = [{**row, "image": whole[:40] if row["id"] == "q1" else whole} for row in rows_of()]
    parquet.write_table(pa.Table.from_pylist(rows), held / "data.parquet")
    assert re.search(r"data\.parquet, row 2, id 'q1': its picture can't be opened", refused(held))
    assert not list(tmp_path.glob("cache/own/*.parquet"))


def test_pictures_in_parquet_keep_to_the_folder(folder):
    rows = [{**row, "image": {"bytes": None, "path": "../a.png"}} for row in rows_of(1)]
    Image.new("RGB", (4, 4)).save(folder.parent / "a.png")
    parquet.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
    assert re.search(r"row 1, id 'q0': image=.* leads out of the folder", refused(folder))
    rows = [{**row, "image": 3} for row in rows_of(1)]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
    assert re.search(r"row 1, id 'q0': image holds no picture: it is int", refused(folder))


def test_a_linked_folder_of_pictures_is_read(folder, tmp_path):
    make_pictures(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere" / "images")
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of()), encoding="utf-8")
    assert store_folder(str(folder), "exact_match").questions == 4


def test_fields_that_are_left_out_on_purpose(folder):
    write_jsonl(folder, rows_of(source=["a"] * 4))
    assert "Unknown field" in refused(folder)
    assert store_folder(str(folder), "exact_match", ["source"]).questions == 4
    assert "'sauce'" in refused(folder, ignore=["source", "sauce"])
    assert "data.ignore=[answer] would leave out a field that is read" in refused(folder, ignore=["answer"])


def test_questions_about_one_picture_belong_together_unless_groups_say_otherwise(folder):
    rows = [{**row, "image": "images/0.png"} for row in rows_of(3)]
    _, stored = stored_rows(write_jsonl(folder, [*rows, rows_of()[3]]))
    one, two, three, other = (row["group"] for row in stored)
    assert one == two == three != other
    given = [{**row, "group": name} for row, name in zip(rows, "aab", strict=True)]
    _, stored = stored_rows(write_jsonl(folder, given))
    assert [row["group"] for row in stored] == ["a", "a", "b"]
