"""Rendered training data: in evaluation's words, the same for any number of processes, whole or not there."""

import hashlib
import json
import re
from collections import Counter
from random import Random

import numpy as np
import pytest
from PIL import Image

from pdrop_eval.benchmarks.rendered import pictures, suite
from pdrop_eval.benchmarks.rendered.pictures import Item, Picture
from pdrop_eval.benchmarks.rendered.questions import Question
from pdrop_eval.run.train.data.conversations import read_conversations
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import Lock
from tools.mini import conversations, dialogues
from tools.mini.conversations import render_conversations
from tools.mini.training import vocabulary
from tools.mini.training.packing import draw

pytestmark = pytest.mark.slow  # the whole suite is rendered


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rendered with much small print, so that all kinds of question occur."""
    return render_conversations(tmp_path_factory.mktemp("data") / "data", 400, 60, seed=3, small=0.5)


@pytest.fixture(scope="module")
def said(folder):
    """All conversations, read as training reads them."""
    return {
        name: read_conversations([folder / f"{name}.json"], folder / "images")[0]
        for name in ("instruct", "captions")
    }


def files(folder):
    """Contents by path, without the commit at which data.json was written."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    if b'"code"' in found.get("data.json", b""):
        found["data.json"] = {**json.loads(found["data.json"]), "code": None}
    return found


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_files(tmp_path):
    one = render_conversations(tmp_path / "one", 51, captions=1)
    two = render_conversations(tmp_path / "two", 51, captions=1, processes=2)
    assert files(one) == files(two)
    assert len(files(one)) == 51 + 1 + 3


def test_more_pictures_begin_with_the_same_and_another_seed_has_others(tmp_path):
    few = render_conversations(tmp_path / "few", 50)
    more = render_conversations(tmp_path / "more", 60)
    other = render_conversations(tmp_path / "other", 50, seed=1)
    first, longer, another = (
        (f / "instruct.json").read_text("utf-8").splitlines() for f in (few, more, other)
    )
    assert [line.rstrip(",") for line in first[1:-1]] == [line.rstrip(",") for line in longer[1:52]]
    assert not {*first[1:-1]} & {*another}
    name = "images/picture-000007.png"
    assert (few / name).read_bytes() == (more / name).read_bytes() != (other / name).read_bytes()


def test_the_pictures_are_those_of_the_named_streams(folder):
    for kind, stream in (("picture", "3:17"), ("caption", "3:caption:17")):
        drawn = draw(Random(f"conversation:{stream}")).image
        assert np.array_equal(np.asarray(Image.open(folder / "images" / f"{kind}-000017.png")), drawn)


def test_every_picture_has_one_conversation_and_every_fiftieth_is_followed_by_one_without(said, folder):
    assert len(said["instruct"]) == 400 + 400 // 50
    assert [place for place, c in enumerate(said["instruct"]) if not c.images] == [
        50 + 51 * i for i in range(8)
    ]
    shown = [c.images[0].name for name in said for c in said[name] if c.images]
    assert sorted(shown) == sorted(path.name for path in (folder / "images").iterdir())
    assert len(shown) == 460
    assert len({c.id for name in said for c in said[name]}) == 468


def test_a_conversation_begins_with_its_picture_and_has_one_to_five_turns(said):
    turns = Counter()
    for conversation in said["instruct"]:
        questions = [turn.question for turn in conversation.turns]
        assert questions[0].startswith("<image>\n") == bool(conversation.images)
        assert len({*questions}) == len(questions)
        turns[len(questions)] += 1
    assert set(turns) == {1, 2, 3, 4, 5}
    assert min(turns.values()) > 408 / 5 * 0.6
    assert all([t.question for t in c.turns] == ["<image>"] for c in said["captions"])


def test_the_number_of_turns_can_be_one(tmp_path):
    out = render_conversations(tmp_path / "data", 50, turns=(1, 1))
    found, _ = read_conversations([out / "instruct.json"], out / "images")
    assert {len(c.turns) for c in found} == {1}


def test_nothing_is_unknown_to_the_tokenizer(said):
    tokenizer = vocabulary.build_tokenizer()
    for conversation in said["instruct"] + said["captions"]:
        for turn in conversation.turns:
            text = f"USER: {turn.question} ASSISTANT: {turn.answer}"
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.unk_token_id not in ids, text
            assert ids == vocabulary.encode(text)
            answer = tokenizer(turn.answer, add_special_tokens=False).input_ids
            assert tokenizer.decode(answer).replace(" ", "") == turn.answer.replace(" ", "")


@pytest.fixture(scope="module")
def evaluated():
    """The first questions of each task of the suite, with their pictures."""
    return {task: [(picture, q.prompt) for picture, q, _ in suite.render(task, 120)] for task in suite.TASKS}


FIXED = {*vocabulary.INSTRUCTIONS, *vocabulary.LETTERS}
VALUES = {
    *vocabulary.CHARACTERS, *vocabulary.COLORS, *vocabulary.SHAPES, *vocabulary.KEYS, *vocabulary.SMALL_KEYS,
    *vocabulary.NUMBERS, *vocabulary.PLURALS.values(), *vocabulary.GENRES.values(),
    *vocabulary.SCENES.values(), *vocabulary.CN_COLORS.values(), *vocabulary.CN_SHAPES.values(),
    "left", "right", "above", "of", "highest", "lowest", "最高", "最低",
}  # fmt: skip


def parts(prompt):
    """A prompt's instructions and option letters, and its question with a star for each run of values."""
    pieces = re.findall(vocabulary.PATTERN, prompt)
    text = " ".join("*" if piece in VALUES else piece for piece in pieces if piece not in FIXED)
    question = re.split("[?？]", text)[0]
    return tuple(piece for piece in pieces if piece in FIXED), re.sub(r"\*( \*)+", "*", question)


def test_the_prompts_are_those_of_evaluation(said, evaluated):
    """Instructions and options as in the sixteen benchmarks, of which each occurs, and no other questions."""
    prompts = [turn.question.removeprefix("<image>\n") for c in said["instruct"] for turn in c.turns]
    asked = [
        parts(prompt) for prompt in prompts if "Which option is" not in prompt and "哪个选项是" not in prompt
    ]
    known = {task: {parts(prompt) for _, prompt in rows} for task, rows in evaluated.items()}
    frames = {task: {frame for frame, _ in pairs} for task, pairs in known.items()}
    questions = {question for pairs in known.values() for _, question in pairs}
    assert {question for _, question in asked} <= questions
    assert {frame for frame, _ in asked} <= set().union(*frames.values()) | {()}  # the exercises have none
    assert [task for task in frames if not frames[task] & {frame for frame, _ in asked}] == []


def test_no_picture_is_one_of_the_suite(folder, evaluated):
    def digest(pixels):
        return hashlib.sha256(pixels.tobytes()).digest()

    shown = {digest(picture.image) for rows in evaluated.values() for picture, _ in rows}
    drawn = {digest(np.asarray(Image.open(path))) for path in (folder / "images").iterdir()}
    assert len(drawn) == 460
    assert not shown & drawn


def test_answers_are_those_of_the_lessons_about_the_picture(said):
    for number in range(40):
        rng = Random(f"conversation:3:{number}")
        asked = dialogues.picture_questions(rng, draw(rng), 0.5)
        known = {(q.prompt, q.answer) for q in asked}
        turns = said["instruct"][number].turns
        assert {(t.question.removeprefix("<image>\n"), t.answer) for t in turns} <= known


def picture(kind, *items, blurred=False):
    nothing = np.zeros((4, 0), np.int64)
    return Picture(kind, np.zeros((288, 288, 3), np.uint8), items, nothing, blurred=blurred)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (picture("objects", Item("red", "circle"), Item("blue", "star")), "scene: red circle, blue star"),
        (picture("signs", Item("red", "circle", "4B", small="X7Y8")), "sign: red circle 4B"),
        (picture("chart", Item("cyan", "bar", "42"), Item("red", "bar", "7")),
         "chart: cyan bar 42, red bar 7"),
        (picture("page", Item("", "vat", "7F0")), "form: vat 7F0"),
        (picture("poster", Item("", "title", "KAMO"), Item("red", "star", "42%")),
         "poster: title KAMO, red star 42%"),
        (picture("cover", Item("", "author", "KAMO"), Item("red", "star", "fantasy")),
         "cover: author KAMO, red star fantasy"),
        (picture("photo", Item("red", "star", "4B")), "red star 4B"),
        (picture("photo", Item("red", "star", "4B"), blurred=True), "red star"),
    ],
)  # fmt: skip
def test_a_caption_says_what_there_is_and_can_be_read(shown, text):
    assert dialogues.caption(shown) == text


@pytest.mark.parametrize(
    "draw_kind", [pictures.signs, pictures.page, pictures.chart, pictures.poster, pictures.cover]
)
def test_small_print_is_asked_for_as_often_as_wanted(draw_kind):
    shown = draw_kind(Random(0))
    # each sign, bar and infographic's item has a string in small print, a page has two, a cover a year
    written = sum(bool(item.small) for item in shown.items) + len(shown.small)

    def asked(small):
        return sum(q.small for q in dialogues.picture_questions(Random(1), shown, small))

    assert written > 0
    assert (asked(0), asked(1)) == (0, written)
    halves = [q.small for i in range(40) for q in dialogues.picture_questions(Random(i), shown, 0.5)]
    assert 0.3 < sum(halves) / 40 / written < 0.7


def test_without_a_wish_the_questions_are_the_lessons():
    shown = pictures.signs(Random(0))
    asked = dialogues.picture_questions(Random(1), shown, None)
    assert asked == dialogues.lessons.training_questions(Random(1), shown)


def test_what_looks_at_another_place_is_asked_first():
    asked = [
        Question("gqa", prompt, "", evidence=places)
        for prompt, places in (("a", (1, 2)), ("b", (2,)), ("c", ()), ("d", (3,)), ("e", (3, 4)), ("f", ()))
    ]
    assert [q.prompt for q in dialogues.varied(asked)] == ["a", "c", "d", "f", "b", "e"]


def test_data_json_says_what_is_there(folder):
    data = json.loads((folder / "data.json").read_text())
    assert data["arguments"] == {"pictures": 400, "captions": 60, "turns": [1, 5], "seed": 3, "small": 0.5}
    entries = json.loads((folder / "instruct.json").read_text("utf-8"))
    assert data["files"]["instruct.json"] == {
        "conversations": 408,
        "text_only": 8,
        "turns": sum(len(entry["conversations"]) // 2 for entry in entries),
        "sha256": hashlib.sha256((folder / "instruct.json").read_bytes()).hexdigest(),
    }
    assert data["files"]["captions.json"]["turns"] == data["files"]["captions.json"]["conversations"] == 60
    assert data["files"]["images"]["pictures"] == 460
    assert set(data["code"]) == {"version", "commit", "dirty"}


def test_complete_data_are_left_alone(tmp_path, capsys, monkeypatch):
    out = render_conversations(tmp_path / "data", 5, captions=2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert render_conversations(out, 5, captions=2, processes=2) == out
    assert "already holds these conversations." in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(conversations, "_renderer", lambda: "other")
    render_conversations(out, 5, captions=2)
    said = " ".join(capsys.readouterr().err.split())
    assert "already holds these conversations, rendered by other code than this; remove the folder" in said
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"pictures": 6}, "rendered with pictures 5 instead of 6. Name another folder, or remove this one."),
        ({"seed": 1, "small": 0.5}, "seed 0 instead of 1, small None instead of 0.5"),
        ({"turns": (1, 4)}, r"turns \[1, 5\] instead of \[1, 4\]"),
        ({"captions": 2}, "captions 0 instead of 2"),
    ],
)
def test_data_of_other_arguments_are_not_overwritten(tmp_path, other, message):
    out = render_conversations(tmp_path / "data", 5)
    before = files(out)
    with pytest.raises(UserError, match=message):
        render_conversations(**{"out": out, "pictures": 5, **other})
    assert files(out) == before


@pytest.mark.parametrize("name", ["instruct.json", "images/picture-000003.png"])
@pytest.mark.parametrize("change", ["removed", "changed"])
def test_damaged_data_are_named(tmp_path, name, change):
    out = render_conversations(tmp_path / "data", 5)
    path = out / name
    path.unlink() if change == "removed" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{name.split('/')[0]} is not as it was rendered"):
        render_conversations(out, 5)


@pytest.mark.parametrize("content", ["", "{}", '{"arguments": {}, "files": 3}', None])
def test_what_is_something_else_is_not_overwritten(tmp_path, content):
    out = tmp_path / "data"
    if content is None:
        out.write_text("mine")
    else:
        out.mkdir()
        (out / ("data.json" if content else "mine.txt")).write_text(content)
    before = files(tmp_path)
    with pytest.raises(UserError, match="is no folder of rendered conversations"):
        render_conversations(out, 5)
    assert files(tmp_path) == before


def test_an_empty_folder_is_filled(tmp_path):
    render_conversations(tmp_path, 2)
    assert (tmp_path / "data.json").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_rendering_leaves_nothing_and_starts_over(tmp_path, monkeypatch, error):
    def stopping(job):
        if job.first:
            raise error
        return dialogues.make(job)

    with monkeypatch.context() as patch:
        patch.setattr(conversations, "make", stopping)
        with pytest.raises((KeyboardInterrupt, UserError)) as raised:
            render_conversations(tmp_path / "data", 60)
    assert list(tmp_path.iterdir()) == []
    assert raised.type is KeyboardInterrupt or "No space left on device. Free some space" in str(raised.value)
    whole = render_conversations(tmp_path / "other", 60)
    assert files(render_conversations(tmp_path / "data", 60)) == files(whole)


def test_what_a_killed_rendering_left_is_removed_and_what_another_process_renders_is_not(tmp_path):
    left, running, other = (
        tmp_path / f".data{end}" for end in ("-rendering-a", "-rendering-b", "2-rendering-c")
    )
    for work in (left, running, other):
        (work / "images").mkdir(parents=True)
        (work / "images" / "picture-000000.png").write_bytes(b"half")
    (left / ".lock").write_text("process 1")
    lock = Lock(running)
    render_conversations(tmp_path / "data", 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [running.name, other.name, "data"]
    lock.release()


def test_of_two_renderings_at_once_the_first_stays(tmp_path, monkeypatch):
    out = tmp_path / "data"
    render = conversations._render

    def slower(work, arguments, processes):
        monkeypatch.setattr(conversations, "_render", render)
        render_conversations(out, 2)
        render(work, arguments, processes)

    monkeypatch.setattr(conversations, "_render", slower)
    render_conversations(out, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pictures": -1}, "pictures=-1: 0 or more"),
        ({"pictures": 0}, "there is nothing to render"),
        ({"captions": -2}, "captions=-2: 0 or more"),
        ({"processes": 0}, "processes=0: 1 or more"),
        ({"turns": (0, 5)}, "turns=0-5: name two whole numbers"),
        ({"turns": (3, 2)}, "turns=3-2: name two"),
        ({"small": 1.5}, "small=1.5: a share from 0 to 1"),
        ({"small": float("nan")}, "small=nan: a share"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        render_conversations(**{"out": tmp_path / "data", "pictures": 5, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"can't be written to .*file/data: .* choose a folder"):
        render_conversations(tmp_path / "file" / "data", 5)


def test_the_command_says_where_the_data_are(tmp_path, monkeypatch, capsys):
    command = ["conversations", "--out", str(tmp_path / "data"), "--pictures", "3", "--turns", "2"]
    monkeypatch.setattr("sys.argv", [*command, "--captions", "1"])
    conversations.main()
    assert capsys.readouterr().out == f"The conversations are in {tmp_path / 'data'}.\n"
    made = json.loads((tmp_path / "data" / "data.json").read_text())["arguments"]
    assert made == {"pictures": 3, "captions": 1, "turns": [2, 2], "seed": 0, "small": None}
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        conversations.main()
    assert stopped.value.code == 2
    assert "captions 1 instead of 1000" in capsys.readouterr().err
