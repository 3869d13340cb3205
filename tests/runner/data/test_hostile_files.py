"""Checkpoints with code, with pickles or with weights from elsewhere, and YAML with Python tags."""

import json
import pickle
import shutil
import sys
from dataclasses import replace

import pytest

from pdrop_eval.benchmarks import task_files
from pdrop_eval.report.bench import cli as bench_cli
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_plain_name

WEIGHTS = "model.safetensors"


class Marks:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def folder(llava, tmp_path):
    return shutil.copytree(llava, tmp_path / "checkpoint")


def run(folder, data, tmp_path, *overrides):
    given = [f"model.pretrained={folder}", f"data.root={data}", f"results={tmp_path / 'runs'}", "tasks=[gqa]"]
    return cli.evaluate(compose_spec([*given, "limit=2", *overrides]))


def set_in(path, **values):
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def test_pickled_weights_are_never_opened(folder, data, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Marks(tmp_path / "opened")))
    assert run(folder, data, tmp_path)["status"] == "completed"
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"no \*.safetensors .*pickled"):
        run(folder, data, tmp_path, "seed=2")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("content", ["pickle", "half", "empty"])
def test_a_file_that_is_no_safetensors_whatever_its_name(folder, data, tmp_path, content):
    whole = (folder / WEIGHTS).read_bytes()
    pickled = pickle.dumps(Marks(tmp_path / "opened"))
    made = {"pickle": pickled, "half": whole[: len(whole) // 2], "empty": b""}
    (folder / WEIGHTS).write_bytes(made[content])
    with pytest.raises(UserError, match="can't be read as safetensors"):
        run(folder, data, tmp_path)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_of_a_checkpoint_is_refused_unless_it_is_asked_for(folder, data, tmp_path, name):
    (folder / "own.py").write_text(f"open({str(tmp_path / 'opened')!r}, 'w')\nclass Own: ...\n")
    set_in(folder / name, auto_map={"AutoConfig": "own.Own"})
    with pytest.raises(UserError, match=rf"auto_map in {name}: own.Own.*model.trust_remote_code=true"):
        run(folder, data, tmp_path)
    assert not (tmp_path / "opened").exists()
    given = [f"model.pretrained={folder}", f"data.root={data}"]
    config = compose_spec([*given, "model.trust_remote_code=true"])
    assert cli.make_plan(config).checkpoint.family == "llava"


@pytest.mark.parametrize(("name", "words"), [
    ("../elsewhere/model.safetensors", "own folder"), ("/etc/model.safetensors", "own folder"),
    ("..\\model.safetensors", "own folder"), ("pytorch_model.bin", "own folder"), ("", "own folder"),
    ("model-2.safetensors", "two sets of weights"),
])  # fmt: skip
def test_an_index_names_files_beside_it_alone(folder, data, tmp_path, name, words):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(folder / WEIGHTS, tmp_path / "elsewhere")
    set_in(folder / "model.safetensors.index.json", metadata={}, weight_map={"lm_head.weight": name})
    with pytest.raises(UserError, match=words):
        run(folder, data, tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {"a": 1}}', "{", "[" * 100_000])
def test_an_index_that_is_none(folder, data, tmp_path, content):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UserError, match=r"index\.json"):
        run(folder, data, tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "3", "[" * 100_000, '{"model_type": ["llava"]}', "\x00"])
def test_a_config_that_is_none(folder, data, tmp_path, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match="checkpoint"):
        run(folder, data, tmp_path)


def test_plain_names():
    assert is_plain_name("model-00001-of-00002.safetensors")
    for name in ("", ".", "..", "a/b", "/a", "a\\b", "c:\\a", "c:a", "a\nb", "a\x00b", "\x1b[2J"):
        assert not is_plain_name(name), name


TAG = "!!python/object/apply:builtins.open [{path}, w]"


def tagged(path, opened, before=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{before}seed: {TAG.format(path=opened)}\n")


@pytest.mark.parametrize("main", [cli.main, bench_cli.main])
def test_python_tags_in_a_configuration(main, monkeypatch, tmp_path, capsys):
    tagged(tmp_path / "own" / "mine.yaml", tmp_path / "opened")
    monkeypatch.setattr(sys, "argv", ["x", "--config-dir", str(tmp_path / "own"), "--config-name", "mine"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "python/object/apply" in said
    assert "Traceback" not in said
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("place", ["hub", "rendered"])
def test_python_tags_in_a_task(place, monkeypatch, tmp_path):
    shutil.copytree(task_files.TASKS, tmp_path / "tasks")
    monkeypatch.setattr(task_files, "TASKS", tmp_path / "tasks")
    path = tmp_path / "tasks" / place / "gqa.yaml"
    tagged(path, tmp_path / "opened", path.read_text())
    task_files.describe.cache_clear()
    try:
        with pytest.raises(UserError, match=r"gqa\.yaml can't be read: .*python/object/apply"):
            task_files.describe("gqa", "rendered")
    finally:
        task_files.describe.cache_clear()
    assert not (tmp_path / "opened").exists()


def test_a_strategy_is_a_strategy_and_no_other_thing_to_call(tmp_path):
    strategy = replace(compose_spec(["strategy=vanilla"]).strategy, target="subprocess.Popen")
    with pytest.raises(UserError, match=r"subprocess.Popen is no strategy"):
        strategy.build()
