"""MM-Vet and its judge, over real HTTP: a server of our own that answers well, badly, late or not at all."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdrop_eval.benchmarks.judging import mmvet
from pdrop_eval.benchmarks.judging.client import Judge, JudgeError, make_judge
from pdrop_eval.records.store import load_samples
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.run.evaluate.models import Models
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server import chat_server


def completion(text):
    return 200, json.dumps({"model": "stub-2026", "choices": [{"message": {"content": text}}]})


@pytest.fixture
def server(monkeypatch):
    """A judge on this machine; `say` is a function of the request that returns status and body."""
    monkeypatch.setattr(chat_server, "_PAUSE", 0.0)
    state = SimpleNamespace(say=lambda asked: completion("1.0"), asked=[], headers=[], sent=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(asked)
            state.sent.append(str(self.headers))
            state.headers.append((self.path, self.headers.get("Authorization")))
            status, body = state.say(asked)
            try:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())
            except OSError:
                pass  # the client has given up waiting

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{running.server_port}/v1"
    yield state
    running.shutdown()
    running.server_close()


def judge_at(server, **changes):
    return Judge(**{"model": "m", "base_url": server.url, "key": "k", "timeout": 5, "retries": 2, **changes})


def ask(server, **changes):
    return judge_at(server, **changes).ask("prompt", mmvet.read_score)


def test_a_good_answer_is_a_score(server):
    server.say = lambda asked: completion(" 0.7\n")
    assert ask(server) == (0.7, "stub-2026")
    [asked] = server.asked
    assert asked["messages"] == [{"role": "user", "content": "prompt"}]
    assert (asked["model"], asked["temperature"]) == ("m", 0.0)
    assert server.headers == [("/v1/chat/completions", "Bearer k")]


def test_without_a_key_none_is_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "of-another-server")
    ask(server, key=None)
    assert server.headers[0][1] is None


def test_a_server_is_not_told_of_the_organisation_of_another(server, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    ask(server)
    assert "secret" not in server.sent[0]


@pytest.mark.parametrize("text", ["", "I think it is right", "1.5", "-0.1", "nan", "7/10"])
def test_an_answer_that_is_no_score_is_asked_for_again_and_then_a_failure(server, text):
    server.say = lambda asked: completion(text)
    with pytest.raises(JudgeError, match=r"The judge m at http.* no score in 3 tries: .*number from 0 to 1"):
        ask(server)
    assert [asked["temperature"] for asked in server.asked] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, "oops", "HTTP 500.*oops"),
        (429, "slow down", "HTTP 429"),
        (200, "<html>", "no chat completion"),
        (200, '{"choices": []}', "no chat completion"),
    ],
)
def test_a_server_in_trouble_is_asked_again_and_then_a_failure(server, status, body, words):
    server.say = lambda asked: (status, body)
    with pytest.raises(JudgeError, match=f"no score in 3 tries: .*{words}"):
        ask(server)
    assert [asked["temperature"] for asked in server.asked] == [0.0] * 3


def test_a_trouble_that_passes_is_no_failure(server):
    answers = iter([(503, "busy"), completion("maybe"), completion("0.4")])
    server.say = lambda asked: next(answers)
    assert ask(server)[0] == 0.4


def test_a_refusal_is_not_repeated(server):
    server.say = lambda asked: (401, "wrong key")
    with pytest.raises(JudgeError, match=r"refused: HTTP 401.*wrong key.*judge.model and the key"):
        ask(server)
    assert len(server.asked) == 1


def test_a_server_that_does_not_answer_in_time(server):
    server.say = lambda asked: (time.sleep(1), completion("1.0"))[1]
    with pytest.raises(JudgeError, match=r"in 1 try: no answer within 0.1 s"):
        ask(server, timeout=0.1, retries=0)


def test_a_server_that_is_not_there(server):
    with pytest.raises(JudgeError, match="no connection"):
        ask(server, base_url="http://127.0.0.1:9/v1", retries=0)


def settings(**changes):
    return replace(compose_spec().judge, **changes)


def test_no_model_is_no_judge():
    assert make_judge(compose_spec().judge) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "localhost:8000"}, "judge.base_url=localhost:8000.*http"),
        ({"timeout": 0}, "judge.timeout=0"),
        ({"retries": -1}, "judge.retries=-1"),
        ({"retries": 0.5}, "judge.retries=0.5"),
        ({"api_key_env": "PDROP_NO_SUCH_KEY"}, "PDROP_NO_SUCH_KEY is not set.*judge.api_key_env=null"),
    ],
)
def test_a_wrong_setting_of_the_judge_is_named(changes, words, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(UserError, match=words):
        make_judge(settings(model="m", **changes))


def test_the_key_is_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    made = make_judge(settings(model="m"))
    assert made.key == "secret-key"
    assert "secret" not in repr(made) + str(made.describe())


def test_the_judge_is_asked_with_mm_vets_own_few_shot_prompt():
    asked = {"question": "What is x?", "answer": "-1<AND>-5", "prediction": "x = -1"}
    prompt = mmvet.judge_prompt(asked)
    assert prompt.startswith("Compare the ground truth and prediction from AI models")
    assert "gpt_query_prompt | Ground truth | Prediction | Correctness\n--- | --- | --- | ---" in prompt
    assert prompt.endswith("\nWhat is x? | -1 <AND> -5 | x = -1 |")


def run(llava, data, results, *overrides):
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={results}", "tasks=[mmvet]"]
    return cli.evaluate(compose_spec([*given, "model.max_new_tokens=4", *overrides]))


@pytest.fixture
def short_answers(monkeypatch, lmms_eval):
    """1,024 tokens of a random model take their time."""
    from pdrop_eval.run.lmms.model import PdropLlava

    arguments = PdropLlava._arguments

    def short(self, given):
        return arguments(self, {**given, "max_new_tokens": 4})

    monkeypatch.setattr(PdropLlava, "_arguments", short)


def test_without_a_judge_mm_vet_has_answers_and_no_score(llava, data, tmp_path, short_answers, capsys):
    record = run(llava, data, tmp_path)
    entry = record["tasks"]["mmvet"]
    assert record["status"] == "completed"
    assert (entry["status"], entry["score"], entry["stderr"], entry["n"]) == ("needs_judge", None, None, 6)
    answers = json.loads((Path(record["folder"]) / entry["predictions"]).read_text())
    samples = load_samples(Path(record["folder"]), "mmvet")
    assert answers == {f"v1_{i}": sample["answer"] for i, sample in enumerate(samples)}
    assert "needs judge" in capsys.readouterr().out


def score_by_question(asked):
    """0.0, 0.1 ... 0.5 for questions 0 to 5."""
    number = asked["messages"][0]["content"].rpartition(" | ")[0].rpartition(" | ")[2]
    return completion(str(int(number) / 10))


def test_a_judge_scores_the_stored_answers_without_a_model(
    llava, data, tmp_path, short_answers, server, monkeypatch, capsys
):
    before = run(llava, data, tmp_path)
    monkeypatch.setattr(Models, "open", lambda *_: pytest.fail("a model was loaded"))
    server.say = score_by_question
    given = ["judge.model=m", f"judge.base_url={server.url}", "judge.api_key_env=null"]
    record = run(llava, data, tmp_path, *given)
    entry = record["tasks"]["mmvet"]
    assert (record["run_id"], record["status"]) == (before["run_id"], "completed")
    assert entry["status"] == "scored"
    assert ("tally" in entry, "tally" in before["tasks"]["mmvet"]) == (True, False)
    assert entry["score"] == pytest.approx(25)  # the mean of 0, 10, ... 50
    assert entry["stderr"] > 0
    assert entry["clusters"] == 3
    assert entry["parts"] == pytest.approx({"ocr": 25, "rec": 25})
    assert entry["predictions"] == before["tasks"]["mmvet"]["predictions"]
    assert (entry["judge"]["model"], entry["judge"]["base_url"]) == ("m", server.url)
    assert entry["judge"]["answered"] == ["stub-2026"]
    scores = [sample["score"] for sample in load_samples(Path(record["folder"]), "mmvet")]
    assert scores == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert "Judged by m: mmvet" in capsys.readouterr().out

    count = len(server.asked)
    assert run(llava, data, tmp_path, *given)["tasks"] == record["tasks"]  # the same judge isn't asked twice
    assert len(server.asked) == count
    assert run(llava, data, tmp_path)["tasks"] == record["tasks"]  # and without one the score stays
    another = run(llava, data, tmp_path, *given, "judge.model=n")
    assert another["tasks"]["mmvet"]["judge"]["model"] == "n"


def test_a_judge_that_fails_leaves_the_answers_unscored(
    llava, data, tmp_path, short_answers, server, monkeypatch
):
    server.say = lambda asked: (
        (500, "oops") if "| 3 |" in asked["messages"][0]["content"] else completion("1")
    )
    given = ["judge.model=m", f"judge.base_url={server.url}", "judge.api_key_env=null", "judge.retries=0"]
    with pytest.raises(JudgeError, match=r"MM-Vet, question v1_3: .*HTTP 500.*The answers are kept"):
        run(llava, data, tmp_path, *given)
    record = run(llava, data, tmp_path)
    assert (record["status"], record["tasks"]["mmvet"]["status"]) == ("completed", "needs_judge")
    kept = Path(record["folder"]) / "predictions/mmvet.judged.jsonl"
    assert len(kept.read_text().splitlines()) == 5
    server.say = lambda asked: completion("1.0")
    count = len(server.asked)
    assert run(llava, data, tmp_path, *given)["tasks"]["mmvet"]["score"] == 100
    assert len(server.asked) == count + 1
    assert not kept.exists()  # its scores are in the record


def to_judge(count):
    """Stored samples with the answers 0, 1, ..."""
    return [
        {
            "images_sha256": str(i),
            "to_judge": {
                "question_id": f"v1_{i}", "question": "How many?", "answer": f"{i}", "capability": "rec",
                "prediction": f"answer {i}",
            },
        }
        for i in range(count)
    ]  # fmt: skip


ENTRY = {"benchmark": "mmvet", "metric": "gpt_eval_score", "n": 8}


def judged(server, path, samples=None, **changes):
    """The score of stored samples by the judge, with what is in the file `path`."""
    made = judge_at(server, **{"retries": 0, **changes})
    return mmvet.judge_entry(ENTRY, samples or to_judge(8), made, 10, 0, mmvet.Judged(path))[0]["score"]


def bad_at(number):
    def say(asked):
        bad = asked["messages"][0]["content"].endswith(f"| answer {number} |")
        return completion("no idea" if bad else "0.5")

    return say


def test_only_the_answers_without_a_score_are_asked_for_again(server, tmp_path):
    path = tmp_path / "predictions/mmvet.judged.jsonl"
    server.say = bad_at(3)
    with pytest.raises(JudgeError, match=r"question v1_3: .* and 7 of 8 have their score; .* the other 1;"):
        judged(server, path)
    assert len(server.asked) == 8
    assert len(path.read_text().splitlines()) == 7
    server.say = lambda asked: completion("1.0")
    assert judged(server, path) == pytest.approx(100 * (7 * 0.5 + 1) / 8)
    assert len(server.asked) == 9
    assert server.asked[8]["messages"][0]["content"].endswith("| answer 3 |")


def test_a_line_that_a_kill_cut_off_is_asked_for_again(server, tmp_path):
    path = tmp_path / "judged.jsonl"
    server.say = lambda asked: completion("0.5")
    judged(server, path)
    path.write_text(path.read_text()[:-20])
    server.say = lambda asked: completion("1.0")
    for _ in range(2):
        assert judged(server, path) == pytest.approx(100 * (7 * 0.5 + 1) / 8)
        assert len(server.asked) == 9


def test_scores_of_another_judge_question_or_answer_do_not_count(server, tmp_path):
    path = tmp_path / "judged.jsonl"
    judged(server, path)
    judged(server, path, model="another")
    assert len(server.asked) == 16
    samples = to_judge(8)
    samples[2]["to_judge"]["prediction"] = "a new answer"
    judged(server, path, samples)
    assert len(server.asked) == 17
    judged(server, path)
    assert len(server.asked) == 17


def test_a_server_that_is_down_is_not_asked_about_every_answer(server, tmp_path):
    server.say = lambda asked: (500, "oops")
    with pytest.raises(JudgeError, match=r"0 of 100 have their score; .* the other 100;"):
        judged(server, tmp_path / "judged.jsonl", to_judge(100))
    assert len(server.asked) <= 3 + 8  # the third failure stops all but what is under way


def test_a_run_with_a_judge_is_scored_at_once(llava, data, tmp_path, short_answers, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "key-of-mine")
    given = ["judge.model=m", f"judge.base_url={server.url}", "judge.api_key_env=MY_KEY"]
    record = run(llava, data, tmp_path, *given)
    assert record["tasks"]["mmvet"]["score"] == 100
    assert {key for _, key in server.headers} == {"Bearer key-of-mine"}
    assert "key-of-mine" not in (Path(record["folder"]) / "record.json").read_text()
