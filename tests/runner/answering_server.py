"""A chat server on this machine, without a model: it answers by the question, and can misbehave as asked.

    python tests/runner/answering_server.py PORT [SECONDS]

serves until it is ended, with a pause before each answer.
"""

import base64
import hashlib
import io
import json
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

from PIL import Image

MODEL = "tiny-vl"


def text_of(asked):
    """The text of a request's question."""
    return "".join(part.get("text", "") for part in asked["messages"][0]["content"])


def pictures_of(asked):
    """The images of a request's question, opened."""
    urls = [part["image_url"]["url"] for part in asked["messages"][0]["content"] if "image_url" in part]
    heads = {url.partition(",")[0] for url in urls}
    assert heads <= {"data:image/png;base64"}
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def answer_to(asked):
    """Yes or no, by the question and its pixels: the same in every run."""
    said = hashlib.sha256(text_of(asked).encode())
    for picture in pictures_of(asked):
        said.update(picture.tobytes())
    return ("yes", "no", "A", "B")[said.digest()[0] % 4]


def completion(text, reason="stop", **message):
    """Status and body of a chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": reason,
    }
    usage = {"prompt_tokens": 31, "completion_tokens": 2, "total_tokens": 33}
    return 200, json.dumps({"model": MODEL, "choices": [choice], "usage": usage})


def models(*names):
    """Status and body of the list of models."""
    return 200, json.dumps(
        {"object": "list", "data": [{"id": name, "max_model_len": 4096} for name in names]}
    )


@contextmanager
def serving(port=0):
    """A server with `say`, a function of a request that returns status, body and headers; `asked` grows."""
    state = SimpleNamespace(
        say=lambda asked: completion(answer_to(asked)), offer=lambda: models(MODEL), asked=[], keys=[], most=0
    )
    lock, now = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send(*state.offer())

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.asked.append(asked)
                state.keys.append(self.headers.get("Authorization"))
                now[0] += 1
                state.most = max(state.most, now[0])
            try:
                self.send(*state.say(asked))
            finally:
                with lock:
                    now[0] -= 1

        def send(self, status, body, headers=()):
            try:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())
            except OSError:
                pass  # the client has given up waiting

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{running.server_port}/v1"
    state.end = lambda: (running.shutdown(), running.server_close())
    try:
        yield state
    finally:
        state.end()


if __name__ == "__main__":
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    with serving(int(sys.argv[1])) as served:
        served.say = lambda asked: (time.sleep(pause), completion(answer_to(asked)))[1]
        print(served.url, flush=True)
        threading.Event().wait()
