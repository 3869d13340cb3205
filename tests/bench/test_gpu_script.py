"""`make gpu`: steps that fail, crash or take too long don't stop the others, and a second run goes on."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import PACKAGE

CHECKOUT = PACKAGE.parent
pytestmark = pytest.mark.skipif(not (CHECKOUT / "tools").is_dir(), reason="benchmarks are in a checkout only")


@dataclass(frozen=True)
class Step:
    """A step that only does what it is told."""

    name: str
    act: object
    seconds: float = 30

    def run(self, ground):
        ground.keep({"so_far": self.name})
        return self.act(ground)


def crash(ground):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(ground):
    raise ValueError("no such kernel\nmore")


def skip(ground):
    from tools.speed.gpu.ground import SkippedError

    raise SkippedError("it isn't installed")


def sleep(ground):
    time.sleep(60)


@pytest.fixture
def conduct(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from tools.speed.gpu import conduct

    monkeypatch.setattr(conduct, "_PATIENCE", 1)
    monkeypatch.setattr(conduct, "import_all", lambda: None)
    return conduct


def test_a_step_that_ends_badly_is_noted_and_the_others_go_on(conduct, tmp_path):
    out, calls = tmp_path / "deep" / "gpu.json", []
    steps = [
        Step("fails", fail), Step("crashes", crash), Step("sleeps", sleep, seconds=0.3), Step("skips", skip),
        Step("works", lambda ground: {"known": sorted(ground.known), "left": ground.left > 0}),
    ]  # fmt: skip
    found = conduct.conduct(out, "cpu", 100, steps=steps, tell=calls.append)
    told = {name: (one["status"], one.get("reason")) for name, one in found["steps"].items()}
    assert told == {
        "fails": ("failed", "ValueError: no such kernel"),
        "crashes": ("crashed", "its process ended with -9"),
        "sleeps": ("too long", "ended after 0 s"),
        "skips": ("skipped", "it isn't installed"),
        "works": ("done", None),
    }
    # what was saved by then stays, and the next steps know it
    assert found["steps"]["sleeps"]["result"] == {"so_far": "sleeps"}
    assert found["steps"]["works"]["result"]["known"] == ["crashes", "fails", "skips", "sleeps"]
    assert json.loads(out.read_text())["steps"].keys() == found["steps"].keys()
    assert sorted(path.name for path in out.parent.iterdir()) == ["gpu.json"]

    # the same command tries again what is not done, and only that
    steps[0] = Step("fails", lambda ground: {"now": "it works"})
    again = conduct.conduct(out, "cpu", 100, steps=steps, only=["fails", "works"], tell=calls.append)
    assert again["steps"]["fails"]["result"] == {"now": "it works"}
    assert again["steps"]["works"] == found["steps"]["works"]
    assert calls[-1] == "works: done before"


def test_what_has_no_time_left_is_left_to_the_next_run(conduct, tmp_path):
    found = conduct.conduct(
        tmp_path / "gpu.json", "cpu", 1e-3, steps=[Step("one", fail)], tell=lambda _: None
    )
    assert found["steps"] == {}


def test_a_file_of_another_machine_or_a_damaged_one_is_not_written_over(conduct, tmp_path):
    out = tmp_path / "gpu.json"
    conduct.conduct(out, "cpu", 100, steps=[], tell=print)
    conduct.conduct(out, "cpu", 100, steps=[Step("one", lambda _: {})], tell=print)
    found = json.loads(out.read_text())
    out.write_text(json.dumps({**found, "environment": {**found["environment"], "device": "a GPU"}}))
    with pytest.raises(UserError, match=r"was measured on a GPU.*--again"):
        conduct.conduct(out, "cpu", 100, steps=[])
    out.write_text("{")
    with pytest.raises(UserError, match=r"is damaged.*--again"):
        conduct.conduct(out, "cpu", 100, steps=[])
    anew = conduct.conduct(out, "cpu", 100, steps=[], again=True)
    assert anew["steps"] == {}


def test_the_stand_ins_are_called_as_torch_cuda_is():
    sys.path.insert(0, str(CHECKOUT))
    import torch

    from tools.speed.gpu import stand_in

    for name, own in vars(stand_in).items():
        if inspect.isfunction(own) and own.__module__ == stand_in.__name__ and name != "cuda_of":
            theirs = inspect.signature(getattr(torch.cuda, name)).parameters
            assert list(theirs)[: len(inspect.signature(own).parameters)] == list(
                inspect.signature(own).parameters
            )
    for name in ("record", "synchronize", "elapsed_time"):
        assert hasattr(torch.cuda.Event, name)


def test_without_a_gpu_it_says_so_at_once(tmp_path):
    done = command("--out", tmp_path / "gpu.json")
    assert done.returncode == 2
    assert "device=cuda asks for a GPU" in done.stderr
    assert "--tiny" in done.stderr
    done = command("--tiny", "--only", "kernel")
    assert done.returncode == 2
    assert "'kernel'" in done.stderr
    assert "kernels" in done.stderr


def command(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-m", "tools.speed.gpu", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=CHECKOUT, env=environment,
    )  # fmt: skip


FEW = ["rates", "llava_1_5_7b", "gradients", "waits", "tower", "largest", "loading", "training"]


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """Runs some steps, or all, on the processor; returns their results, and the page."""

    def run(*arguments):
        out = tmp_path_factory.mktemp("gpu") / "gpu.json"
        done = command("--tiny", "--out", out, *arguments)
        assert done.returncode == 0, done.stderr
        steps = json.loads(out.read_text())["steps"]
        told = {name: (one["status"], one.get("reason")) for name, one in steps.items()}
        assert set(told.values()) == {("done", None)}, told
        return {name: one["result"] for name, one in steps.items()}, out.with_suffix(".md").read_text()

    return run


@pytest.mark.slow
def test_some_steps_run_on_a_processor(tried):
    steps, page = tried("--only", *FEW)
    assert list(steps) == FEW
    assert "There was no GPU" in page
    assert "`make gpu` goes on with it (`--only harness`)" in page
    assert [len(one["variants"]) for one in steps["llava_1_5_7b"]["batches"].values()] == [5, 5]
    assert steps["largest"]["tries"] == [
        {"rows": 4, "fits": False, "kept_bytes": 0}, {"rows": 2, "fits": True, "kept_bytes": 0}
    ]  # fmt: skip
    assert steps["gradients"]["training"] == {"without": 0, "with cuDNN": 0}
    losses = steps["training"]["fsdp"]["losses"]
    assert losses["fsdp2"] == pytest.approx(losses["plain"], rel=1e-3)


@pytest.mark.whole
@pytest.mark.slow
def test_every_line_runs_on_a_processor(tried):
    steps, page = tried()
    from tools.speed.gpu.steps import STEPS

    assert list(steps) == [step.name for step in STEPS]
    assert "Not done yet" not in page
    for own in steps["answers"]["ways"]["float32, sdpa"].values():
        assert own["answers"] == 1
    assert all(own["same"] == 1 and own["finite"] for own in steps["padding"]["ways"]["float32"].values())
    for name in ("llava_1_5_7b", "llava_next_7b", "qwen2_5_vl_7b"):
        assert [len(one["variants"]) for one in steps[name]["batches"].values()] == [5, 5]
    assert len(steps["harness"]["contenders"]) == 5
