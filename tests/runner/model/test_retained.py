"""The retained tokens that samples keep: which, where, and the same however the run went."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from evaluating import run

from pdrop_eval.models.pictures.token_grid import Geometry, Grid, cells
from pdrop_eval.records.journal import Journal
from pdrop_eval.records.store import load_samples
from pdrop_eval.records.token_mask import unpack
from pdrop_eval.utils.errors import UserError


def samples_of(checkpoint, data, results, *overrides, strategy="pdrop"):
    record = run(checkpoint, data, results, "tasks=[docvqa_val]", *overrides, strategy=strategy)
    return load_samples(Path(record["folder"]), "docvqa_val")


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_masks_and_counts_agree_and_later_drops_are_of_earlier_ones(family, data, tmp_path, request):
    checkpoint = request.getfixturevalue(family)
    for sample in samples_of(checkpoint, data, tmp_path):
        n, layers = sample["image_tokens"], sample["image_tokens_per_layer"]
        drops = [(layer, unpack(mask, n)) for layer, mask in sample["retained"]]
        assert [layer for layer, _ in drops] == [1, 2, 3]  # four stages of four layers
        assert [sum(flags) for _, flags in drops] == layers[1:] == [n // 2, n // 4, n // 8]
        for (_, before), (_, after) in pairwise(drops):
            assert all(had or not has for had, has in zip(before, after, strict=True))


def test_a_ratio_of_zero_leaves_an_empty_mask_after_every_drop(llava, data, tmp_path):
    for sample in samples_of(llava, data, tmp_path, "strategy.ratio=0"):
        assert sample["image_tokens_per_layer"] == [16, 0, 0, 0]
        assert [(layer, sum(unpack(mask, 16))) for layer, mask in sample["retained"]] == [
            (1, 0),
            (2, 0),
            (3, 0),
        ]


def test_vanilla_has_no_drops_and_the_grid_of_the_picture(llava, data, tmp_path):
    for sample in samples_of(llava, data, tmp_path, strategy="vanilla"):
        assert sample["retained"] == []
        assert sample["image_sizes"] == [[20, 14]]
        # the shorter side becomes 16 pixels, and the middle of the longer one is taken
        assert sample["image_grids"] == [[0, "whole", 3.0, 0.0, 17.0, 14.0, 4, 4, False]]


def test_the_grids_of_llava_next_have_all_image_tokens(llava_next, data, tmp_path):
    for sample in samples_of(llava_next, data, tmp_path):
        grids = [Grid.from_list(values) for values in sample["image_grids"]]
        assert [grid.part for grid in grids] == ["overview", "tiles"]
        assert len(cells(grids)) == sample["image_tokens"]


def test_the_same_tokens_in_any_batch(llava, data, tmp_path):
    one = samples_of(llava, data, tmp_path / "one", "batch_size=1")
    three = samples_of(llava, data, tmp_path / "three", "batch_size=3")
    assert [sample["retained"] for sample in one] == [sample["retained"] for sample in three]


@pytest.mark.slow
def test_an_answer_that_was_recalled_has_its_tokens(llava, data, tmp_path, monkeypatch):
    expected = samples_of(llava, data, tmp_path / "whole", "batch_size=2")
    keep = Journal.keep

    def dies(journal, answers):
        keep(journal, answers)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "keep", dies)
    with pytest.raises(KeyboardInterrupt):
        samples_of(llava, data, tmp_path / "killed", "batch_size=2")
    monkeypatch.setattr(Journal, "keep", keep)
    assert samples_of(llava, data, tmp_path / "killed", "batch_size=2") == expected


def test_the_grids_of_a_picture_as_thin_as_a_line_are_read_again(tmp_path):
    grids = Geometry(336, 14, ((336, 1008), (1008, 336))).grids([(3000, 30), (10, 1000)])
    assert [(grid.rows, grid.columns, grid.tokens) for grid in grids if grid.part == "tiles"] == [
        (0, 72, 0), (72, 0, 72),
    ]  # fmt: skip
    (tmp_path / "samples").mkdir()
    sample = {"doc_id": 0, "image_grids": [grid.to_list() for grid in grids]}
    (tmp_path / "samples" / "docvqa_val.jsonl").write_text(json.dumps(sample) + "\n")
    (read,) = load_samples(tmp_path, "docvqa_val")
    assert [Grid.from_list(values) for values in read["image_grids"]] == grids
    assert len(cells(grids)) == 2 * 576 + 72


@pytest.mark.parametrize(
    "damage",
    [
        {"retained": [[1, 2]]},
        {"retained": [["1", "AA=="]]},
        {"image_grids": [[0, "whole", 0, 0, 1, 1, 4, 4]]},
        {"image_grids": [[0, "whole", 0, 0, 1, 1, 4, 10**9, False]]},
        {"image_sizes": [[20]]},
    ],
)
def test_damaged_fields_are_refused_in_words(tmp_path, damage):
    folder = tmp_path / "samples"
    folder.mkdir()
    sample = {"doc_id": 0, "retained": [], "image_grids": None, "image_sizes": [[20, 14]], **damage}
    (folder / "docvqa_val.jsonl").write_text(json.dumps(sample) + "\n")
    with pytest.raises(UserError, match=next(iter(damage))):
        load_samples(tmp_path, "docvqa_val")
