"""What lmms-eval's scoring asks of language models never leaves the process: it is answered, or kept open."""

import json
import socket

import pytest

from pdrop_eval.benchmarks.judging.asks import (
    KeptReplies,
    NeedsJudge,
    NoReplyError,
    RefusedError,
    Replies,
    caught,
)
from pdrop_eval.benchmarks.judging.client import Judge, JudgeError

URL = "https://api.openai.com/v1/chat/completions"
ASKED = {"model": "gpt-4", "messages": [{"role": "user", "content": "Is it right?"}], "max_tokens": 16}


def by_openai():
    from openai import OpenAI

    made = OpenAI().chat.completions.create(**ASKED)
    return made.choices[0].message.content


def by_requests():
    import requests

    made = requests.post(URL, json=ASKED, timeout=3)
    made.raise_for_status()
    return made.json()["choices"][0]["message"]["content"]


def by_httpx():
    import httpx

    return httpx.post(URL, json=ASKED).json()["choices"][0]["message"]["content"]


def by_anthropic():
    import httpx

    made = httpx.post("https://api.anthropic.com/v1/messages", json={**ASKED, "system": "Be short."})
    return made.json()["content"][0]["text"]


WAYS = [by_openai, by_requests, by_httpx, by_anthropic]


@pytest.mark.parametrize("way", WAYS)
def test_every_client_gets_the_judges_reply(way):
    asked = []
    with caught(Replies(ask=lambda question: asked.append(question) or "correct")):
        assert way() == "correct"
    assert asked[0].messages[-1] == {"role": "user", "content": "Is it right?"}
    assert asked[0].tokens == 16


@pytest.mark.parametrize("way", WAYS)
def test_without_a_judge_no_task_can_take_the_silence_for_a_wrong_answer(way):
    replies = Replies()

    def swallowing():
        try:
            return way()
        except Exception:
            return "0"

    with caught(replies), pytest.raises(NeedsJudge):
        swallowing()
    assert len(replies.open) == 1


def test_a_judge_that_fails_is_no_wrong_answer_either():
    def fails(question):
        raise JudgeError("it gave no score")

    with caught(Replies(ask=fails)), pytest.raises(NoReplyError, match="it gave no score"):
        by_requests()


def test_the_same_question_is_asked_once_and_several_answers_are_several_questions():
    import requests

    asked = []
    with caught(Replies(ask=lambda question: asked.append(question) or str(len(asked)))):
        by_requests()
        by_openai()
        made = requests.post(URL, json={**ASKED, "n": 2}, timeout=3).json()
    assert [one["message"]["content"] for one in made["choices"]] == ["1", "2"]
    assert len(asked) == 2


def test_what_goes_past_the_known_clients_does_not_leave():
    replies = Replies(ask=lambda question: "yes")
    with socket.socket() as one, caught(replies), pytest.raises(RefusedError, match="it connects to"):
        one.connect(("127.0.0.1", 9))


def test_nothing_is_read_from_the_network_and_a_users_own_key_is_not_seen(monkeypatch):
    import os

    import requests

    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    with caught(Replies()):
        assert os.environ["OPENAI_API_KEY"] != "mine"
        with pytest.raises(RefusedError, match=r"it reads from example\.com"):
            requests.get("https://example.com/data", timeout=3)
    assert os.environ["OPENAI_API_KEY"] == "mine"


def test_replies_are_kept_as_they_come_for_the_same_judge_only(tmp_path, monkeypatch):
    monkeypatch.setattr(Judge, "ask", lambda self, messages, read, most: (read("correct"), "stub-2026"))
    judge = Judge(model="m", base_url="http://localhost:1/v1", key=None, timeout=1, retries=0)
    kept = KeptReplies(tmp_path / "kept.jsonl", judge)
    with caught(Replies(kept.known, kept.ask)):
        assert by_requests() == "correct"
    whole = (tmp_path / "kept.jsonl").read_text()
    (tmp_path / "kept.jsonl").write_text(whole + '{"judge": ["m"')  # what a kill cuts off
    again = KeptReplies(tmp_path / "kept.jsonl", judge)
    assert (again.known, again.answered) == (kept.known, {"stub-2026"})
    other = Judge(model="n", base_url="http://localhost:1/v1", key=None, timeout=1, retries=0)
    assert KeptReplies(tmp_path / "kept.jsonl", other).known == {}
    assert json.loads((tmp_path / "kept.jsonl").read_text().splitlines()[0])["reply"] == "correct"
