"""Provenance: the commit is claimed only for a checkout of this project."""

import os
import subprocess

import pytest

from pdrop_eval import __version__
from pdrop_eval.utils.code import provenance


def git(folder, *arguments):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", *name, *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout that the module takes for its own."""
    folder = (tmp_path / "project").resolve()
    (folder / "pdrop_eval").mkdir(parents=True)
    (folder / "pdrop_eval" / "a.py").write_text("1\n")
    (folder / "pyproject.toml").write_text("")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "PACKAGE", folder / "pdrop_eval")
    return folder


def test_a_clean_checkout_gives_its_commit(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert provenance.code_identity() == {"version": __version__, "commit": commit, "dirty": False}


def test_results_and_notes_do_not_make_the_code_dirty(checkout):
    (checkout / "results").mkdir()
    (checkout / "results" / "table.md").write_text("x")
    assert provenance.code_identity()["dirty"] is False


@pytest.mark.parametrize("name", ["a.py", "new.py"])
def test_changed_and_new_code_is_dirty(checkout, name):
    (checkout / "pdrop_eval" / name).write_text("2\n")
    assert provenance.code_identity()["dirty"] is True


def test_an_installed_package_in_someone_elses_checkout_claims_no_commit(checkout, monkeypatch):
    installed = checkout / "env" / "pdrop_eval"
    installed.mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", installed)
    assert provenance.code_identity() == {"version": __version__, "commit": None, "dirty": None}


def test_without_git_nothing_is_claimed(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.code_identity()["commit"] is None


def test_packages_and_hardware_name_what_is_there():
    packages = provenance.package_versions()
    assert packages["python"].startswith("3.")
    assert "flash-attn" not in packages or packages["flash-attn"]
    machine = provenance.hardware()
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert isinstance(machine["gpus"], list)
