"""What the machine chooses, batches and threads: refused where it can't be, and no other run for it."""

import pytest

from pdrop_eval.records.rows.overrides import changes_from_default
from pdrop_eval.records.run_identity import settings_sha256
from pdrop_eval.run import threads
from pdrop_eval.run.config.batch import fixed_batch
from pdrop_eval.run.config.checks import check_settings
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.utils.errors import UserError


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "True"])
def test_no_threads_are_refused_with_the_reason(value):
    with pytest.raises(UserError, match=rf"threads={value}.*at least one; threads=auto"):
        check_settings(compose_spec([f"threads={value}"]))


def test_two_numbers_of_threads_are_refused():
    with pytest.raises(UserError, match=r"threads=2 and model\.threads can't be given together"):
        compose_spec(["threads=2", "model.threads=1"])


def test_the_models_own_threads_are_taken_where_the_command_names_them():
    assert compose_spec().threads == "auto"
    assert compose_spec(["model.threads=3"]).threads is None
    assert compose_spec(["model.threads=3", "threads=null"]).threads is None
    assert compose_spec(["threads=2"]).threads == 2


def test_small_batches_and_busy_cores_leave_a_model_fewer_threads(monkeypatch):
    monkeypatch.setattr(threads, "usual_threads", lambda: 16)
    monkeypatch.setattr(threads, "_free_cores", lambda: 12)
    # The miniature's 128 numbers a token: 32 questions of 144 tokens are 589,824, enough for two threads.
    assert threads.settled_threads("auto", 1, 128 * 144 * 32) == 2
    assert threads.settled_threads("auto", 1, 128 * 144) == 1
    assert threads.settled_threads("auto", None, 4096 * 576 * 8) == 12
    assert [threads.settled_threads(asked, 3, 1) for asked in (5, None)] == [5, 3]
    assert threads.settled_threads(None, None, 1) == 16


def test_questions_are_prepared_in_threads_that_have_a_core_of_their_own(monkeypatch):
    monkeypatch.setattr(threads, "usual_threads", lambda: 8)
    monkeypatch.setattr(threads, "_free_cores", lambda: 4)
    chosen = {
        ("auto", 4): 0, ("auto", 3): 1, ("auto", 1): 2, ("threads=4", 4): 2, ("threads=8", 8): 0,
        ("workers=3", 4): 3, ("device=cuda", 4): 2,
    }  # fmt: skip
    for (given, number), workers in chosen.items():
        config = compose_spec([given] if "=" in given else [])
        assert threads.workers_for(config, number) == workers, given


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "True"])
def test_no_number_of_workers_is_refused(value):
    with pytest.raises(UserError, match=rf"workers={value}.*workers=auto"):
        check_settings(compose_spec([f"workers={value}"]))


def test_where_answers_are_not_exact_shared_prefixes_are_another_run():
    found = {}
    for device in ("cpu", "cuda"):
        off, usual = (compose_spec([f"device={device}", *more]) for more in (["prefix_cache=off"], []))
        found[device] = settings_sha256(off.to_dict()) == settings_sha256(usual.to_dict())
    assert found == {"cpu": True, "cuda": False}


def test_what_the_machine_chooses_is_the_same_run():
    usual = settings_sha256(compose_spec().to_dict())
    for given in (["threads=2"], ["threads=1", "batch_size=8"]):
        assert settings_sha256(compose_spec(given).to_dict()) == usual
    on_gpu = ["device=cuda", "dtype=float16"]
    auto, fixed = (
        settings_sha256(compose_spec([*on_gpu, *more]).to_dict()) for more in ([], ["batch_size=8"])
    )
    assert auto != fixed  # there the batch may decide an answer
    assert changes_from_default(compose_spec(["batch_size=8"]).to_dict()) == []
    assert changes_from_default(compose_spec(["batch_size=4"]).to_dict()) == ["batch_size=4"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], []),
        (["dtype=float32", "device=cpu"], []),
        (["device=cuda"], ["batch_size=8"]),
        (["device=cuda:1", "batch_size=auto"], []),
        (["dtype=bfloat16"], ["batch_size=8"]),
    ],
)
def test_a_tables_runs_have_batches_of_one_size(given, found):
    assert fixed_batch(given) == found
