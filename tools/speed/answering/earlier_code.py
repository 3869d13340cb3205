"""An earlier commit's code in a process of its own, from a worktree that is removed again."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.speed.answering.answering_server import MARK


@contextmanager
def earlier(commit: str | None, overrides: Sequence[str]) -> Iterator[subprocess.Popen[str] | None]:
    """A process with an earlier commit's code and its model, which answers a round for each line; or None."""
    if not commit:
        yield None
        return
    here, script = Path(__file__).resolve().parents[3], Path(__file__).with_name("answering_server.py")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "code"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, capture_output=True)
        server = subprocess.Popen(
            [sys.executable, str(script), *overrides], cwd=folder, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(folder)},
        )  # fmt: skip
        try:
            reply(server)
            yield server
        finally:
            server.kill()
            server.wait()
            subprocess.run([*git, "remove", "--force", str(folder)], check=True, capture_output=True)


def reply(server: subprocess.Popen[str]) -> Any:
    """What the earlier code says next."""
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    raise RuntimeError(f"the earlier code ended with status {server.wait()}")


def asked(server: subprocess.Popen[str], strategy: str) -> list[dict[str, Any]]:
    """Have the earlier code answer all tasks; for each, what `run` gives."""
    assert server.stdin is not None
    server.stdin.write(json.dumps({"strategy": strategy}) + "\n")
    server.stdin.flush()
    found: list[dict[str, Any]] = reply(server)
    return found
