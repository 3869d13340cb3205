"""The Ray engine without Ray: a stand-in that computes nothing, whose workers die and disagree as told."""

import socket
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdrop_eval.run.sweep.engines import engine_of
from pdrop_eval.run.sweep.engines import ray as engine
from pdrop_eval.run.sweep.engines.ray_address import check_address
from pdrop_eval.run.sweep.spec import read_sweep
from pdrop_eval.run.sweep.state.board import DONE, FAILED, Board
from pdrop_eval.run.sweep.state.definition import code_here
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Cell, Queue
from pdrop_eval.utils.errors import UserError


class FakeRay:
    """Two processors; an actor dies at the cells that `deaths` names, as often as it says."""

    class exceptions:  # noqa: N801 - as Ray calls it
        class RayError(Exception):
            pass

        class RayActorError(RayError):
            pass

    def __init__(self, cpus=2, deaths=None, fails=None, told=None):
        self.cpus, self.deaths = cpus, Counter(deaths)
        self.fails, self.told = Counter(fails), told or {}
        self.computed, self.hired, self.killed = [], 0, 0

    def cluster_resources(self):
        return {"CPU": self.cpus}

    def remote(self, **share):
        return lambda _: SimpleNamespace(remote=self._hire)

    def _hire(self, results):
        self.hired += 1
        self.most = max(getattr(self, "most", 0), self.hired - self.killed)
        name = str(self.hired)
        return SimpleNamespace(
            look=SimpleNamespace(remote=lambda cwd, probe: ("look", name, results, probe)),
            compute=SimpleNamespace(remote=lambda lease: ("compute", name, lease["cell"], lease["token"])),
        )

    def wait(self, asked, timeout):
        return asked[:1], asked[1:]

    def get(self, answer):
        what, name, *about = answer
        if what == "look":
            results, probe = about
            (Path(results) / f"{probe}-here-{name}").write_text("seen")
            return {"host": "here", "pid": name, "code": code_here(), "sees": True, **self.told}
        cell = about[0]
        if self.deaths[cell]:
            self.deaths[cell] -= 1
            raise self.exceptions.RayActorError("The actor died")
        if self.fails[cell]:
            self.fails[cell] -= 1
            return {"state": FAILED, "reason": "out of memory"}
        self.computed.append(cell)
        return {"state": DONE, "score": 1.0, "n": 2}

    def kill(self, handle):
        self.killed += 1


CELLS = [f"mini/s{number}/gqa" for number in range(5)]


@pytest.fixture
def run(tmp_path):
    def compute(ray, *arguments):
        board = Board(tmp_path)
        board.begin({"runs": []})
        progress = Progress(board, len(CELLS), retries=1)
        spec = read_sweep(["engine=ray", f"results={tmp_path}", *arguments])
        cells = Queue(Cell(one, "mini", "gqa", one) for one in CELLS)
        with engine._probe(tmp_path) as probe:
            pool = engine._Pool(ray, spec, cells, progress, probe)
            pool.run()
            pool.dismiss()
        assert not list(tmp_path.glob(".seen*"))
        return progress

    return compute


def test_as_many_workers_as_there_is_room_for_compute_each_cell_once(run):
    ray = FakeRay()
    progress = run(ray)
    assert sorted(ray.computed) == CELLS
    assert (progress.done, progress.failed, ray.hired) == (5, {}, 2)


def test_actors_bounds_the_workers(run):
    ray = FakeRay(cpus=8)
    run(ray, "actors=3")
    assert ray.hired == 3


def test_what_a_dead_worker_was_at_is_given_to_another_one(run):
    ray = FakeRay(deaths={CELLS[1]: 2})
    progress = run(ray)
    assert sorted(ray.computed) == CELLS
    assert (progress.done, progress.failed) == (5, {})
    assert ray.hired >= 4


def test_a_cell_that_fails_twice_is_given_up(run):
    progress = run(FakeRay(fails={CELLS[0]: 2}))
    assert progress.done == 4
    assert [reason for _, reason in progress.failed.values()] == ["out of memory"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"code": "other"}, "other code of pdrop-eval"),
        ({"sees": False}, "doesn't see results="),
        ({"pid": "elsewhere"}, "isn't seen here"),
    ],
)
def test_a_worker_that_can_not_take_part_is_named(run, told, words):
    with pytest.raises(UserError, match=words):
        run(FakeRay(told=told))


def test_a_cluster_without_room_is_refused_at_once(run):
    with pytest.raises(UserError, match="one needs 4 CPUs, and the cluster has 2 CPUs, 0 GPUs"):
        run(FakeRay(), "cpus=4")
    with pytest.raises(UserError, match="one needs 1 CPUs, 1 GPUs"):
        run(FakeRay(), "device=cuda")


def test_a_missing_package_is_named_with_its_installation(monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'pdrop-eval\[ray\]'"):
        engine_of("ray").check(read_sweep(["engine=ray"]))


@pytest.mark.parametrize("address", ["here", "ray://10.0.0.1:10001", "10.0.0.1:port", ":6379", "host:99999"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="host:port"):
        check_address(address)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_an_address_where_nobody_listens_is_refused_at_once(listener):
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(UserError, match=f"No Ray cluster answers at address=127.0.0.1:{port}: .*refused"):
        check_address(f"127.0.0.1:{port}")


def answering(listener, words):
    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(words)

    threading.Thread(target=answer, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_another_server_is_no_cluster(listener):
    with pytest.raises(UserError, match="what listens there is no Ray"):
        check_address(answering(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n"))


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ("print('ready', flush=True)", None),
        ("sys.exit(0)", None),  # a version of Ray without the client
        (
            "print('ready', flush=True); sys.exit('404')",
            "No Ray cluster answers at .*: what listens there is no",
        ),
        (
            "print('ready', flush=True); time.sleep(60)",
            "No Ray cluster answers at .*: what listens there is no",
        ),
        (
            "print('ready', flush=True); sys.exit('InvalidAuthToken')",
            "wants a token. Set RAY_AUTH_MODE=token",
        ),
    ],
)
def test_a_server_that_speaks_its_protocol_is_asked_by_rays_own_client(listener, monkeypatch, client, words):
    place = "pdrop_eval.run.sweep.engines.ray_address"
    monkeypatch.setattr(f"{place}._ASK", f"import sys, time; {client}")
    monkeypatch.setattr(f"{place}._ANSWER_SECONDS", 0.3)
    address = answering(listener, bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    if words is None:
        check_address(address)
        return
    with pytest.raises(UserError, match=words):
        check_address(address)


def test_one_that_says_nothing_is_given_up_in_seconds(listener, monkeypatch):
    monkeypatch.setattr("pdrop_eval.run.sweep.engines.ray_address._SECONDS", 0.2)
    with pytest.raises(UserError, match="timed out"):
        check_address(f"127.0.0.1:{listener.getsockname()[1]}")


def test_gpus_of_a_worker_are_those_of_its_model():
    of = {
        (): 0,
        ("device=cuda",): 1,
        ("device=cuda", "model.devices=2"): 2,
        ("device=cuda", "model.devices=null"): 1,
        ("device=cuda", "gpus=4"): 4,
    }
    for arguments, count in of.items():
        assert engine.gpus_of(read_sweep(["engine=ray", *arguments])) == count
