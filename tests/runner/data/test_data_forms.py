"""Data of pandas, pyarrow and VLMEvalKit: converted where that is plain, refused by type where it isn't."""

import base64

import pyarrow as pa
import pytest
import runner_tiny as tiny
from pyarrow import parquet

from pdrop_eval.benchmarks.data.convert import readable
from pdrop_eval.benchmarks.data.images import Wanted, find_pictures, stored_data
from pdrop_eval.benchmarks.data.local import find_local, find_rendered
from pdrop_eval.benchmarks.task_files import describe
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.utils.code.hashing import content_hashes
from pdrop_eval.utils.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(number: int) -> bytes:
    return tiny.encoded(number)["bytes"]


def text(number: int) -> str:
    return base64.b64encode(png(number)).decode()


PATHS = "pictures"


def columns(kind: str, numbers) -> pa.Array:
    """The pictures in a form, null in the last row."""
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = {
        "bytes": (png, pa.binary()),
        "large bytes": (png, pa.large_binary()),
        "struct": (lambda n: {"bytes": png(n), "path": None}, struct),
        "struct of paths": (lambda n: {"bytes": None, "path": f"{PATHS}/{n}.png"}, struct),
        "struct of bytes alone": (lambda n: {"bytes": png(n)}, pa.struct([("bytes", pa.binary())])),
        "base64": (text, pa.string()),
        "data address": (lambda n: f"data:image/png;base64,{text(n)}", pa.large_string()),
        "path": (lambda n: f"{PATHS}/{n}.png", pa.string()),
        "categories": (text, pa.dictionary(pa.int32(), pa.string())),
        "list": (lambda n: [png(n), png(n + 1)], pa.list_(pa.binary())),
        "list as text": (lambda n: str([text(n), text(n + 1)]), pa.string()),
    }
    value, type_ = made[kind]
    values = [*map(value, numbers), None]
    if pa.types.is_dictionary(type_):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, type_)


def write(folder, images, task="gqa") -> None:
    n = len(images)
    (folder / PATHS).mkdir(parents=True, exist_ok=True)
    for number in range(n):
        (folder / PATHS / f"{number}.png").write_bytes(png(number))
    table = {"question": [f"{i}?" for i in range(n)], "answer": ["red"] * n, "image": images}
    parquet.write_table(pa.table(table), folder / f"{task}.parquet")


def seen(path):
    """The pictures that lmms-eval gets, which reads a file as the package datasets does."""
    import datasets

    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent))
    return [row["image"] for row in rows]


@pytest.mark.parametrize("type_", [pa.null(), pa.binary(), pa.string()], ids=str)
def test_a_column_without_any_picture_is_refused(tmp_path, type_):
    write(tmp_path, pa.array([None, None], type_))
    with pytest.raises(UserError, match=r"'image' of .*gqa.parquet holds no picture in any of 2 rows"):
        readable(tmp_path / "gqa.parquet", describe("gqa", "rendered"))


KINDS = [
    "bytes", "large bytes", "struct", "struct of paths", "struct of bytes alone", "base64", "data address",
    "path", "categories", "list", "list as text",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_in_every_plain_form_are_read(tmp_path, kind):
    write(tmp_path / "data", columns(kind, range(3)))
    found, rows = find_rendered(describe("gqa", "rendered"), tmp_path / "data")
    assert rows == 4
    assert found.files == (tmp_path / "data/gqa.parquet",)
    shown = seen(found.read[0][0])
    assert shown[3] is None or shown[3] == []
    for number, one in enumerate(shown[:3]):
        pictures = one if "list" in kind else [one]
        assert [p.tobytes() for p in pictures] == [
            tiny.picture(number + i).tobytes() for i in range(len(pictures))
        ]
        assert len(pictures) == (2 if "list" in kind else 1)


@pytest.mark.parametrize("kind", ["bytes", "base64", "path", "struct of paths", "list as text"])
def test_the_results_page_finds_the_same_pictures(tmp_path, kind):
    write(tmp_path / "data", columns(kind, range(3)))
    pictures = [tiny.picture(1), tiny.picture(2)] if "list" in kind else [tiny.picture(1)]
    sha256 = content_hashes("", pictures)[1]
    data = stored_data("gqa", "rendered", None, [tmp_path / "data"])
    assert [one for one, _ in find_pictures(data, [Wanted(sha256, 1)])] == [sha256]


def test_data_of_the_package_datasets_stay_as_they_are(tmp_path, cache):
    tiny.write("gqa", tiny.rows("gqa", 2), tmp_path)
    found, _ = find_rendered(describe("gqa", "rendered"), tmp_path)
    assert found.converted == ()
    assert not (cache / "converted").exists()


def test_downloaded_data_are_converted_too(tmp_path):
    write(tmp_path / "data", columns("base64", range(3)))
    found = find_local(describe("gqa", "hub"), tmp_path / "data")
    assert found.files == (tmp_path / "data/gqa.parquet",)
    assert [p.size for p in seen(found.read[0][0])[:3]] == [(20, 14)] * 3


@pytest.mark.parametrize(("images", "type_"), [
    (pa.array([1, 2]), "int64"),
    (pa.array([[1, 2], [3]], pa.list_(pa.uint8())), "list<element: uint8>"),
    (pa.array([[[1]], [[3]]], pa.list_(pa.list_(pa.uint8()))), "list<element: list<element: uint8>>"),
    (pa.array([{"data": b"x"}] * 2), "struct<data: binary>"),
    (pa.array([1.5, 2.5]), "double"),
])  # fmt: skip
def test_a_column_of_another_type_is_refused_with_its_type(tmp_path, images, type_):
    write(tmp_path, images)
    with pytest.raises(UserError) as error:
        find_rendered(describe("gqa", "rendered"), tmp_path)
    assert f"gqa.parquet has the type {type_}, which is not one of pictures" in str(error.value)


@pytest.mark.parametrize(("value", "why"), [
    ("cats/1.png", "'cats/1.png' is neither a file in "),
    ("https://example.com/1.png", "is an address; download the picture"),
    ("no picture at all", "nor base64 of a picture"),
    ("abcd", "'abcd' is neither a file in "),
])  # fmt: skip
def test_a_text_that_is_no_picture_is_refused_with_its_row(tmp_path, value, why):
    write(tmp_path, pa.array([text(0), value]))
    with pytest.raises(
        UserError, match=r"gqa\.parquet the column 'image' holds no picture in row 1: "
    ) as error:
        find_rendered(describe("gqa", "rendered"), tmp_path)
    assert why in str(error.value)


SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'></svg>"


@pytest.mark.parametrize("declared", [True, False])
def test_a_first_picture_that_can_not_be_opened_is_named_before_a_model_is_loaded(tmp_path, declared):
    images = [{"bytes": SVG, "path": None}, {"bytes": png(1), "path": None}]
    if declared:
        rows = tiny.rows("gqa", 2)
        tiny.write(
            "gqa", [{**row, "image": image} for row, image in zip(rows, images, strict=True)], tmp_path
        )
    else:
        write(tmp_path, pa.array(images))
    with pytest.raises(
        UserError, match=r"the picture of row 0 \(column 'image'\) can't be opened: it is SVG"
    ):
        find_rendered(describe("gqa", "rendered"), tmp_path)


def tsv(path, rows) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def mmbench(n: int) -> list[dict]:
    """Rows as VLMEvalKit has them: a copy of a question names the row with its picture."""
    return [
        {
            "index": i, "question": f"Which, {i}?", "hint": "", "A": "red", "B": "green", "C": "3", "D": "",
            "answer": "AB"[i % 2], "category": "color", "image": text(i) if i % 2 == 0 else i - 1,
            "source": "x", "l2-category": "perception", "comment": "c", "split": "dev",
        }
        for i in range(n)
    ]  # fmt: skip


def test_a_tsv_of_vlmevalkit_is_read(tmp_path):
    tsv(tmp_path / "mmbench_en_dev.tsv", mmbench(4))
    for find in (
        lambda: find_rendered(describe("mmbench_en_dev", "rendered"), tmp_path)[0],
        lambda: find_local(describe("mmbench_en_dev", "hub"), tmp_path),
    ):
        (path,) = find().read[0]
        rows = parquet.read_table(path).to_pylist()
        assert [row["index"] for row in rows] == [0, 1, 2, 3]
        assert [(row["C"], row["D"], row["L2-category"]) for row in rows] == [("3", None, "perception")] * 4
        assert [one.tobytes() for one in seen(path)] == [tiny.picture(i).tobytes() for i in (0, 0, 2, 2)]


def test_the_results_page_finds_the_pictures_of_a_tsv(tmp_path):
    tsv(tmp_path / "mmbench_en_dev.tsv", mmbench(4))
    data = stored_data("mmbench_en_dev", "rendered", None, [tmp_path])
    sha256 = content_hashes("", [tiny.picture(2)])[1]
    assert [one for one, _ in find_pictures(data, [Wanted(sha256, 3)])] == [sha256]


@pytest.mark.parametrize(("change", "why"), [
    ({"index": "x"}, r"line 3: index is 'x', not a whole number"),
    ({"image": "77"}, r"line 3: image is 77, and no row of this index has a picture"),
    ({"answer": ""}, r"mmbench_en_dev\.tsv row 1 has no answer"),
    ({"image": "x" * 100}, r"holds no picture in row 1: "),
])  # fmt: skip
def test_a_damaged_tsv_is_refused_by_its_own_name(tmp_path, change, why):
    rows = mmbench(2)
    rows[1] |= change
    tsv(tmp_path / "mmbench_en_dev.tsv", rows)
    with pytest.raises(UserError, match=why) as error:
        find_rendered(describe("mmbench_en_dev", "rendered"), tmp_path)
    assert "converted" not in str(error.value)


def test_a_tsv_without_a_column_names_it(tmp_path):
    tsv(tmp_path / "mmbench_en_dev.tsv", [{"index": 0, "image": text(0), "question": "?"}])
    with pytest.raises(UserError, match=r"mmbench_en_dev\.tsv has no column 'hint'"):
        find_rendered(describe("mmbench_en_dev", "rendered"), tmp_path)


def test_numbers_of_questions_may_be_the_index_and_lists_are_read(tmp_path):
    row = {"index": 7, "image": text(1), "question": "?", "answer": "['1995', '1996']"}
    tsv(tmp_path / "textvqa_val.tsv", [row])
    (path,) = find_rendered(describe("textvqa_val", "rendered"), tmp_path)[0].read[0]
    (found,) = parquet.read_table(path).to_pylist()
    assert (found["question_id"], found["answers"]) == ("7", ["1995", "1996"])


@pytest.mark.slow
@pytest.mark.usefixtures("lmms_eval")
def test_an_evaluation_of_every_form_has_the_same_samples(llava, tmp_path):
    from pdrop_eval.records.store import load_samples
    from pdrop_eval.run.evaluate import cli

    found = {}
    for kind in ("struct", "base64", "path", "tsv"):
        folder = tmp_path / kind.replace(" ", "_")
        if kind == "tsv":
            folder.mkdir()
            rows = [{"question": f"{i}?", "answer": "red", "image": text(i)} for i in range(4)]
            tsv(folder / "gqa.tsv", rows)
        else:
            write(folder, columns(kind, range(4)).slice(0, 4))
        given = [f"model.pretrained={llava}", f"data.root={folder}", f"results={tmp_path / 'runs'}"]
        record = cli.evaluate(compose_spec([*given, "tasks=[gqa]"]))
        found[kind] = [
            (s["content_sha256"], s["answer"], s["score"]) for s in load_samples(record["folder"], "gqa")
        ]
    assert len(found["struct"]) == 4
    assert all(samples == found["struct"] for samples in found.values())


def changed(task: str, folder, **values):
    rows = [{**row, **values} for row in tiny.rows(task, 4)]
    tiny.write(task, rows, folder)


@pytest.mark.slow
@pytest.mark.usefixtures("lmms_eval")
@pytest.mark.parametrize(("task", "values", "why"), [
    ("gqa", {"question": "<image><image>?"}, "can't be prepared: the question has 2 times '<image>'"),
    ("gqa", {"answer": 3}, "sample 0 can't be scored: a value is missing or of the wrong kind"),
    ("seedbench", {"answer": 3}, "task seedbench can't be scored: a value is missing or of the wrong kind"),
    ("scienceqa_img", {"answer": "one"}, "first sample of task scienceqa_img can't be read: a value"),
])  # fmt: skip
def test_marks_and_answers_of_another_kind_are_wrong_data(llava, tmp_path, task, values, why):
    from pdrop_eval.run.evaluate import cli

    changed(task, tmp_path / "data", **values)
    given = [f"model.pretrained={llava}", f"data.root={tmp_path / 'data'}", f"results={tmp_path / 'runs'}"]
    with pytest.raises(UserError) as error:
        cli.evaluate(compose_spec([*given, f"tasks=[{task}]"]))
    assert why in str(error.value)
    assert "network" not in str(error.value)
