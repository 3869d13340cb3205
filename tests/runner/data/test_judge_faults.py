"""The judge's server as it may be: slow, broken, full of tricks. Bytes over a socket, without a model."""

import contextlib
import gzip
import json
import socket
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from pdrop_eval.benchmarks.judging import mmvet
from pdrop_eval.benchmarks.judging.client import Judge, JudgeError, make_judge
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.judge import left_to
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server import bounded_request, chat_server


def reply(body, status="200 OK", *headers):
    body = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def completion(content="0.5", model="stub"):
    return reply(json.dumps({"model": model, "choices": [{"message": {"content": content}}]}))


@pytest.fixture
def server(monkeypatch):
    """A server whose `say` sends what it wants over each connection; `heads` are the requests it got."""
    monkeypatch.setattr(chat_server, "_PAUSE", 0.0)
    monkeypatch.setattr(bounded_request, "_OF_ERRORS", 0.2)
    listening = socket.create_server(("127.0.0.1", 0))
    state = SimpleNamespace(say=lambda c: c.sendall(completion()), heads=[], open=True)

    def serve(connection):
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(head.partition(b"\r\n\r\n")[2]) < length:
                head += connection.recv(65536)
            state.heads.append(head.decode())
            with contextlib.suppress(OSError):  # the client has given up
                state.say(connection)

    def accept():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    state.port = listening.getsockname()[1]
    state.url = f"http://127.0.0.1:{state.port}/v1"
    yield state
    state.open = False
    listening.close()


def ask(server, **changes):
    given = {"model": "m", "base_url": server.url, "key": "the-key", "timeout": 5, "retries": 0, **changes}
    return Judge(**given).ask("prompt", mmvet.read_score)


def always(content):
    return lambda connection: connection.sendall(content)


def hanging(content, server):
    def say(connection):
        connection.sendall(content)
        while server.open:
            time.sleep(0.02)

    return say


def dripping(start, server):
    def say(connection):
        connection.sendall(start)
        while server.open:
            connection.sendall(b"a")
            time.sleep(0.02)

    return say


LONGER = b"HTTP/1.1 %s\r\nContent-Length: 1000\r\n\r\nout of memory"


def test_a_redirection_is_refused_and_the_key_goes_nowhere_else(server):
    for status in ("302 Found", "307 Temporary Redirect", "308 Permanent Redirect", "303 See Other"):
        server.heads.clear()
        server.say = always(reply("", status, f"Location: {server.url}/elsewhere?key=abcdefgh"))
        with pytest.raises(JudgeError, match=r"redirects \(HTTP 30.*elsewhere\?key=\*\*\*.*judge.base_url"):
            ask(server, retries=3)
        assert len(server.heads) == 1


@pytest.mark.parametrize("status", [b"500 Oops", b"401 No"])
def test_an_error_whose_body_is_short_or_never_ends_is_still_that_error(server, status):
    words = f"HTTP {status[:3].decode()}"
    for say in (always(LONGER % status), hanging(LONGER % status, server), dripping(LONGER % status, server)):
        server.say = say
        began = time.monotonic()
        with pytest.raises(JudgeError, match=words):
            ask(server)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
)
def test_bytes_that_drip_do_not_pass_the_time_limit(server, start):
    server.say = dripping(start, server)
    began = time.monotonic()
    with pytest.raises(JudgeError, match=r"no answer within 0.3 s|takes too long"):
        ask(server, timeout=0.3)
    assert time.monotonic() - began < 2


def test_a_reply_of_any_length_is_read_to_a_megabyte_at_most(server):
    sent = []

    def say(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n")
        for _ in range(300):
            sent.append(connection.send(b"a" * 1_000_000))

    server.say = say
    with pytest.raises(JudgeError, match="longer than 1048576 bytes"):
        ask(server)
    assert sum(sent) < 30_000_000  # what the system's buffers take beside


def test_a_compressed_reply_is_read_and_a_bomb_is_not(server):
    body = json.dumps({"choices": [{"message": {"content": "0.5"}}]}).encode()
    server.say = always(reply(gzip.compress(body), "200 OK", "Content-Encoding: gzip"))
    assert ask(server) == (0.5, "m")
    assert "accept-encoding: identity" in server.heads[0].lower()
    server.say = always(reply(gzip.compress(b"a" * 50_000_000, 1), "200 OK", "Content-Encoding: gzip"))
    with pytest.raises(JudgeError, match=r"longer than 1048576|no chat completion"):
        ask(server)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"choices": ' + "[" * 100_000,
        r'{"model": "\ud800", "choices": [{"message": {"content": "1"}}]}',
        '{"choices": [{"message": {"content": ["1"]}}]}',
        '{"choices": [{"message": {"content": null}}]}',
        '{"choices": {"0": 1}}',
        "[]", "null", '"1"', "", "1", '{"choices": [{"message": "1"}]}', b"\xff\xfe", '{"x": 1e999}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_chat_completion_is_one_error(server, body):
    server.say = always(reply(body))
    with pytest.raises(JudgeError, match="no chat completion"):
        ask(server)


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01", b"HTTP/9.9 what\r\n\r\n", b"HTTP/1.1 200 OK\r\nX"])
def test_what_is_no_http_is_one_error(server, start):
    server.say = always(start)
    with pytest.raises(JudgeError, match="gave no score in 1 try: no connection"):
        ask(server)


@pytest.mark.parametrize(
    "text", ["0_1", "\u0661", "\uff11.0", "1e-1", "+1", "-0", "inf", "0x1", "1/1", "1.0.0"]
)
def test_only_ascii_digits_are_a_score(server, text):
    server.say = always(completion(text))
    with pytest.raises(JudgeError, match="number from 0 to 1"):
        ask(server)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("0.25 because", 0.25), (".5", 0.5), ("1.", 1), ("0", 0)]
)
def test_a_plain_number_is_a_score(text, value):
    assert mmvet.read_score(text) == value


def test_the_server_says_when_it_is_asked_again(server):
    date = formatdate(time.time() + 3, usegmt=True)
    for said, least in ((date, 1.0), ("1", 1.0), ("0", 0.0), ("soon", 0.0), ("-5", 0.0), ("\u00b2", 0.0)):
        answers = iter([reply("", "429 Slow", f"Retry-After: {said}"), completion()])
        server.say = lambda c, answers=answers: c.sendall(next(answers))
        began = time.monotonic()
        assert ask(server, retries=1) == (0.5, "stub")
        took = time.monotonic() - began
        assert least <= took < least + 2.5
    server.say = always(reply("quota", "429 Slow", "Retry-After: 86400"))
    with pytest.raises(JudgeError, match=r"asked again in 86400 s, not before: HTTP 429 Slow: quota"):
        ask(server, retries=1)


def test_without_a_word_of_the_server_pauses_double_up_to_a_minute(monkeypatch):
    error = chat_server.TemporaryError("")
    outcome = SimpleNamespace(exception=lambda: error)
    waits = [
        chat_server._wait(SimpleNamespace(outcome=outcome, attempt_number=n)) for n in (1, 2, 3, 6, 7, 5000)
    ]
    assert waits == [1, 2, 4, 32, 60, 60]


def samples(count):
    asked = {"question": "How many?", "answer": "1", "capability": "rec", "prediction": "1"}
    return [{"images_sha256": "0", "to_judge": {"question_id": f"v1_{i}", **asked}} for i in range(count)]


ENTRY = {"benchmark": "mmvet", "metric": "gpt_eval_score", "n": 8}


def judged(server, path, count=3, **changes):
    given = {"model": "m", "base_url": server.url, "key": None, "timeout": 5, "retries": 0, **changes}
    return mmvet.judge_entry(ENTRY, samples(count), Judge(**given), 10, 0, mmvet.Judged(path))[0]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e"])
def test_signs_that_end_lines_elsewhere_make_no_answer_asked_twice(server, tmp_path, sign):
    server.say = always(completion(model=f"stub{sign}2"))
    for _ in range(2):
        entry = judged(server, tmp_path / "judged.jsonl", model=f"m{sign}n")
        assert (entry["score"], entry["judge"]["answered"]) == (50, [f"stub{sign}2"])
        assert len(server.heads) == 3


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("{url}?api_key=s3cr3t-key", "{url}?api_key=***"),
        ("{url}?api-version=2024-02-01&key=s3cr3t-key", "{url}?api-version=2024-02-01&key=***"),
        ("http://someone:s3cr3t-key@127.0.0.1:{port}/v1", "http://***@127.0.0.1:{port}/v1"),
    ],
)
def test_an_address_with_a_secret_works_and_is_stored_and_shown_without_it(server, tmp_path, given, shown):
    where = {"url": server.url, "port": server.port}
    given, shown = given.format(**where), shown.format(**where)
    path = tmp_path / "judged.jsonl"
    entry = judged(server, path, base_url=given)
    assert entry["judge"]["base_url"] == shown
    assert "s3cr3t" not in path.read_text() + json.dumps(entry)
    line, _, head = server.heads[0].partition("\r\n")
    query = given.partition("?")[2]
    assert line == f"POST /v1/chat/completions{'?' if query else ''}{query} HTTP/1.1"
    if not query:  # printf someone:s3cr3t-key | base64
        assert "authorization: basic c29tzw9uztpzm2nym3qta2v5" in head.lower()
    judged(server, path, base_url=given)
    assert len(server.heads) == 3
    # what an earlier version stored raw is the same judge
    path.write_text(path.read_text().replace(shown, given))
    judged(server, path, base_url=given)
    assert len(server.heads) == 3
    judge = Judge(model="m", base_url=given, key=None, timeout=5, retries=0)
    for address in (given, shown):
        stored = {**entry, "judge": {**entry["judge"], "base_url": address}}
        assert left_to(judge, {"tasks": {"mmvet": stored}}, ["mmvet"]) == []
    server.say = always(reply(f"no such key: s3cr3t-key at {given}", "401 No"))
    with pytest.raises(JudgeError) as caught:
        ask(server, base_url=given, key=None)
    assert "s3cr3t" not in str(caught.value) + repr(judge)


def test_an_interruption_ends_at_once_while_answers_pauses_and_retries_wait(server, tmp_path, monkeypatch):
    monkeypatch.setattr(chat_server, "_PAUSE", 30.0)
    first = iter([reply("", "500 Oops"), reply("", "429 Slow", "Retry-After: 200")])
    server.say = lambda c: (c.sendall(next(first, b"")), hanging(b"", server)(c))
    waiting = mmvet.ThreadPoolExecutor.map

    def interrupted(pool, *arguments):
        found = waiting(pool, *arguments)
        time.sleep(0.5)
        raise KeyboardInterrupt from StopIteration(found)

    monkeypatch.setattr(mmvet.ThreadPoolExecutor, "map", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        judged(server, tmp_path / "judged.jsonl", 100, timeout=60, retries=5)
    assert time.monotonic() - began < 2
    assert len(server.heads) <= 8


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"base_url": "https://"}, "k", "no web address"),
        ({"base_url": "ftp://host/v1"}, "k", "no web address"),
        ({"base_url": "http://host:port/v1"}, "k", "no web address"),
        ({"base_url": "http://user:pa/ss@host/v1"}, "k", r"http://\*\*\*@host/v1 is no web address.*%40"),
        ({"base_url": "http://user:pass@host/v1"}, "k", r"\*\*\*@host.*judge.api_key_env=null"),
        ({"model": " "}, "k", "no name of a model"),
        ({"model": "a\udcff"}, "k", "no name of a model"),
        ({"timeout": 1e300}, "k", "judge.timeout=1e\\+300"),
        ({"timeout": float("inf")}, "k", "judge.timeout=inf"),
        ({"retries": True}, "k", "judge.retries=True"),
        ({}, "sk-ab\ncd", "OPENAI_API_KEY holds no key"),
        ({}, "schl\u00fcssel", "OPENAI_API_KEY holds no key"),
    ],
)
def test_what_can_not_be_sent_is_refused_before(changes, key, words, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match=words) as caught:
        make_judge(replace(compose_spec().judge, **{"model": "m", **changes}))
    assert "pass@" not in str(caught.value)
    assert "pa/ss" not in str(caught.value)
    assert key == "k" or key not in str(caught.value)


def test_a_proxy_that_is_none_is_one_error(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "nothing://")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(JudgeError):
        ask(server)
