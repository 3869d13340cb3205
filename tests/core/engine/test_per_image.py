"""What is retained of each image, where a row has several of them."""

import pytest
import torch
from contract import FAMILIES, IMAGE, IMAGE_ID, case_of, model_of
from merging import Merging

from pdrop_eval import FastV, PruMerge, PyramidDrop, Random, Uniform
from pdrop_eval.engine.per_image import of_rows, runs, split
from pdrop_eval.utils.errors import UserError

ADJACENT = ([2, IMAGE, IMAGE, 3], [7], [IMAGE, 4, IMAGE, 1])
# LLaVA-NeXT: 25 of the overview, and rows with a newline each: 5 of 11, 10 of 7, 10 of 11, 8 of 11.
LENGTHS = {"llava": [[25, 25], [], [25, 25]], "llava_next": [[80, 95], [], [135, 113]]}
STRATEGIES = [FastV(k=2, r=0.5), PyramidDrop(ratio=0.5, stages=4), Random(tokens=9, k=2)]


def joined(parts, lengths):
    """Ids within images as ids within the row again."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    moved = [(ids + start).where(ids >= 0, ids) for ids, start in zip(parts, starts, strict=True)]
    return torch.cat(moved).tolist() if moved else []


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
@pytest.mark.parametrize("family", sorted(LENGTHS))
@pytest.mark.parametrize("call", ["forward", "generate"])
def test_ids_are_split_by_image_even_where_images_touch(strategy, family, call):
    case = case_of(family, rows=ADJACENT)
    with case.under(strategy) as report:
        getattr(case, call)()
    assert report.images == LENGTHS[family]
    assert torch.equal(report.image_mask, case.inputs["input_ids"] == IMAGE_ID)
    for rows, whole in zip(report.retained_per_image, report.retained, strict=True):
        for parts, ids, lengths in zip(rows, whole, LENGTHS[family], strict=True):
            assert [len(parts), joined(parts, lengths)] == [len(lengths), ids.tolist()]
            assert all(part.max() < n for part, n in zip(parts, lengths, strict=True) if len(part))


def test_rows_are_repeated_by_beams():
    case = case_of("llava_next", rows=([2, IMAGE, 3], [IMAGE, 4]))
    with case.under(FastV()) as report:
        case.generate(num_beams=3)
    assert report.images == [[80]] * 3 + [[95]] * 3
    assert [len(row) for row in report.retained_per_image[0]] == [1] * 6


@pytest.mark.parametrize("strategy", [Uniform(tokens=7), PruMerge()], ids=lambda one: one.name)
@pytest.mark.parametrize("family", sorted(LENGTHS))
def test_what_enters_the_decoder_is_split_by_image(strategy, family):
    case = case_of(family, rows=ADJACENT)
    with case.under(strategy) as report:
        case.forward()
    assert report.images == LENGTHS[family]
    assert report.sources_per_image is not None
    for number, (parts, ids) in enumerate(zip(report.sources_per_image, report.sources, strict=True)):
        assert joined(parts, LENGTHS[family][number]) == ids.tolist()
        alone = [part for part in parts if len(part)]
        assert len(alone) == len(LENGTHS[family][number])
        if strategy.name == "uniform":
            assert [len(part) for part in parts] == [7] * len(parts)


def test_a_drop_after_a_reduction_is_split_by_image():
    class Both(FastV):
        """FastV on what Uniform leaves."""

        reducer = Uniform(tokens=8)

    case = case_of("llava_next", rows=ADJACENT)
    with Both(k=2, r=0.5)(case.model) as report:
        case.forward()
    (rows,) = report.retained_per_image
    assert [len(torch.cat(row)) if row else 0 for row in rows] == [8, 0, 8]
    for parts, ids, lengths in zip(rows, report.retained[0], LENGTHS["llava_next"], strict=True):
        assert joined(parts, lengths) == ids.tolist()


def test_tokens_that_a_drop_makes_are_of_no_one_image():
    """Two images: 6 retained and 2 made at the first drop; 3 of these 8 and 2 new ones at the second."""
    case = case_of("llava_next", rows=ADJACENT)
    with case.under(Merging()) as report:
        case.forward()
    for rows, whole in zip(report.retained_per_image, report.retained, strict=True):
        for parts, ids, lengths in zip(rows, whole, LENGTHS["llava_next"], strict=True):
            assert joined(parts, lengths) == ids[ids >= 0].tolist()
    assert sum(len(part) for part in report.retained_per_image[0][0]) == 6


def test_without_pixels_an_image_is_a_run_of_image_tokens():
    case = case_of("bare_llama", rows=([2, IMAGE, 3, IMAGE, 1], [IMAGE, IMAGE]))
    with case.under(FastV()) as report:
        case.forward()
    assert report.images == [[25, 25], [50]]
    assert [len(row) for row in report.retained_per_image[0]] == [2, 1]


def test_every_family_with_images_tells_its_own():
    for name in FAMILIES:
        if not name.startswith("bare_"):
            between = [] if name.startswith("llava") else [3]  # other families' prompts mark every image
            case = case_of(name, rows=([1, IMAGE, *between, IMAGE], [3]))
            with case.under(PyramidDrop()) as report:
                case.forward()
            images, none = report.images
            assert (sum(images), none) == (case.image_tokens[0], []), name
            if not name.startswith("smolvlm"):  # its images are several runs of tokens, which nothing joins
                assert len(images) == 2, name


def test_a_report_of_nothing_has_no_images():
    with FastV()(model_of("llava")) as report:
        assert (report.images, report.retained_per_image, report.sources_per_image) == ([], [], None)


def test_by_hand():
    assert runs([False, True, True, False, True]) == [2, 1]
    assert of_rows([3, 2, 4], [5, 0, 4]) == [[3, 2], [], [4]]
    assert of_rows([3, 2], [5, 5]) == [[3, 2], [3, 2]]
    with pytest.raises(UserError, match="not those of whole images"):
        of_rows([3, 2], [4, 1])
    # Two images of 5 tokens; 2 and 3 of them enter; the second's first is made.
    ids, order = torch.tensor([1, 4, -1, 7]), torch.tensor([0, 1, 2, 4])
    assert [part.tolist() for part in split(ids, order, [2, 3], [5, 5])] == [[1, 4], [-1, 2]]
