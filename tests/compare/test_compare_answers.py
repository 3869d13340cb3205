"""Pictures of changed answers: the right one, small, or none."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from pdrop_eval.report.compare.output.changed_answers import SIDE, pictures
from pdrop_eval.utils.code.hashing import content_hashes


def picture(seed, size=(400, 200)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture
def sides(tmp_path):
    """A comparison whose task gqa has three pictures, in files with two rows and one."""
    rows = [{"image": encoded(picture(seed))} for seed in range(3)]
    files = []
    for number, part in enumerate((rows[:2], rows[2:])):
        files.append(tmp_path / f"{number}.parquet")
        parquet.write_table(pa.Table.from_pylist(part), files[-1])
    data = SimpleNamespace(
        folder=None, local={"gqa": SimpleNamespace(kind="parquet", files=files, read=[files])}
    )
    return [SimpleNamespace(plan=SimpleNamespace(data=data))]


def row(number, seed, task="gqa"):
    sha256 = content_hashes("", [picture(seed)])[1]
    return {"task": task, "doc_id": number, "images_sha256": sha256, "picture": None}


def test_a_row_gets_a_small_copy_of_its_own_picture(sides):
    rows = [row(2, 2), row(0, 0)]
    found = dict(pictures(sides, rows))
    assert [one["picture"] for one in rows] == ["gqa-2.png", "gqa-0.png"]
    image = Image.open(io.BytesIO(found["gqa-2.png"]))
    assert image.size == (SIDE, SIDE // 2)
    smaller = picture(2)
    smaller.thumbnail((SIDE, SIDE))
    assert np.array_equal(np.asarray(image), np.asarray(smaller))


@pytest.mark.parametrize("wrong", [row(1, 0), row(9, 0), row(0, 0, task="pope")])
def test_another_picture_than_the_recorded_one_is_not_shown(sides, wrong):
    assert list(pictures(sides, [wrong])) == []
    assert wrong["picture"] is None


def test_a_task_can_not_name_a_file_elsewhere(sides):
    hostile = row(0, 0, task="../../x")
    sides[0].plan.data.local["../../x"] = sides[0].plan.data.local["gqa"]
    ((name, _),) = pictures(sides, [hostile])
    assert name == "-x-0.png"


def test_what_is_no_picture_is_passed_over(tmp_path):
    damaged = pa.Table.from_pylist([{"image": {"bytes": b"GIF89a, but not really", "path": None}}])
    parquet.write_table(damaged, tmp_path / "gqa.parquet")
    folder = SimpleNamespace(plan=SimpleNamespace(data=SimpleNamespace(folder=tmp_path, local={})))
    assert list(pictures([folder], [row(0, 0)])) == []
