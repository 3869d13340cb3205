"""Fixtures of the runner's tests. lmms-eval is imported once, with its import warnings left aside."""

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "core"))  # the sizes of tiny families

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import runner_tiny as tiny


@pytest.fixture(scope="session")
def lmms_eval():
    """lmms-eval, imported; the warnings of its own import are no business of a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lmms_eval.evaluator
        import lmms_eval.tasks
    return lmms_eval


@pytest.fixture(scope="session", autouse=True)
def processors_are_tried_once():
    """Models are loaded three hundred times: pictures are put through an unchanged processor once."""
    from pdrop_eval.models.loading import processors

    put_through, fitting = processors._try, set()

    def once(processor, family, model, pretrained, template):
        folder = Path(processors.resolve_checkpoint(pretrained))
        files = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.glob("*")]
        key = (repr(processor), model.config.to_json_string(), template, *sorted(files))
        if key not in fitting or not files:
            put_through(processor, family, model, pretrained, template)
        fitting.add(key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processors, "_try", once)
        yield


@pytest.fixture(scope="session")
def llava(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("llava") / "tiny")


@pytest.fixture(scope="session")
def llava_next(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("llava_next") / "tiny", "llava_next")


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return tiny.suite(tmp_path_factory.mktemp("data") / "suite")


@pytest.fixture(autouse=True)
def hub_stays_off(monkeypatch, tmp_path):
    """No test may reach the network, nor a user's results."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
