"""What was read in the package's files is kept between processes, for as long as a file is the same."""

import os

import pytest

from pdrop_eval.utils.code import kept as kept_module
from pdrop_eval.utils.code.kept import Kept


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_module, "PACKAGE", tmp_path / "package")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "one.py").write_text("a = 1")
    return tmp_path / "package" / "one.py"


def test_a_value_is_made_once_for_each_state_of_a_file_in_all_processes(tmp_path, file):
    def asked(name="name"):
        """The value, as a process of its own gets it."""
        made = []
        here = Kept(tmp_path / "cache" / "code.json")
        found = here.value(file, name, lambda: made.append(1) or file.read_text())
        here.save()
        return found, len(made)

    assert asked() == ("a = 1", 1)
    assert asked() == ("a = 1", 0)
    assert asked("other") == ("a = 1", 1)
    before = file.stat()
    file.write_text("a = 2")  # of the same size, and its time is set back
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert asked() == ("a = 2", 1)
    assert asked() == ("a = 2", 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"mark": 1}', '{"mark": [], "files": {}}', "\x00"])
def test_a_kept_file_that_cant_be_used_is_made_again(tmp_path, file, content):
    path = tmp_path / "code.json"
    path.write_text(content)
    here = Kept(path)
    assert here.value(file, "name", lambda: 7) == 7
    here.save()
    assert Kept(path).value(file, "name", lambda: pytest.fail("made again")) == 7


def test_other_reading_code_another_python_and_files_of_others_count_anew(tmp_path, file, monkeypatch):
    path, elsewhere = tmp_path / "code.json", tmp_path / "mine.py"
    elsewhere.write_text("b = 1")
    here = Kept(path)
    assert [here.value(one, "name", lambda: 1) for one in (file, elsewhere)] == [1, 1]
    here.save()
    assert Kept(path).value(elsewhere, "name", lambda: 2) == 2
    assert Kept(path).value(file, "name", lambda: 2) == 1
    monkeypatch.setattr(kept_module, "file_sha256", lambda _: "other")
    assert Kept(path).value(file, "name", lambda: 2) == 2


def test_a_folder_that_cant_be_written_is_no_error(tmp_path, file):
    (tmp_path / "cache").write_text("a file")
    here = Kept(tmp_path / "cache" / "code.json")
    assert here.value(file, "name", lambda: 1) == 1
    here.save()
    assert (tmp_path / "cache").read_text() == "a file"
