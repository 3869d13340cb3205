"""Pictures of the page: the right ones, small, copied once; and words where they are missing."""

import io
import json
import shutil
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import synthetic
from PIL import Image, ImageFile
from pyarrow import parquet

from pdrop_eval.benchmarks.data import images as data_pictures
from pdrop_eval.benchmarks.data.images import NotThereError, Stored, Wanted, find_pictures, stored_data
from pdrop_eval.benchmarks.registry import benchmarks, by_task
from pdrop_eval.report.site.data.pictures import SIDE
from pdrop_eval.report.site.notices import Notices
from pdrop_eval.utils.code.hashing import content_hashes


@pytest.fixture
def one_run(tmp_path, quick):
    """Writes a run of one task about some pictures; returns the folder of its data."""

    def make(numbers=range(4), task="gqa", strategy="vanilla", samples=None, **settings):
        hashed = synthetic.write_data(tmp_path / "data", task, list(numbers))
        head = synthetic.header("mini576", strategy, data={"root": str(tmp_path / "data")}, **settings)
        found = samples or synthetic.samples("mini576", strategy, task, list(numbers))
        synthetic.write_run(tmp_path / "runs", "mini576", strategy, {task: (found, hashed)}, head=head)
        return tmp_path / "data"

    return make


def read(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def questions(page, benchmark="gqa"):
    return page.questions(page.index["runs"][0]["scores"][benchmark]["set"])


def test_each_question_has_a_copy_of_its_own_picture(page):
    score = page.index["runs"][0]["scores"]["gqa"]
    found = page.questions(score["set"])
    for number, question in enumerate(found):
        (name,) = question["pictures"]
        pixels = content_hashes("", [synthetic.picture(number)])[1]
        assert name == f"pictures/{pixels[:20]}.webp"
        assert question["missing"] is None
        copy = read(page.out / name)
        assert copy.size == synthetic.picture(number).size
        off = np.abs(np.asarray(copy.convert("RGB"), int) - np.asarray(synthetic.picture(number), int))
        assert off.mean() < 12
    assert len({question["pictures"][0] for question in found}) == 20


def test_benchmarks_with_the_same_picture_share_the_copy(page):
    assert len(list((page.out / "pictures").iterdir())) == 20


def test_a_large_picture_becomes_small_and_loses_all_but_its_pixels(tmp_path, paged):
    noise = np.random.default_rng(0).integers(0, 255, (700, 1400, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    written = io.BytesIO()
    image.save(written, "PNG", exif=exif, icc_profile=b"secret profile")
    add_run(tmp_path, [{"bytes": written.getvalue(), "path": None}], [[image]])
    page = paged()
    (question,) = questions(page)
    content = (page.out / question["pictures"][0]).read_bytes()
    copy = Image.open(io.BytesIO(content))
    assert copy.size == (SIDE, SIDE // 2)
    assert b"secret" not in content
    assert not copy.info.get("exif")


def test_a_picture_on_its_side_and_one_that_is_cut_are_found(tmp_path, paged):
    """Their hashes are of what the model saw: upright, and of a cut one as much as there is."""
    exif = Image.Exif()
    exif[0x0112] = 6
    written = io.BytesIO()
    synthetic.picture(0).save(written, "PNG", exif=exif)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    jpeg = io.BytesIO()
    noise.save(jpeg, "JPEG")
    cut = jpeg.getvalue()[: len(jpeg.getvalue()) // 2]
    upright = synthetic.picture(0).transpose(Image.Transpose.ROTATE_270)
    with mock.patch.object(ImageFile, "LOAD_TRUNCATED_IMAGES", True):
        half = Image.open(io.BytesIO(cut)).convert("RGB")
    add_run(
        tmp_path, [{"bytes": one, "path": None} for one in (written.getvalue(), cut)], [[upright], [half]]
    )
    first, second = questions(paged())
    assert first["missing"] is None
    assert second["missing"] is None


def add_run(folder, images, pictures, **more):
    """A run whose questions are about some pictures that are written to its data as they are given."""
    (folder / "data").mkdir()
    parquet.write_table(pa.table({"image": images}), folder / "data/gqa.parquet")
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(len(pictures)))
    for sample, own in zip(samples, pictures, strict=True):
        sample["images_sha256"] = content_hashes("", own)[1]
        sample["image_sizes"] = [list(one.size) for one in own]
        sample["image_grids"], sample["image_tokens"], sample["retained"] = [], 0, []
    head = synthetic.header("mini576", "vanilla", data={"root": str(folder / "data")}, **more)
    synthetic.write_run(folder / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)}, head=head)


def test_a_sample_of_several_pictures_has_a_file_for_each(tmp_path, paged):
    images = [[{"bytes": synthetic.png(number), "path": None} for number in (0, 1, 2)]]
    add_run(tmp_path, images, [[synthetic.picture(number) for number in (0, 1, 2)]])
    page = paged()
    (question,) = questions(page)
    stem = question["pictures"][0].removesuffix("-0.webp")
    assert question["pictures"] == [f"{stem}-{number}.webp" for number in range(3)]
    for number, name in enumerate(question["pictures"]):
        assert read(page.out / name).size == synthetic.picture(number).size
    assert questions(paged())[0]["pictures"] == question["pictures"]  # and again, from what is there


def test_a_copy_that_is_there_is_not_made_again(one_run, paged, tmp_path, monkeypatch):
    data = one_run()
    first = paged()
    shutil.rmtree(data)
    monkeypatch.setattr(data_pictures, "locate", None)
    again = paged()
    assert again.content() == first.content()
    assert again.index["notices"] == []


def test_data_that_are_gone_leave_one_notice_for_all_benchmarks(tmp_path, paged, one_run):
    for task in ("gqa", "mme"):
        data = one_run(task=task, strategy="pdrop" if task == "gqa" else "vanilla")
    shutil.rmtree(data)
    page = paged()
    (notice,) = page.index["notices"]
    assert notice.startswith(
        "8 questions of MME, GQA have no picture here: the rendered suite is not on this"
    )
    assert notice in page.told
    for key in ("gqa", "mme"):
        run = next(run for run in page.index["runs"] if key in run["scores"])
        for question in page.questions(run["scores"][key]["set"]):
            assert question["pictures"] == [None]
            assert "not on this machine" in question["missing"]


def test_a_reason_of_many_benchmarks_is_one_line_and_another_reason_another():
    notices = Notices()
    for key in benchmarks():
        notices.pictures(key, "the cache is empty", 240)
    notices.pictures("gqa", "another picture lies there", 1)
    assert notices.lines() == [
        f"{240 * len(benchmarks()):,} questions of {len(benchmarks())} benchmarks have no picture here: the "
        "cache is empty.",
        "1 question of GQA has no picture here: another picture lies there.",
    ]


def test_another_picture_than_the_recorded_one_is_not_shown(tmp_path, paged, one_run):
    data = one_run([0, 1, 2, 3])
    synthetic.write_data(data, "gqa", [0, 9, 2])  # another one, and one too few
    page = paged()
    shown = questions(page)
    assert [one["pictures"] == [None] for one in shown] == [False, True, False, True]
    assert "another picture" in shown[1]["missing"]
    (notice,) = page.index["notices"]
    assert notice.startswith("2 questions of GQA have no picture here: the data on this machine hold another")


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    "bad",
    [b"", b"GIF89a, but not really", synthetic.png(1)[:200], None],
    ids=["empty", "text", "cut", "none"],
)
def test_a_damaged_picture_does_not_stop_the_page(tmp_path, paged, bad):
    images = [{"bytes": bad, "path": "/etc/hostname"}, {"bytes": synthetic.png(1), "path": None}]
    add_run(tmp_path, images, [[synthetic.picture(0)], [synthetic.picture(1)]])
    shown = questions(paged())
    assert shown[0]["pictures"] == [None]
    assert shown[1]["pictures"] != [None]


def test_a_decompression_bomb_does_not_stop_the_page(tmp_path, paged, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    add_run(tmp_path, [{"bytes": synthetic.png(0), "path": None}], [[synthetic.picture(0)]])
    assert questions(paged())[0]["pictures"] == [None]


def test_damaged_data_become_a_reason(tmp_path, paged, one_run):
    data = one_run()
    (data / "gqa.parquet").write_bytes(b"PAR1 but not really")
    page = paged()
    assert "can't be read" in questions(page)[0]["missing"]
    assert len(page.index["notices"]) == 1


def test_only_the_first_pictures_of_a_benchmark_are_copied(paged, one_run):
    one_run(range(5))
    page = paged(pictures=2)
    shown = questions(page)
    assert [one["pictures"] == [None] for one in shown] == [False, False, True, True, True]
    assert "only the first 2 pictures" in shown[2]["missing"]
    assert len(list((page.out / "pictures").iterdir())) == 2


def test_no_pictures_are_copied_where_none_are_wanted(paged, one_run):
    one_run()
    page = paged(pictures=0)
    assert {one["missing"] for one in questions(page)} == {"no pictures were asked for (pictures=0)"}
    assert not (page.out / "pictures").exists()
    assert page.index["notices"] == []


def test_a_question_without_a_picture_lacks_none(paged, one_run):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    samples[0] |= {
        "images_sha256": content_hashes("", [])[1],
        "image_sizes": [],
        "image_grids": [],
        "retained": [],
    }
    samples[0]["image_tokens"] = 0
    one_run(range(2), samples=samples)
    page = paged()
    first, second = questions(page)
    assert (first["pictures"], first["missing"]) == ([], None)
    assert second["pictures"] != [None]
    assert page.index["notices"] == []


def test_the_users_own_folder_comes_first(tmp_path, paged, one_run):
    data = one_run()
    shutil.move(data, tmp_path / "elsewhere")
    assert questions(paged())[0]["pictures"] == [None]
    assert questions(paged(data=tmp_path / "elsewhere"))[0]["pictures"] != [None]


def rendered(folder, version, content, numbers):
    """A rendered suite as it is kept, with the hash of its questions."""
    suite = folder / f"suite-{version}"
    synthetic.write_data(suite, "gqa", numbers)
    (suite / "manifest.json").write_text(json.dumps({"tasks": {"gqa": {"sha256": content}}}))
    return suite / "gqa.parquet"


def test_a_rendered_suite_is_found_by_its_content_also_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path))
    with pytest.raises(NotThereError, match="make suite"):
        stored_data("gqa", "rendered", "b" * 64, [None])
    rendered(tmp_path, "aaaa", "a" * 64, [0])
    wanted = rendered(tmp_path, "bbbb", "b" * 64, [1])
    assert stored_data("gqa", "rendered", "b" * 64, [None]).files == (wanted,)


def table(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=2)
    return path


def image(number):
    return {"bytes": synthetic.png(number), "path": None}


def found(data, *pairs):
    """Which of the pictures (by number) are found for (number of the question, number of the picture)."""
    wanted = [Wanted(content_hashes("", [synthetic.picture(picture)])[1], row) for row, picture in pairs]
    hashes = {one.sha256: picture for one, (_, picture) in zip(wanted, pairs, strict=True)}
    return [hashes[sha256] for sha256, _ in find_pictures(data, wanted)]


def test_seedbench_counts_questions_about_pictures_alone(tmp_path):
    kinds = ["video", "image", "video", "image", "image"]
    path = table(tmp_path / "x.parquet", {"image": [image(i) for i in range(5)], "data_type": kinds})
    data = Stored("seedbench", (path,))
    assert found(data, (0, 1), (1, 3), (2, 4)) == [1, 3, 4]
    assert found(data, (3, 4), (1, 1)) == []


def test_ocrvqa_counts_the_questions_of_each_cover(tmp_path):
    asked = [["a?", "b?"], [], ["c?"]]
    path = table(tmp_path / "x.parquet", {"image": [image(i) for i in range(3)], "questions": asked})
    assert found(Stored("ocrvqa", (path,)), (0, 0), (2, 2)) == [0, 2]
    assert found(Stored("ocrvqa", (path,)), (1, 0)) == [0]
    assert found(Stored("ocrvqa", (path,)), (2, 1)) == []


def test_gqa_finds_its_pictures_apart(tmp_path):
    path = table(tmp_path / "q.parquet", {"imageId": ["b", "a", "c", "b"], "question": ["?"] * 4})
    apart = table(tmp_path / "i.parquet", {"id": ["a", "b"], "image": [image(0), image(1)]})
    data = Stored("gqa", (path,), (apart,))
    assert sorted(found(data, (0, 1), (1, 0))) == [0, 1]
    assert found(data, (3, 1)) == [1]
    assert found(data, (2, 0)) == []


def test_rows_are_counted_over_all_files_and_groups(tmp_path):
    files = [table(tmp_path / f"{n}.parquet", {"image": [image(i) for i in range(n, n + 3)]}) for n in (0, 3)]
    data = Stored("pope", tuple(files))
    assert found(data, *((i, i) for i in (5, 0, 3))) == [0, 3, 5]
    assert found(data, (6, 6), (-1, 5), ("0", 0), (1.0, 1)) == []


def test_arrow_files_are_read_as_well(tmp_path):
    path = tmp_path / "data-00000.arrow"
    batch = pa.table({"image": [image(0), image(1)]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_table(batch, max_chunksize=1)
    assert found(Stored("pope", (path,)), (1, 1)) == [1]


def test_the_hubs_cache_is_looked_into(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(NotThereError, match="not on this machine"):
        stored_data("pope", "hub", None, [None])
    from pdrop_eval.benchmarks.task_files import describe

    info = describe("pope", "hub")
    place = tmp_path / "hub" / f"datasets--{info.dataset.replace('/', '--')}" / "snapshots" / "0123"
    base = place / info.subset if info.subset else place
    path = table(base / "data" / f"{by_task()['pope'].split}-00000-of-00001.parquet", {"image": [image(0)]})
    assert stored_data("pope", "hub", None, [None]).files == (path,)
