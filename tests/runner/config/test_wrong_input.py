"""Wrong input is named, with what is allowed and the fix, before a model is loaded."""

import json
import shutil

import pytest
import runner_tiny as tiny
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from pdrop_eval.benchmarks.data.checks import check_parquet
from pdrop_eval.benchmarks.data.local import find_local
from pdrop_eval.benchmarks.task_files import describe
from pdrop_eval.models.loading import checkpoint, hub
from pdrop_eval.records.store import run_id
from pdrop_eval.run.config import checks
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.run.evaluate.models import Models
from pdrop_eval.utils.errors import UserError


@pytest.fixture(autouse=True)
def no_model_is_loaded(monkeypatch):
    monkeypatch.setattr(Models, "open", lambda *_: pytest.fail("a model was loaded"))


def refused(llava, data, *overrides):
    """The message with which a run on the tiny checkpoint and data is refused."""
    given = [f"model.pretrained={llava}", f"data.root={data}", *overrides]
    config = compose_spec(given)
    with pytest.raises(UserError) as error:
        cli.evaluate(config)
    return str(error.value)


@pytest.mark.thin(8)
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy.ratio=-0.1"], ["-0.1", "[0, 1]"]),
        (["strategy.ratio=1.5"], ["1.5", "[0, 1]"]),
        (["strategy=fastv", "strategy.r=1.5"], ["1.5", "[0, 1]"]),
        (["strategy=fastv", "strategy.k=9"], ["9", "4"]),
        (["strategy.stages=5"], ["5", "4"]),
        (["strategy.score=max"], ["'max'", "softmax"]),
        (["tasks=[mmee]"], ["'mmee'", "Did you mean mme?", "docvqa_val"]),
        (["tasks=[]"], ["tasks=null"]),
        (["suite.tasks=[gqaa]"], ["'gqaa'", "Did you mean gqa?"]),
        (["limit=3"], ["limit=3", "MME", "4"]),
        (["limit=0"], ["limit=0", "at least 1"]),
        (["limit=-2"], ["limit=-2", "at least 1"]),
        (["limit=0.5"], ["limit=0.5", "whole number"]),
        (["batch_size=0"], ["batch_size=0"]),
        (["downsample=1"], ["downsample=1", "at least 2", "downsample=null"]),
        (["downsample=2.5"], ["downsample=2.5", "whole number"]),
        (["seed=-1"], ["seed=-1"]),
        (["dtype=float8"], ["'float8'", "bfloat16"]),
        (["device=gpu"], ["'gpu'", "cuda"]),
        (["attention=flash"], ["'flash'", "flash_attention_2"]),
        (["model.chat_template=llama"], ["'llama'", "vicuna"]),
        (["model.image_processing=crop"], ["'crop'", "pad"]),
        (["attention=flash_attention_2"], ["flash-attn", "sdpa"]),
        (["suite.source=disk"], ["'disk'", "rendered", "hub"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(llava, data, overrides, words, monkeypatch):
    message = refused(llava, data, *overrides)
    for word in words:
        assert word in message


def test_layers_outside_the_model(llava, data):
    message = refused(
        llava,
        data,
        "strategy.ratio=null",
        "strategy.stages=null",
        "strategy.layers=[8,16]",
        "strategy.ratios=[.5,.25]",
    )
    assert "(8, 16)" in message
    assert "4" in message


def test_an_odd_limit_is_fine_without_mme(llava, data):
    assert checks.check_tasks(["gqa"], ["mme", "gqa"], "mini", 3) == ["gqa"]


def test_flash_attention_on_a_cpu(llava, data, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: True)
    message = refused(llava, data, "attention=flash_attention_2")
    assert "dtype=float32, device=cpu" in message


def test_padding_for_a_model_that_cuts_tiles(llava_next, data):
    message = refused(llava_next, data, "model.image_processing=pad")
    assert "llava_next" in message
    assert "image_processing=checkpoint" in message


def test_a_config_that_transformers_cannot_read(llava, data, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(llava, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] = {"model_type": "from_the_future"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "from_the_future" in refused(folder, data)


def test_no_gpu(llava, data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = refused(llava, data, "device=cuda")
    assert "device=cuda" in message
    assert "device=cpu" in message


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_missing_checkpoint_folder(llava, data, name):
    message = refused(llava, data, f"model.pretrained={name}")
    assert repr(name) in message
    assert "config.json" in message


def test_a_folder_that_is_no_checkpoint(data, tmp_path):
    assert "config.json" in refused(tmp_path, data)


def test_a_checkpoint_that_is_no_vision_language_model(data, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    message = refused(tmp_path, data)
    assert "'llama'" in message
    assert "llava, llava_next" in message


def test_a_damaged_config(data, tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert "no valid JSON" in refused(tmp_path, data)


def test_weights_that_are_not_safetensors(llava, data, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(llava, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "*.safetensors" in refused(folder, data)


def test_the_embedded_miniature_may_be_missing(data, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "MINI_CHECKPOINT", tmp_path)
    assert "Install the package again" in refused("embedded", data)


def test_a_suite_folder_that_is_not_there(llava):
    assert "data.root=nowhere" in refused(llava, "nowhere")


def test_a_missing_data_file(llava, data, tmp_path):
    shutil.copy(data / "gqa.parquet", tmp_path)
    message = refused(llava, tmp_path)
    assert "mme.parquet is missing" in message
    assert "data.root" in message


def test_a_damaged_data_file(llava, tmp_path):
    (tmp_path / "gqa.parquet").write_bytes(b"PAR1 but not really")
    message = refused(llava, tmp_path, "tasks=[gqa]")
    assert "gqa.parquet can't be read" in message


def test_damage_inside_a_data_file(llava, data, tmp_path):
    content = bytearray((data / "gqa.parquet").read_bytes())
    content[100:2000] = bytes(1900)
    (tmp_path / "gqa.parquet").write_bytes(content)
    assert "gqa.parquet can't be read" in refused(llava, tmp_path, "tasks=[gqa]")


def test_a_missing_column(llava, data, tmp_path):
    table = parquet.read_table(data / "pope.parquet").drop_columns(["category"])
    parquet.write_table(table, tmp_path / "pope.parquet")
    message = refused(llava, tmp_path, "tasks=[pope]")
    assert "no column 'category'" in message
    assert "question_id" in message


def test_an_empty_data_file(llava, data, tmp_path):
    parquet.write_table(parquet.read_table(data / "gqa.parquet").slice(0, 0), tmp_path / "gqa.parquet")
    assert "no question" in refused(llava, tmp_path, "tasks=[gqa]")


@pytest.mark.parametrize(
    ("task", "column"), [("mmbench_en_dev", "index"), ("vqav2_val", "question_id"), ("mmvet", "question_id")]
)
def test_two_questions_with_one_number(llava, tmp_path, task, column):
    rows = tiny.rows(task, 4)
    rows[3][column] = rows[1][column]
    tiny.write(task, rows, tmp_path)
    message = refused(llava, tmp_path, f"tasks=[{task}]")
    assert f"its own {column}, but there is more than one with {rows[1][column]}." in message
    assert "Remove the copies" in message


@pytest.mark.parametrize("suite", ["mini", "paper"])
@pytest.mark.parametrize(("task", "column"), [("textvqa_val", "answers"), ("gqa", "question")])
def test_a_question_without_text_or_answer(llava, tmp_path, suite, task, column):
    rows = tiny.rows(task, 4)
    rows[2][column] = None
    tiny.write(task, rows, tmp_path)
    message = refused(llava, tmp_path, f"suite={suite}", f"tasks=[{task}]", "suite.textvqa_ocr=false")
    assert f"row 2 has no {column} (null)" in message


NUMBERS = {"gqa": "id", "docvqa_val": "questionId", "infovqa_val": "questionId", "ocrvqa": "question_id"}


@pytest.mark.thin(2)
@pytest.mark.parametrize("suite", ["mini", "paper"])
@pytest.mark.parametrize("task", NUMBERS)
def test_a_number_twice_where_the_column_is_there(llava, tmp_path, suite, task):
    rows = [{**row, NUMBERS[task]: f"q{i}"} for i, row in enumerate(tiny.rows(task, 4))]
    rows[3][NUMBERS[task]] = "q1"
    tiny.write(task, rows, tmp_path)
    message = refused(llava, tmp_path, f"suite={suite}", f"tasks=[{task}]", "suite.textvqa_ocr=false")
    assert f"its own {NUMBERS[task]}, but there is more than one with q1." in message


@pytest.mark.parametrize("suite", ["mini", "paper"])
def test_popes_numbers_begin_anew_in_each_category(llava, tmp_path, suite):
    rows = tiny.rows("pope", 4)  # random, random, popular, popular
    for row, number in zip(rows, "1212", strict=True):
        row["question_id"] = number
    tiny.write("pope", rows, tmp_path)
    task = describe("pope", "rendered")
    assert check_parquet(tmp_path / "pope.parquet", task.columns, task.unique) == 4
    assert find_local(describe("pope", "hub"), tmp_path).files == (tmp_path / "pope.parquet",)
    rows[3]["question_id"] = "1"
    tiny.write("pope", rows, tmp_path)
    message = refused(llava, tmp_path, f"suite={suite}", "tasks=[pope]")
    assert "its own category/question_id, but there is more than one with popular/1." in message


@pytest.mark.thin(2)
@pytest.mark.parametrize("suite", ["mini", "paper"])
@pytest.mark.parametrize("task", ["chartqa", "scienceqa_img", "gqa", "docvqa_val"])
def test_a_row_twice_in_data_without_numbers(llava, tmp_path, suite, task):
    rows = tiny.rows(task, 4)
    tiny.write(task, [*rows, rows[1]], tmp_path)
    message = refused(llava, tmp_path, f"suite={suite}", f"tasks=[{task}]")
    assert f"{task}.parquet 1 of 5 rows are exact copies of others: row 4 is row 1 again." in message


def test_a_few_copies_may_be_a_real_data_sets_own(tmp_path):
    rows = tiny.rows("chartqa", 99)
    tiny.write("chartqa", [*rows, rows[1]], tmp_path)
    assert find_local(describe("chartqa", "hub"), tmp_path).kind == "parquet"
    tiny.write("chartqa", [*rows, *rows[:3]], tmp_path)
    with pytest.raises(UserError, match="3 of 102 rows are exact copies"):
        find_local(describe("chartqa", "hub"), tmp_path)


def test_one_question_about_two_pictures_is_no_copy(tmp_path):
    rows = tiny.rows("chartqa", 2)
    other = {**rows[1], "image": tiny.encoded(9)}
    tiny.write("chartqa", [*rows, other], tmp_path)
    assert check_parquet(tmp_path / "chartqa.parquet", describe("chartqa", "rendered").columns) == 3


def test_a_cover_of_ocrvqa_twice(tmp_path):
    book = {"image": tiny.encoded(0), "image_id": "b0", "questions": ["Who?"], "answers": ["me"]}
    tiny.write("ocrvqa", [book, {**book, "image_id": "b1"}], tmp_path)
    assert find_local(describe("ocrvqa", "hub"), tmp_path).kind == "parquet"
    tiny.write("ocrvqa", [book, book], tmp_path)
    with pytest.raises(UserError, match="its own image_id, but there is more than one with b0"):
        find_local(describe("ocrvqa", "hub"), tmp_path)


@pytest.mark.parametrize("suite", ["mini", "paper"])
def test_a_picture_of_mme_with_one_question_or_three(llava, tmp_path, suite):
    tiny.write("mme", tiny.rows("mme", 5), tmp_path)
    message = refused(llava, tmp_path, f"suite={suite}", "tasks=[mme]")
    assert "1 have not, such as 2.png (color): 1" in message
    tiny.write("mme", [*tiny.rows("mme", 4), tiny.rows("mme", 1)[0]], tmp_path)
    assert "such as 0.png (color): 3" in refused(llava, tmp_path, f"suite={suite}", "tasks=[mme]")


def test_two_questions_with_one_number_in_downloaded_data(llava, tmp_path):
    for name in ("test-00000-of-00002", "test-00001-of-00002"):  # the same file under two names
        tiny.write("mmvet", tiny.rows("mmvet", 2), tmp_path / "MMVet")
        (tmp_path / "MMVet" / "mmvet.parquet").rename(tmp_path / "MMVet" / f"{name}.parquet")
    message = refused(llava, tmp_path, "suite=paper", "tasks=[mmvet]")
    assert "more than one with v1_0, v1_1." in message


@pytest.mark.slow
@pytest.mark.parametrize("task", tiny.TASKS)
def test_every_task_needs_its_columns(llava, data, tmp_path, task):
    for column in describe(task, "rendered").columns:
        table = parquet.read_table(data / f"{task}.parquet").drop_columns([column])
        parquet.write_table(table, tmp_path / f"{task}.parquet")
        assert f"no column '{column}'" in refused(llava, tmp_path, f"tasks=[{task}]")


def test_a_record_of_a_newer_version_in_the_results(llava, data, tmp_path):
    plan = cli.make_plan(
        compose_spec([f"model.pretrained={llava}", f"data.root={data}", f"results={tmp_path}"])
    )
    path = tmp_path / "mini576" / f"pdrop-{run_id(plan.identity)}" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 99}))
    message = refused(llava, data, f"results={tmp_path}")
    assert "schema 99" in message
    assert "Update pdrop-eval" in message


def test_results_where_nothing_can_be_written(llava, data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    for folder in (tmp_path / "file" / "runs", "/proc/runs", tmp_path / "locked"):
        message = refused(llava, data, f"results={folder}")
        assert str(folder) in message
        assert "results=<folder>" in message
    (tmp_path / "locked").chmod(0o755)


def test_a_write_that_the_system_refuses_counts_even_for_root(llava, data, tmp_path, monkeypatch):
    monkeypatch.setattr(checks.os, "access", lambda *_: False)
    assert "read-only" in refused(llava, data, f"results={tmp_path}")


@pytest.mark.parametrize("overrides", [["model=llava_1_5_7b"], ["model=llava_next_7b"], ["suite=paper"]])
def test_the_hub_while_offline(llava, overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_set_by_us", False)
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = compose_spec([*overrides, *([f"model.pretrained={llava}"] if "suite" in overrides[0] else [])])
    with pytest.raises(UserError) as error:
        cli.evaluate(config)
    assert "HF_HUB_OFFLINE=1" in str(error.value)
    assert "Connect to the network once" in str(error.value)


def test_the_hub_out_of_reach(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def unreachable(*_, timeout, **__):
        assert timeout <= 10
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", unreachable)
    with pytest.raises(UserError, match=r"organisation/name.*can't be reached.*no route to host"):
        hub.hub_commit("organisation/name", "model", None)


def test_what_is_in_the_cache_is_used_without_network(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reference = tmp_path / "models--organisation--name" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text("c0ffee")
    assert hub.hub_commit("organisation/name", "model", None) == "c0ffee"


def test_offline_is_switched_by_what_is_chosen_unless_the_user_has_said_so(monkeypatch):
    monkeypatch.setattr(hub, "_set_by_us", False)
    hub.set_offline(False)
    assert hub.os.environ["HF_HUB_OFFLINE"] == "1"  # the user's, from the fixture
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.set_offline(False)
    assert hub.os.environ["HF_HUB_OFFLINE"] == "0"
    hub.set_offline(True)
    assert hub.os.environ["HF_HUB_OFFLINE"] == "1"


def test_nothing_is_written_for_a_run_that_is_refused(llava, data, tmp_path):
    refused(llava, data, "strategy.ratio=2", f"results={tmp_path}/runs")
    assert list((tmp_path / "runs").rglob("*")) == []


def test_the_tiny_suite_has_all_columns(data):
    for task in tiny.TASKS:
        assert parquet.ParquetFile(data / f"{task}.parquet").metadata.num_rows == 6
