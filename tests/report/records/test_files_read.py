"""What a user names is read if it is a plain file of a size that its kind has; messages stay readable."""

import json
import os
from pathlib import Path

import pytest

from pdrop_eval.models.loading.weights import read_object
from pdrop_eval.models.pictures.images import open_picture, picture_size
from pdrop_eval.records.recipe_file import read_recipe_file
from pdrop_eval.records.samples import load_samples
from pdrop_eval.records.store import read_record
from pdrop_eval.report.tables.spec import load_table
from pdrop_eval.run.bench.record import read as read_bench
from pdrop_eval.run.importing.readers.files import read_json, read_rows
from pdrop_eval.run.train.data.json_stream import read_entries
from pdrop_eval.strategies.recipe import read_recipe
from pdrop_eval.utils.errors import UserError, naming
from pdrop_eval.utils.files import read_whole

READERS = {
    "recipe": lambda path: read_recipe(str(path), "vtw"),
    "recipe to go on with": read_recipe_file,
    "record": read_record,
    "record of a bench": read_bench,
    "table": load_table,
    "JSON of a checkpoint": read_object,
    "imported JSON": read_json,
    "training data": lambda path: list(read_entries(path)),
}


@pytest.fixture(params=["device", "pipe"])
def endless(request, tmp_path):
    """What has no end, or is waited for without end."""
    if request.param == "device":
        return Path("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("kind", READERS)
def test_a_device_and_a_pipe_are_refused_at_once(endless, kind):
    with pytest.raises(UserError, match="a device or a pipe, and no plain file"):
        READERS[kind](endless)


@pytest.mark.parametrize("opened", [open_picture, picture_size])
def test_neither_is_a_picture(endless, opened):
    with pytest.raises(OSError, match="a device or a pipe"):
        opened(endless)


def test_samples_that_are_a_device_are_refused(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "gqa.jsonl").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="a device or a pipe"):
        load_samples(tmp_path, "gqa")


def test_a_file_is_read_up_to_a_size(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * (1 << 20))
    assert read_whole(path, 1 << 20) == b"x" * (1 << 20)
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(OSError, match="it has more than 1 MiB"):
        read_whole(path, 1 << 20)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)


def test_a_very_long_value_is_cut_wherever_it_stands():
    said = str(UserError(f"strategy.recipe={'x' * 700} can't be read: use a file."))
    assert said == f"strategy.recipe={'x' * 184}... (716 characters) can't be read: use a file."
    words = " ".join(["word"] * 2000)  # 9,999 characters
    said = str(UserError(f"{words}: use another."))  # 10,013
    assert said.startswith("word word")
    assert " ... (5,013 characters left out) ... " in said
    assert said.endswith("word: use another.")
    assert len(said) < 6000


@pytest.mark.parametrize("text", ["", "short", "x" * 600, "allowed: " + ", ".join(["name"] * 900)])
def test_what_is_not_long_stays_as_it_is(text):
    assert str(UserError(text)) == text


def test_what_was_cut_is_not_cut_again():
    once = str(UserError("ratio=" + "9" * 5000 + " is no number."))
    with pytest.raises(UserError) as caught, naming(["ratio"], "strategy."):
        raise UserError(once)
    assert str(caught.value) == f"strategy.{once}"


def test_json_that_ends_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}), encoding="utf-8")
    assert read_object(tmp_path / "config.json") == {"a": 1}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json", ".xlsx"])
def test_rows_to_import_that_have_no_end_are_refused(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="a device or a pipe"):
        read_rows(path)
