"""A disk that gets full during a training is named, with the space that is needed and how to go on."""

import errno
import os
import shutil
from collections import namedtuple

import pytest

from pdrop_eval.run.train.machine.disk import writing_to_disk
from pdrop_eval.utils.errors import UserError

Usage = namedtuple("Usage", "total used free")
TORCH = "[enforce fail at inline_container.cc:664] . unexpected pos 1280 vs 1174"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
SAFETENSORS = "Error while serializing: I/O error: No space left on device (os error 28)"


def fail(error):
    def write(*_, **__):
        raise error

    return write


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    RuntimeError(TORCH), Exception(SAFETENSORS),
], ids=["disk", "quota", "torch", "safetensors"])  # fmt: skip
def test_every_writers_error_names_disk_path_space_and_the_way_on(tmp_path, monkeypatch, error):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 1_500_000_000))
    with pytest.raises(UserError) as told, writing_to_disk(tmp_path / "new" / "pretrain", 84_000_000_000):
        raise error
    for words in (
        f"{tmp_path}/new/pretrain can't be written: its disk, or the quota on it, is full",
        "1.5 GB are free, and a checkpoint takes up to 84.0 GB", "Free 84.0 GB",
        "run the same command again: it resumes from the last whole checkpoint",
    ):  # fmt: skip
        assert words in str(told.value)


@pytest.mark.parametrize("error", [
    OSError(errno.EACCES, "denied"), ValueError("odd"), UserError("wrong"), RuntimeError("out of memory"),
])  # fmt: skip
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as passed, writing_to_disk(tmp_path, 1):
        raise error
    assert passed.value is error


@pytest.mark.slow
@pytest.mark.parametrize(("place", "error"), [
    ("torch.save", RuntimeError(TORCH)),  # a checkpoint's optimizer
    ("safetensors.torch.serialize_file", Exception(SAFETENSORS)),
    ("transformers.trainer_callback.TrainerState.save_to_json", FULL),
    ("pdrop_eval.run.train.progress.write_atomically", FULL),  # the mark of a whole checkpoint
    ("torch.utils.tensorboard.SummaryWriter.add_scalar", FULL),
    ("pdrop_eval.run.train.models.save_model", Exception(SAFETENSORS)),
    ("pdrop_eval.run.train.models.save_processor", Exception(SAFETENSORS)),  # tokenizers is in Rust, too
    ("pdrop_eval.run.train.session.write_atomically", FULL),  # the record of the phase
    ("pdrop_eval.run.train.record.write_atomically", FULL),  # and of the training
], ids=lambda given: given if isinstance(given, str) else "")  # fmt: skip
def test_a_training_whose_disk_gets_full_goes_on_once_there_is_space(
    config, tmp_path, monkeypatch, place, error
):
    from pdrop_eval.run.train.plan import make_plan
    from pdrop_eval.run.train.session import train

    spec = config("save_every=2")
    with monkeypatch.context() as full:
        full.setattr(place, fail(error))
        with pytest.raises(UserError, match=r"its disk, or the quota on it, is full .*same command") as told:
            train(make_plan(spec))
    assert f"{tmp_path}/out" in str(told.value)
    record = train(make_plan(spec))
    assert record["phases"][0]["steps"] == 4
    assert record["phases"][0]["truncated"] == 0
