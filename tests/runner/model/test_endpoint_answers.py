"""What is sent to a model's server, and what counts as its answer; several questions at a time."""

import threading
import time
from types import SimpleNamespace

import pytest
from answering_server import MODEL, completion, pictures_of, serving, text_of
from PIL import Image

from pdrop_eval.models.prompts import PlaceholderError
from pdrop_eval.run.config.endpoint import EndpointSpec
from pdrop_eval.run.endpoint.asking import Asking
from pdrop_eval.run.endpoint.model import EndpointModel, UnansweredError
from pdrop_eval.run.endpoint.question import content_of
from pdrop_eval.run.endpoint.server import make_server
from pdrop_eval.run.lmms.answer_log import AnswerLog
from pdrop_eval.utils.server import chat_server
from pdrop_eval.utils.server.chat_server import QuestionError, ServerError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(chat_server, "_PAUSE", 0.0)
    with serving() as running:
        yield running


def picture(side=8, shade=0):
    image = Image.new("RGB", (side, side), (shade, 7, 250))
    image.putpixel((1, 2), (3, 4, 5))
    return image


def requests_of(texts, generation=None):
    """Requests of lmms-eval's with one picture each, and the data that they are about."""
    docs = [{"text": text, "image": picture(shade=place)} for place, text in enumerate(texts)]
    asked = [
        SimpleNamespace(
            args=(text, generation or {"max_new_tokens": 5}, lambda doc: [doc["image"]], place, "t", "s"),
            idx=0,
        )
        for place, text in enumerate(texts)
    ]
    return asked, {"t": {"s": docs}}


def answered(server, texts=("What?",), generation=None, downsample=None, **changes):
    """The texts of all answers, and their log."""
    spec = EndpointSpec(
        **{"name": "e", "max_new_tokens": 9, "base_url": server.url, "served": MODEL, "retries": 2,
           "timeout": 5, "concurrency": 4, **changes}
    )  # fmt: skip
    model = EndpointModel(spec, make_server(spec), downsample)
    asked, model.task_dict = requests_of(texts, generation)
    log = AnswerLog()
    with model.writing_to(log):
        return [result.text for result in model.generate_until(asked)], log


def test_a_request_has_the_question_its_pixels_and_the_benchmarks_arguments(server):
    answered(
        server,
        ["What is it?"],
        {"max_new_tokens": 16, "temperature": 0.7, "do_sample": True, "until": ["\n"]},
    )
    (asked,) = server.asked
    assert (text_of(asked), asked["model"]) == ("What is it?", MODEL)
    assert (asked["max_tokens"], asked["temperature"], asked["stop"]) == (16, 0, ["\n"])
    (sent,) = pictures_of(asked)
    assert (sent.mode, sent.tobytes()) == ("RGB", picture().tobytes())


def test_without_a_length_of_the_task_the_models_setting_counts(server):
    answered(server, generation={"until": ["a", "b", "c", "d", "e"]}, extra_body={"top_k": 1, "seed": 3})
    (asked,) = server.asked
    assert (asked["max_tokens"], asked["top_k"], asked["seed"]) == (9, 1, 3)
    assert "stop" not in asked  # five: servers take four


def test_an_answer_ends_where_the_task_says_so_whatever_the_server_does(server):
    server.say = lambda asked: completion("yes\nand more")
    assert answered(server, generation={"until": "\n"})[0] == ["yes"]


def test_a_smaller_picture_is_sent_under_the_hash_of_the_whole_one(server):
    log = answered(server, downsample=2)[1]
    assert pictures_of(server.asked[0])[0].size == (4, 4)
    assert log.measurements["t", 0].image_sizes == [[8, 8]]
    assert log.measurements["t", 0].images_sha256 == answered(server)[1].measurements["t", 0].images_sha256


def test_what_the_server_counts_is_kept_and_the_rest_is_unknown(server):
    measured = answered(server)[1].measurements["t", 0]
    assert (measured.prompt_tokens, measured.new_tokens, measured.image_tokens) == (31, 2, None)
    assert (measured.image_tokens_per_layer, measured.retained) == ((), [])


@pytest.mark.parametrize(
    ("text", "count", "kinds"),
    [
        ("Which?", 2, "IIT"),
        ("<image>Which?", 1, "IT"),
        ("First <image> or <image>?", 2, "TITIT"),
        ("Is it <image>?", 2, "ITIT"),
        ("Which?", 0, "T"),
    ],
)
def test_images_stand_at_their_places(text, count, kinds):
    parts = content_of(text, [picture(shade=shade) for shade in range(count)])
    assert "".join("I" if part["type"] == "image_url" else "T" for part in parts) == kinds
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert len(set(urls)) == count


def test_more_places_than_images_are_refused():
    with pytest.raises(PlaceholderError, match="2 times '<image>', but 1 images"):
        content_of("<image> <image>", [picture()])


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (completion("A long ans", "length"), "A long ans"),
        (completion("", "stop"), ""),
        (completion("", "length"), ""),
        (completion([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]), "yes"),
        (completion("yes", None), "yes"),
    ],
)
def test_what_is_an_answer(server, reply, text):
    server.say = lambda asked: reply
    assert answered(server)[0] == [text]
    assert len(server.asked) == 1


BUSY = (429, "slow down", [("Retry-After", "0")])


@pytest.mark.parametrize(
    "reply",
    [BUSY, (500, "oops"), (503, "busy"), (200, "<html>"), (200, '{"choices"'), (200, '{"choices": []}'),
     (200, "[]"), (200, "half", [("Content-Length", "1000")]), completion(None), completion("ye", "abort"),
     completion(7)],
)  # fmt: skip
def test_a_failure_that_passes_leaves_no_trace(server, reply):
    answers = iter([reply, reply, completion("yes")])
    server.say = lambda asked: next(answers)
    assert answered(server)[0] == ["yes"]


@pytest.mark.parametrize(
    ("reply", "tries", "words"),
    [
        ((500, "oops"), 3, r"task t, sample 0: .*no answer in 3 tries: HTTP 500.*oops"),
        (completion(None), 3, "no chat completion that is whole"),
        (completion(None, "length"), 1, "finish_reason length.*enable_thinking:false"),
        (completion("", "length", reasoning_content="hm"), 1, "finish_reason length.*enable_thinking"),
        (completion(None, "content_filter"), 1, "withholds the answer"),
        (
            (400, "prompt is longer than the maximum model length"),
            1,
            "refused: HTTP 400.*longer than the maximum",
        ),
        ((401, "bad key"), 1, "refused: HTTP 401"),
        ((429, "quota", [("Retry-After", "9999")]), 1, "asked again in 9999 s"),
    ],
)
def test_a_failure_that_stays_is_no_answer(server, reply, tries, words):
    server.say = lambda asked: reply
    with pytest.raises(
        UnansweredError, match=rf"{words}.*0 of 1 answers are there and kept; the same command"
    ):
        answered(server)
    assert len(server.asked) == tries


def test_an_answer_that_is_late_or_too_long_is_none(server, monkeypatch):
    server.say = lambda asked: (time.sleep(0.5), completion("yes"))[1]
    with pytest.raises(UnansweredError, match=r"no answer within 0.1 s"):
        answered(server, timeout=0.1, retries=0)
    monkeypatch.setattr("pdrop_eval.run.endpoint.server._MOST", 1000)
    server.say = lambda asked: completion("y" * 2000)
    with pytest.raises(UnansweredError, match="longer than 1000 bytes"):
        answered(server, retries=0)


TEXTS = [f"Question {place}" for place in range(12)]


def test_answers_stand_in_the_questions_order_and_no_more_are_asked_than_allowed(server):
    def say(asked):
        number = int(text_of(asked).split()[1])
        time.sleep(0.03 * (number % 3))
        return completion(str(number))

    server.say = say
    assert answered(server, TEXTS)[0] == [str(place) for place in range(12)]
    assert 2 <= server.most <= 4


def test_one_question_that_fails_keeps_no_other_from_being_asked(server):
    bad = (400, "too long")
    server.say = lambda asked: bad if text_of(asked).endswith(" 3") else completion("yes")
    with pytest.raises(UnansweredError, match=r"task t, sample 3: .*too long.*11 of 12 answers are there"):
        answered(server, TEXTS)
    assert len(server.asked) == 12


def test_a_server_that_goes_ends_the_run_after_some_failures_in_a_row(server):
    def say(asked):
        return completion("yes") if len(server.asked) <= 6 else (503, "gone")

    server.say = say
    with pytest.raises(UnansweredError, match=r"HTTP 503.*6 of 12 answers are there"):
        answered(server, TEXTS, concurrency=1, retries=0, give_up=3)
    assert len(server.asked) == 9


def test_failures_that_are_not_in_a_row_do_not_end_the_run():
    calls = []

    def ask(number):
        calls.append(number)
        if number % 2:
            raise QuestionError("odd")
        return number

    asking = Asking(SimpleNamespace(stop=lambda: None), ask, 1, 2)
    assert list(asking.answers(range(8))) == [(0, 0), (2, 2), (4, 4), (6, 6)]
    assert [number for number, _ in asking.failed] == [1, 3, 5, 7]


def test_a_refusal_stops_what_still_waits():
    stopped = threading.Event()

    def ask(number):
        if number:
            stopped.wait(5)
            return number
        raise ServerError("no")

    asking = Asking(SimpleNamespace(stop=stopped.set), ask, 2, 3)
    with pytest.raises(ServerError, match="no"):
        list(asking.answers(range(4)))
    assert stopped.is_set()
