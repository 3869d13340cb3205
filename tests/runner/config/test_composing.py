"""What tests keep of Hydra's compositions is what Hydra composes, and no longer than it is true."""

import os
from pathlib import Path

import composing
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

CASES = [
    ["size=a", "+more.x=1"],
    ["size=b", "limit=3"],
    ["size=a", "limit=4", "hydra.verbose=true"],
    ["~size"],
]


@pytest.fixture
def conf(tmp_path):
    """A configuration with one group of two choices."""
    (tmp_path / "size").mkdir()
    (tmp_path / "main.yaml").write_text("defaults: [size: a, _self_]\nlimit: 1\nwide: ${size.width}\n")
    (tmp_path / "size" / "a.yaml").write_text("width: 10\n")
    (tmp_path / "size" / "b.yaml").write_text("width: 20\nheight: [1, 2]\n")
    return tmp_path


def composed(conf: Path, *overrides: str):
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("main", overrides=list(overrides), return_hydra_config=True)


@pytest.mark.parametrize("overrides", CASES, ids=" ".join)
def test_what_is_kept_is_what_hydra_composes(conf, overrides, monkeypatch):
    with monkeypatch.context() as patch:
        for own in composing.HYDRAS:
            patch.setattr(*own)
        expected = composed(conf, *overrides)
    first, again = composed(conf, *overrides), composed(conf, *overrides)
    for found in (first, again):
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
        assert OmegaConf.is_struct(found)
    assert first is not again


def test_a_config_that_is_changed_changes_no_later_one(conf):
    composed(conf).size.width = 99
    assert composed(conf).wide == 10


def test_a_file_that_changes_is_read_again(conf):
    assert composed(conf, "size=b").wide == 20
    (conf / "size" / "b.yaml").write_text("width: 200\n")
    assert composed(conf, "size=b").wide == 200
    stat = os.stat(conf / "size" / "b.yaml")
    (conf / "size" / "b.yaml").write_text("width: 201\n")  # of the same size
    os.utime(conf / "size" / "b.yaml", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert composed(conf, "size=b").wide == 201
    with pytest.raises(MissingConfigException, match="size/c"):
        composed(conf, "size=c")
    (conf / "size" / "c.yaml").write_text("width: 30\n")
    assert composed(conf, "size=c").wide == 30
    (conf / "size" / "c.yaml").unlink()
    with pytest.raises(MissingConfigException, match="size/c"):
        composed(conf, "size=c")


def test_a_choice_that_is_stored_anew_is_another(conf, monkeypatch):
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", dict(store.repo))
    for width in (7, 8):
        store.store(group="size", name="made", node={"width": width})
        assert composed(conf, "size=made").wide == width
