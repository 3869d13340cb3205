"""What the tests of imports share."""

import warnings

import pytest


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def lmms_eval():
    """lmms-eval, imported; the warnings of its own import are no business of a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lmms_eval.evaluator
        import lmms_eval.tasks
    return lmms_eval
