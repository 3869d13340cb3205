"""LLaVA's JSON: what is read, with which lines, and what is refused or left out."""

import json
import subprocess
import sys

import pytest

from pdrop_eval.run.train.data import json_stream
from pdrop_eval.run.train.data.conversations import Turn, read_conversations
from pdrop_eval.utils.errors import UserError

CAT = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]
TEXT = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]


def entry(turns=TEXT, **fields):
    return {"id": "7", **fields, "conversations": turns}


def said(*turns):
    return [{"from": role, "value": value} for role, value in turns]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for name in ("a.jpg", "coco/b.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def data(tmp_path):
    """Writes a data file of entries, or of text as it is."""

    def write(content, name="data.json"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8", newline="")
        return path

    return write


def refused(path, images=None):
    with pytest.raises(UserError) as error:
        read_conversations([path], images)
    return str(error.value).replace(str(path.parent) + "/", "")


def test_an_answer_before_the_first_question_is_left_out(data):
    path = data([entry(said(("gpt", "Hi."), ("human", "How?"), ("gpt", "So.")))])
    assert read_conversations([path], None)[0][0].turns == (Turn("How?", "So."),)


def lines(path, images=None):
    return [conversation.line for conversation in read_conversations([path], images)[0]]


def test_turns_and_images_are_as_the_data_have_them(data, images):
    end = said(("human", "What is it?\n<image>"), ("gpt", "A dog."), ("human", "Sure?"), ("gpt", "Yes."))
    two = said(("human", "<image><image>\nWhich is older?"), ("gpt", "The first."))
    path = data(
        [
            entry(CAT, image="a.jpg"),
            entry(end, image="coco/b.jpg", id=12),
            entry(two, image=["a.jpg", "coco/b.jpg"]),
            entry(),
            entry(image=None),
            entry(image=[]),
            {"conversations": TEXT, "model": "ignored"},
        ]
    )
    found, skipped = read_conversations([path], images)
    assert skipped == {}
    assert [c.id for c in found] == ["7", "12", "7", "7", "7", "7", ""]
    a, b = images / "a.jpg", images / "coco" / "b.jpg"
    assert [c.images for c in found] == [(a,), (b,), (a, b), (), (), (), ()]
    assert found[1].turns == (Turn("What is it?\n<image>", "A dog."), Turn("Sure?", "Yes."))
    assert found[3].turns == (Turn("Hello", "Hi."),)
    assert found[0].where == f"{path}, line 1 (id 7)"
    assert found[6].where == f"{path}, line 1"


def test_files_are_read_in_order(data, images):
    one = data([entry(id="a")], "one.json")
    other = data('{"id": "b", "image": "a.jpg", "conversations": ' + json.dumps(CAT) + "}", "other.jsonl")
    found, _ = read_conversations([other, one], images)
    assert [(c.id, c.file) for c in found] == [("b", other), ("a", one)]


def test_an_empty_system_turn_is_left_out(data):
    path = data([entry(said(("system", " "), ("human", "Hello"), ("gpt", "Hi.")))])
    assert read_conversations([path], None)[0][0].turns == (Turn("Hello", "Hi."),)


def test_lines_of_arrays(data):
    assert lines(data([entry(), entry()])) == [1, 1]
    assert lines(data("[\n" + json.dumps(entry()) + ",\n\n" + json.dumps(entry()) + "\n]\n")) == [2, 4]
    # an entry takes 13 lines: braces, id, the list's two, and two turns of four lines
    assert lines(data(json.dumps([entry()] * 3, indent=1))) == [2, 15, 28]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_of_json_lines_in_any_dress(data, end, mark):
    texts = [json.dumps(entry(said(("human", "谁？"), ("gpt", "我\u2028。"))), ensure_ascii=False)] * 2
    path = data(mark + f"{texts[0]}{end}{end}{texts[1]}{end}".encode(), "data.jsonl")
    assert lines(path) == [1, 3]
    assert read_conversations([path], None)[0][1].turns == (Turn("谁？", "我\u2028。"),)


@pytest.mark.parametrize("block", [1, 2, 7, 64])
def test_blocks_may_end_anywhere(data, monkeypatch, block):
    monkeypatch.setattr(json_stream, "BLOCK", block)
    odd = entry(
        said(("human", 'a\\"\n \U0001f600 ]},{['), ("gpt", "ü" * 100)),
        n=[1.5e3, None, True, -12],
    )
    path = data("\n [" + json.dumps(odd) + "\n,\n" + json.dumps(odd, indent=20, ensure_ascii=False) + " ] \n")
    found, _ = read_conversations([path], None)
    assert [c.line for c in found] == [2, 4]
    assert [c.turns for c in found] == [(Turn(*(turn["value"] for turn in odd["conversations"])),)] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.json holds no conversation"),
        ("[]", "data.json holds no conversation"),
        ("\n  3", "data.json, line 2: not valid JSON: '3' where an array or an object"),
        ("[\n", "data.json, line 2: not valid JSON: the array has no end"),
        ("[\n%s,\n", "data.json, line 3: not valid JSON: the array has no end"),
        ("[\n%s\n", "data.json, line 3: not valid JSON: the array has no end"),
        ("[\n%s\n%s]", "data.json, line 3: not valid JSON: '{' where ',' or ']'"),
        ("[\n%s,\n]", "data.json, line 3: not valid JSON: Expecting value"),
        ("[%s]\n\n%s", "data.json, line 3: not valid JSON: '{' after the end"),
        ("[%s,\n{'id': 3}]", "data.json, line 2: not valid JSON: Expecting property name"),
        ('[%s,\n{"id": "3\n"}]', "data.json, line 2: not valid JSON: Invalid control character"),
        ('%s\n{"id": 3', "data.json, line 2: not valid JSON: Expecting ',' delimiter"),
        ('%s\n{"id": "3', "data.json, line 2: not valid JSON: Unterminated string"),
        ("[" * 100_000, "data.json, line 1: not valid JSON: maximum recursion depth exceeded"),
        ("[" + "9" * 5000 + "]", "data.json, line 1: not valid JSON: Exceeds the limit"),
    ],
)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_what_is_no_json_always_stops_with_its_line(data, text, message, on_error):
    path = data(text.replace("%s", json.dumps(entry())))
    with pytest.raises(UserError) as error:
        read_conversations([path], None, on_error)
    assert message in str(error.value)


def test_a_broken_file_is_not_read_to_its_end(data, monkeypatch):
    monkeypatch.setattr(json_stream, "BLOCK", 1000)
    path = data("[" + json.dumps(entry()) + ',\n{"id" 3},' + "\n{}," * 10_000)
    read = []
    monkeypatch.setattr(
        json_stream._Values,
        "_more",
        lambda self, more=json_stream._Values._more: (read.append(1), more(self)),
    )
    assert "line 2: not valid JSON: Expecting ':' delimiter" in refused(path)
    assert len(read) == 1


def test_what_is_not_utf_8_is_named_with_its_line(data):
    text = json.dumps(entry())
    latin = text.replace("Hello", "Gr\xfc\xdfe").encode("latin-1")
    assert "data.json, line 3: not UTF-8" in refused(data(f"[{text},\n\n".encode() + latin + b"]"))
    assert "data.json, line 1: not UTF-8" in refused(data(f"[{text}]".encode("utf-16")))
    assert "data.json, line 2: not UTF-8" in refused(data(f"{text}\n{text}é".encode()[:-1]))


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json can't be read: No such file"):
        read_conversations([tmp_path / "none.json"], None)
    with pytest.raises(UserError, match="can't be read: Is a directory"):
        read_conversations([tmp_path], None)
    with pytest.raises(UserError, match="No data file is named"):
        read_conversations([], None)


WRONG = {
    "no object": [3, "text", [entry()], None],
    "missing key": [
        {"id": "7", "image": "a.jpg"},
        entry({"from": "human", "value": "Hello"}),
        entry([{"from": "human"}, {"from": "gpt", "value": "Hi."}]),
        entry([{"value": "Hello"}, {"from": "gpt", "value": "Hi."}]),
        entry(said(("human", "Hello"), ("gpt", None))),
        entry(said(("human", ["Hello"]), ("gpt", "Hi."))),
        entry(said((None, "Hello"), ("gpt", "Hi."))),
        entry(["Hello", "Hi."]),
    ],
    "unknown role": [
        entry(said(("user", "Hello"), ("assistant", "Hi."))),
        entry(said(("human", "Hello"), ("GPT", "Hi."))),
        entry(said(("human", "Hello"), ("system", "Hi."))),
    ],
    "system prompt": [entry(said(("system", "Be kind."), *[("human", "Hello"), ("gpt", "Hi.")]))],
    "turn order": [
        entry(said(("gpt", "Hi."), ("gpt", "Hi."), ("human", "Hello"), ("gpt", "Hi."))),
        entry(said(("human", "Hello"), ("human", "Hello?"), ("gpt", "Hi."))),
        entry(said(("human", "Hello"), ("gpt", "Hi."), ("gpt", "Hi."))),
    ],
    "no answer": [entry([]), entry(said(("human", "Hello"))), entry(said(("system", ""))),
                  entry(said(("human", "Hello"), ("gpt", "Hi."), ("human", "Bye")))],
    "empty answer": [entry(said(("human", "Hello"), ("gpt", " \n")))],
    "empty question": [entry(said(("human", ""), ("gpt", "Hi.")))],
    "broken character": [entry(said(("human", "Hello"), ("gpt", "\ud83d")))],
    "image name": [entry(CAT, image=image) for image in (3, "", ["a.jpg", None], {}, False)],
    "unknown key": [
        entry(images=["a.jpg"]), entry(CAT, images="a.jpg"), entry(video="a.mp4"), entry(videos=["a.mp4"]),
        entry(CAT, image="a.jpg", video="a.mp4"), entry(audio="a.wav"), entry(image_path="a.jpg"),
    ],
    "image without mark": [entry(image="a.jpg"), entry(image=["a.jpg", "a.jpg"])],
    "mark without image": [entry(CAT)],
    "number of marks": [
        entry(CAT, image=["a.jpg", "a.jpg"]),
        entry(said(("human", "<image><image>"), ("gpt", "Hi.")), image="a.jpg"),
    ],
    "mark in answer": [entry(said(("human", "<image>\nHello"), ("gpt", "an <image>")), image="a.jpg")],
    "mark in later turn": [
        entry(said(("human", "Hello"), ("gpt", "Hi."), ("human", "<image>"), ("gpt", "Hm.")), image="a.jpg"),
        entry([*CAT, *CAT], image="a.jpg"),
    ],
    "image path": [entry(CAT, image=name) for name in ("/a.jpg", "../a.jpg", "coco/../../a.jpg", "coco/..")],
    "missing image": [
        entry(CAT, image=name)
        for name in ("none.jpg", "coco/a.jpg", "none/a.jpg", "a.jpg/b.jpg", "coco", ".", "coco/", "a\0/b.jpg")
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "wrong"), [(name, case) for name, cases in WRONG.items() for case in cases])
def test_a_wrong_entry_stops_with_file_line_and_fix_or_is_counted(data, images, name, wrong):
    path = data("[\n" + json.dumps(entry()) + ",\n" + json.dumps(wrong) + "\n]")
    message = refused(path, images)
    assert message.startswith(f"data.json, line 3{' (id 7)' if isinstance(wrong, dict) else ''}: ")
    assert message.endswith(f"1 entry can't be used: {name} (1); on_error=skip leaves it out and keeps 1.")
    found, skipped = read_conversations([path], images, "skip")
    assert [c.line for c in found] == [2]
    assert skipped == {name: 1}


def test_a_key_of_another_format_that_names_nothing_is_no_problem(data):
    assert len(read_conversations([data([entry(images=[], video=None, model="x", width=3)])], None)[0]) == 1


def test_the_message_names_what_is_there_and_the_fix(data, images):
    wrong = said(("user", "Hello"), ("gpt", "Hi."))
    message = refused(data([entry(wrong)]))
    assert message.startswith(
        "data.json, line 1 (id 7): turn 1 is from 'user'. Allowed are 'human' and 'gpt'. "
    )
    assert message.endswith("The only entry can't be used: unknown role (1).")
    message = refused(data([entry(CAT, image="none/c.jpg"), entry()]), images)
    assert (
        "the image 'none/c.jpg' is not in images. Nothing is in images/none: unpack it, or remove" in message
    )
    assert "the image 'c.jpg' is not in images. Put it there, or" in refused(
        data([entry(CAT, image="c.jpg")]), images
    )


def test_all_problems_and_missing_images_are_counted_in_the_message(data, images):
    missing = [entry(CAT, image=f"none/{i}.jpg", id=str(i)) for i in (1, 2, 2, 3, 4)]
    path = data([entry(), *missing, entry(CAT), entry()])
    message = refused(path, images)
    assert message.startswith("data.json, line 1 (id 1): the image 'none/1.jpg' is not in ")
    assert message.endswith(
        "4 images are missing: none/1.jpg, none/2.jpg, none/3.jpg, .... 6 entries can't be used: "
        "missing image (5), mark without image (1); on_error=skip leaves them out and keeps 2."
    )
    found, skipped = read_conversations([path], images, "skip")
    assert (len(found), skipped) == (2, {"missing image": 5, "mark without image": 1})


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_without_the_image_folder_nothing_is_left_out(data, tmp_path, on_error):
    path = data([entry(), entry(CAT, image="a.jpg")])
    with pytest.raises(UserError, match=r"image folder .*elsewhere is not there; the data name a\.jpg"):
        read_conversations([path], tmp_path / "elsewhere", on_error)
    with pytest.raises(UserError, match=r"The data name images \(a\.jpg\) and no folder"):
        read_conversations([path], None, on_error)
    assert len(read_conversations([data([entry()])], tmp_path / "elsewhere", on_error)[0]) == 1


def test_data_of_which_nothing_can_be_used_stop_though_problems_are_skipped(data):
    with pytest.raises(UserError, match=r"None of the 2 entries can be used: mark without image \(2\)"):
        read_conversations([data([entry(CAT)] * 2)], None, "skip")


def test_links_to_images_are_images_and_broken_links_are_not(data, images):
    (images / "link.jpg").symlink_to(images / "a.jpg")
    (images / "broken.jpg").symlink_to(images / "none.jpg")
    (images / "also").symlink_to(images / "coco")
    names = ("link.jpg", "also/b.jpg", "broken.jpg")
    found, skipped = read_conversations([data([entry(CAT, image=name) for name in names])], images, "skip")
    assert [c.images for c in found] == [(images / "link.jpg",), (images / "also/b.jpg",)]
    assert skipped == {"missing image": 1}


def test_what_to_do_on_errors_is_stop_or_skip(data):
    with pytest.raises(UserError, match="on_error='ignore': 'stop' or 'skip'"):
        read_conversations([data([entry()])], None, "ignore")


@pytest.mark.parametrize("between", [", ", ",\n"])
def test_of_a_hundred_thousand_entries_a_block_or_two_are_in_memory(data, monkeypatch, between):
    monkeypatch.setattr(json_stream, "BLOCK", 10_000)
    held = []
    more = json_stream._Values._more
    monkeypatch.setattr(json_stream._Values, "_more", lambda self: (more(self), held.append(len(self.text))))
    path = data(f"[{between.join([json.dumps(entry())] * 100_000)}]")
    found = [line for line, _ in json_stream.read_entries(path)]
    assert found == (list(range(1, 100_001)) if between == ",\n" else [1] * 100_000)
    assert sum(held) > path.stat().st_size
    assert max(held) < 20_000


def test_reading_needs_neither_torch_nor_transformers():
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'PIL', 'numpy'): sys.modules[name] = None\n"
        "import pdrop_eval.run.train.data.conversations"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
