"""What the tests of the command share."""

import json

import pytest
from compared_records import command, record


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Writes both records and compares them: exit status, standard output, the JSON."""

    def run(baseline, candidate, *arguments):
        folders = [
            record(tmp_path / role, strategy, **made)
            for role, strategy, made in (("one", "vanilla", baseline), ("two", "pdrop", candidate))
        ]
        given = [f"baseline={folders[0]}", f"candidate={folders[1]}", "out=out", "name=x", *arguments]
        status = command(monkeypatch, *given)
        found = json.loads((tmp_path / "out" / "x.json").read_text())
        assert found["exit"] == status
        return status, capsys.readouterr(), found

    return run
