"""Real data sets that a user has downloaded, in the forms in which they come."""

import os
from pathlib import Path

import datasets
import pytest
import runner_tiny as tiny

from pdrop_eval.benchmarks.data import local
from pdrop_eval.benchmarks.data.local import find_local, local_sha256
from pdrop_eval.benchmarks.task_files import describe
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.errors import UserError


def table(task, n=4, offset=0):
    rows = tiny.rows(task, n + offset)[offset:]
    image = datasets.List(datasets.Image()) if task == "seedbench" else datasets.Image()
    return datasets.Dataset.from_list(rows).cast_column("image", image)


def put(path, task, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    table(task, **size).to_parquet(path)
    return path


def found(task, root):
    """The files that are found, relative to the root."""
    return [str(path.relative_to(root)) for path in find_local(describe(task, "hub"), root).files]


def test_a_single_file_with_the_tasks_name(tmp_path):
    put(tmp_path / "pope.parquet", "pope")
    assert found("pope", tmp_path) == ["pope.parquet"]


@pytest.mark.parametrize(
    "name",
    [
        "docvqa_val/validation-00000-of-00001.parquet",
        "docvqa_val/anything.parquet",
        "docvqa_val/validation/0000.parquet",
        "DocVQA/DocVQA/validation-00000-of-00001.parquet",
        "DocVQA/DocVQA/data/validation-00000-of-00001.parquet",
        "lmms-lab-encoder/DocVQA/DocVQA/validation-00000-of-00001.parquet",
    ],
)
def test_a_folder_as_the_hub_has_it(tmp_path, name):
    put(tmp_path / name, "docvqa_val")
    assert found("docvqa_val", tmp_path) == [name]


def test_all_parts_of_the_split_are_taken_and_no_other_split(tmp_path):
    names = [f"POPE/data/test-0000{i}-of-00002.parquet" for i in range(2)]
    for i, name in enumerate(names):
        put(tmp_path / name, "pope", offset=2 * i, n=2)
    put(tmp_path / "POPE/data/train-00000-of-00001.parquet", "pope")
    assert found("pope", tmp_path) == names


def test_another_split_alone_is_not_taken_for_the_one_that_is_needed(tmp_path):
    put(tmp_path / "pope/train-00000-of-00001.parquet", "pope")
    with pytest.raises(UserError, match="no data for pope"):
        found("pope", tmp_path)


def test_english_and_chinese_mmbench_are_told_apart(tmp_path):
    for subset, task in (("en", "mmbench_en_dev"), ("cn", "mmbench_cn_dev")):
        put(tmp_path / f"MMBench/{subset}/dev-00000-of-00001.parquet", task)
        assert found(task, tmp_path) == [f"MMBench/{subset}/dev-00000-of-00001.parquet"]


@pytest.mark.parametrize("task", ["docvqa_val", "infovqa_val", "mmbench_en_dev", "mmbench_cn_dev"])
@pytest.mark.parametrize("folder", ["", "data/", "other/"])
def test_files_that_may_be_of_another_subset_are_not_taken(tmp_path, task, folder):
    info = describe(task, "hub")
    name = info.dataset.partition("/")[2]
    put(tmp_path / name / f"{folder}{info.split}-00000-of-00001.parquet", task)
    with pytest.raises(UserError) as error:
        found(task, tmp_path)
    for words in (f"of the subset '{info.subset}'", f"{tmp_path}/{task};", "could be of another subset"):
        assert words in str(error.value)


def test_the_subset_of_another_task_is_not_taken(tmp_path):
    put(tmp_path / "DocVQA/DocVQA/validation-00000-of-00001.parquet", "docvqa_val")
    with pytest.raises(UserError, match="no data for infovqa_val"):
        found("infovqa_val", tmp_path)
    put(tmp_path / "docvqa_val/validation-00000-of-00001.parquet", "docvqa_val")
    with pytest.raises(UserError, match="no data for infovqa_val"):
        found("infovqa_val", tmp_path)


def test_what_save_to_disk_wrote_belongs_to_a_subset_only_in_its_folder(tmp_path):
    datasets.DatasetDict({"validation": table("docvqa_val")}).save_to_disk(tmp_path / "DocVQA")
    for task in ("docvqa_val", "infovqa_val"):
        with pytest.raises(UserError, match=f"no data for {task}"):
            found(task, tmp_path)
    datasets.DatasetDict({"validation": table("infovqa_val")}).save_to_disk(
        tmp_path / "DocVQA/InfographicVQA"
    )
    assert found("infovqa_val", tmp_path) == ["DocVQA/InfographicVQA/validation/data-00000-of-00001.arrow"]


def test_a_card_tells_subsets_apart_wherever_their_files_lie(tmp_path):
    for name in ("d", "i"):
        put(tmp_path / f"DocVQA/data/{name}-00000-of-00001.parquet", "docvqa_val")
    (tmp_path / "DocVQA/README.md").write_text(
        "---\nconfigs:\n- config_name: DocVQA\n  data_files:\n  - split: validation\n    path: data/d-*\n"
        "- config_name: InfographicVQA\n  data_files:\n  - split: validation\n    path: data/i-*\n---\n"
    )
    assert found("docvqa_val", tmp_path) == ["DocVQA/data/d-00000-of-00001.parquet"]
    assert found("infovqa_val", tmp_path) == ["DocVQA/data/i-00000-of-00001.parquet"]


def test_a_part_that_is_missing_is_named_with_the_fix(tmp_path):
    for i in (0, 2):
        put(tmp_path / f"POPE/data/test-0000{i}-of-00004-c0ffee.parquet", "pope")
    with pytest.raises(UserError) as error:
        found("pope", tmp_path)
    for words in (
        "data of pope", "test-00001-of-00004, test-00003-of-00004 of 4 parts are missing",
        "hf download --repo-type dataset lmms-lab-encoder/POPE",
    ):  # fmt: skip
        assert words in str(error.value)


def test_a_missing_part_of_gqas_images_is_named(tmp_path):
    folder = gqa_as_the_hub_has_it(tmp_path) / "testdev_balanced_images"
    (folder / "testdev-00000-of-00001.parquet").rename(folder / "testdev-00001-of-00002.parquet")
    with pytest.raises(UserError, match=r"testdev-00000-of-00002 of 2 parts is missing"):
        found("gqa", tmp_path)


@pytest.mark.parametrize("other", ["test-00000-of-00002.parquet", "test-00000-of-00001-abc.parquet"])
def test_parts_of_two_versions_are_refused(tmp_path, other):
    put(tmp_path / "POPE/test-00000-of-00001.parquet", "pope")
    put(tmp_path / "POPE" / other, "pope")
    with pytest.raises(UserError, match="more than one version of lmms-lab-encoder/POPE"):
        found("pope", tmp_path)


def test_a_file_that_the_card_names_and_that_is_missing_is_named(tmp_path):
    put(tmp_path / "MMStar/a.parquet", "mmstar")
    (tmp_path / "MMStar/README.md").write_text(
        "---\nconfigs:\n- config_name: val\n  data_files:\n"
        "  - split: val\n    path: [a.parquet, b.parquet]\n---\n"
    )
    with pytest.raises(UserError, match=r"names b.parquet for the split 'val', which is missing"):
        found("mmstar", tmp_path)


def test_a_card_names_files_of_any_name(tmp_path):
    put(tmp_path / "MMStar/mmstar.parquet", "mmstar")
    put(tmp_path / "MMStar/extra.parquet", "mmstar")
    (tmp_path / "MMStar/README.md").write_text(
        "---\nconfigs:\n- config_name: val\n  data_files:\n"
        "  - split: val\n    path: mmstar.parquet\n---\n# MMStar"
    )
    assert found("mmstar", tmp_path) == ["MMStar/mmstar.parquet"]


def test_what_save_to_disk_wrote(tmp_path):
    datasets.DatasetDict({"test": table("chartqa"), "train": table("chartqa", 2)}).save_to_disk(
        tmp_path / "ChartQA"
    )
    table("mme").save_to_disk(tmp_path / "mme")
    assert found("chartqa", tmp_path) == ["ChartQA/test/data-00000-of-00001.arrow"]
    assert found("mme", tmp_path) == ["mme/data-00000-of-00001.arrow"]


def cached(root, task, commit, n=4):
    """A snapshot in a cache folder of the Hub."""
    info = describe(task, "hub")
    folder = root / f"datasets--{info.dataset.replace('/', '--')}" / "snapshots" / commit
    put(folder / f"data/{info.split}-00000-of-00001.parquet", task, n=n)
    return folder.parents[1]


def test_a_cache_folder_of_the_hub_gives_its_main_snapshot_and_commit(tmp_path):
    folder = cached(tmp_path, "chartqa", "aaa")
    cached(tmp_path, "chartqa", "bbb")
    os.utime(folder / "snapshots/aaa", (1, 1))
    info = describe("chartqa", "hub")
    assert find_local(info, tmp_path).commit == "bbb"  # the newest
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("aaa")
    assert find_local(info, tmp_path).commit == "aaa"
    assert local_sha256(find_local(info, tmp_path), tmp_path / "hashes.json") == "aaa"


def test_a_hash_is_of_the_content_and_remembered_until_the_file_changes(tmp_path, monkeypatch):
    info = describe("pope", "hub")
    path, remembered = put(tmp_path / "pope.parquet", "pope"), tmp_path / "cache/sha256.json"
    first = local_sha256(find_local(info, tmp_path), remembered)
    with monkeypatch.context() as patched:
        patched.setattr(local, "file_sha256", lambda _: pytest.fail("hashed again"))
        assert local_sha256(find_local(info, tmp_path), remembered) == first
    put(path, "pope", n=2)
    assert local_sha256(find_local(info, tmp_path), remembered) != first


def test_nothing_there_says_where_was_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(UserError) as error:
        found("infovqa_val", tmp_path)
    for words in ("infovqa_val.parquet", "'validation'", "datasets--lmms-lab-encoder--DocVQA", "hf download"):
        assert words in str(error.value)


def test_a_missing_column_is_named_with_the_ones_that_are_there(tmp_path):
    table("mmstar").remove_columns("l2_category").to_parquet(tmp_path / "mmstar.parquet")
    with pytest.raises(UserError, match=r"no column 'l2_category'. It has: answer, category, image, index"):
        found("mmstar", tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "gqa.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match=r"gqa.parquet can't be read .*Download it again"):
        found("gqa", tmp_path)


def test_damage_inside_a_file_is_named(tmp_path):
    content = bytearray(put(tmp_path / "chartqa.parquet", "chartqa").read_bytes())
    content[100:2000] = bytes(1900)
    (tmp_path / "chartqa.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"chartqa.parquet can't be read .*Download it again"):
        found("chartqa", tmp_path)


def test_an_empty_split_is_refused(tmp_path):
    table("pope").select([]).to_parquet(tmp_path / "pope.parquet")
    with pytest.raises(UserError, match="no question"):
        found("pope", tmp_path)


def gqa_as_the_hub_has_it(root):
    rows = tiny.rows("gqa", 4)
    base = root / "GQA"
    for subset in ("testdev_balanced_instructions", "testdev_balanced_images"):
        (base / subset).mkdir(parents=True)
    questions = [
        {"question": row["question"], "answer": row["answer"], "imageId": f"n{i // 2}"}
        for i, row in enumerate(rows)
    ]
    datasets.Dataset.from_list(questions).to_parquet(
        base / "testdev_balanced_instructions/testdev-00000-of-00001.parquet"
    )
    images = [{"id": f"n{i}", "image": tiny.encoded(i)} for i in range(2)]
    datasets.Dataset.from_list(images).cast_column("image", datasets.Image()).to_parquet(
        base / "testdev_balanced_images/testdev-00000-of-00001.parquet"
    )
    return base


def test_gqa_without_its_images_says_which_are_missing(tmp_path):
    base = gqa_as_the_hub_has_it(tmp_path)
    assert len(find_local(describe("gqa", "hub"), tmp_path).images) == 1
    (base / "testdev_balanced_images/testdev-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"without their images.*testdev_balanced_images"):
        find_local(describe("gqa", "hub"), tmp_path)


def ocrvqa_as_the_hub_has_it(root):
    books = [
        {
            "image": tiny.encoded(i), "image_id": f"b{i}", "questions": ["Who?", "What?"],
            "answers": ["me", "it"], "title": "t", "genre": "g", "ocr_tokens": ["x"],
        }
        for i in range(2)
    ]  # fmt: skip
    path = root / "OCR-VQA/data/test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    datasets.Dataset.from_list(books).cast_column("image", datasets.Image()).to_parquet(path)


def run(llava, root, results, tasks, *overrides):
    given = ["suite=paper", f"data.root={root}", f"model.pretrained={llava}", f"results={results}"]
    given += [f"tasks=[{tasks}]", "suite.textvqa_ocr=false", *overrides]
    return cli.evaluate(compose_spec(given))


@pytest.mark.slow
@pytest.mark.usefixtures("lmms_eval")
def test_downloaded_data_give_the_scores_of_the_same_questions_elsewhere(llava, tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path / "datasets"))
    root = tmp_path / "downloads"
    gqa_as_the_hub_has_it(root)
    ocrvqa_as_the_hub_has_it(root)
    datasets.DatasetDict({"test": table("seedbench")}).save_to_disk(root / "SEED-Bench")
    cached(root, "chartqa", "c0ffee")
    record = run(llava, root, tmp_path / "runs", "gqa,ocrvqa,seedbench,chartqa")
    assert [entry["n"] for entry in record["tasks"].values()] == [4] * 4
    assert record["tasks"]["chartqa"]["data_sha256"] == "c0ffee"
    assert len(record["tasks"]["gqa"]["data_sha256"]) == 64

    tiny.suite(tmp_path / "rendered", n=4, tasks=("gqa", "seedbench"))
    given = [f"model.pretrained={llava}", f"data.root={tmp_path / 'rendered'}", "tasks=[gqa,seedbench]"]
    same = cli.evaluate(compose_spec([*given, f"results={tmp_path / 'other'}"]))
    for task in ("gqa", "seedbench"):
        assert same["tasks"][task]["score"] == record["tasks"][task]["score"]
        assert (
            same["tasks"][task]["retained_tokens_per_layer"]
            == record["tasks"][task]["retained_tokens_per_layer"]
        )


@pytest.mark.slow
@pytest.mark.usefixtures("lmms_eval")
def test_a_data_set_that_comes_later_is_added_and_one_that_changed_is_run_anew(llava, tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(tmp_path / "datasets"))
    root, runs = tmp_path / "downloads", tmp_path / "runs"
    put(root / "pope.parquet", "pope")
    first = run(llava, root, runs, "pope")
    put(root / "chartqa.parquet", "chartqa")
    second = run(llava, root, runs, "pope,chartqa")
    assert second["run_id"] == first["run_id"]
    assert second["tasks"]["pope"] == first["tasks"]["pope"]
    put(root / "pope.parquet", "pope", n=2)
    third = run(llava, root, runs, "pope,chartqa")
    assert third["run_id"] == first["run_id"]
    assert third["tasks"]["pope"]["n"] == 2
    assert third["tasks"]["chartqa"] == second["tasks"]["chartqa"]


def test_a_root_that_is_no_folder(llava, tmp_path):
    with pytest.raises(UserError, match=r"data.root=.*nowhere is no folder"):
        run(llava, Path("nowhere"), tmp_path, "pope")


def test_a_null_answer_is_found_in_arrow_files_too(tmp_path):
    rows = tiny.rows("chartqa", 4)
    rows[3]["answer"] = None
    tiny.write("chartqa", rows, tmp_path / "parquet")
    saved = datasets.Dataset.from_parquet(str(tmp_path / "parquet" / "chartqa.parquet"))
    saved.save_to_disk(tmp_path / "chartqa")
    with pytest.raises(UserError, match=r"row 3 has no answer \(null\)"):
        find_local(describe("chartqa", "hub"), tmp_path)
