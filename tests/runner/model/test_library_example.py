"""The documentation's example of the library, on a tiny random checkpoint of each family that it names."""

import re
from pathlib import Path

import family_checkpoints
import pytest
import runner_tiny
import torch

from pdrop_eval.models import families
from pdrop_eval.utils.code.versions import requirements
from pdrop_eval.utils.errors import UserError

TEXT = (Path(__file__).parents[3] / "docs" / "api" / "index.md").read_text(encoding="utf-8")
_, EXAMPLE = re.findall(r"```python\n(.*?)```", TEXT, re.S)
ROWS = re.findall(r"^\| ([\w.-]+) \| `([\w./-]+)`.* \| ([\d.]+) \|$", TEXT, re.M)


def checkpoint(folder, family):
    if family in ("llava", "llava_next"):
        return runner_tiny.checkpoint(folder, family)
    return family_checkpoints.checkpoint(folder, family)


@pytest.mark.parametrize("family", ["llava", "llava_next", *family_checkpoints.FAMILIES])
def test_half_of_the_image_tokens_leave_before_layer_2_of_every_family(family, tmp_path):
    try:
        families.get(family).check_version()
    except UserError as error:
        pytest.skip(str(error))
    folder = checkpoint(tmp_path / "tiny", family)
    lines = re.sub(r'^checkpoint = ".*"$', f"checkpoint = {str(folder)!r}", EXAMPLE, flags=re.M)
    assert lines != EXAMPLE
    scope = {"picture": runner_tiny.picture(0, (40, 40))}
    torch.manual_seed(0)
    exec(lines, scope)
    ids = scope["inputs"]["input_ids"]
    image = int((ids == scope["qwen"].config.image_token_id).sum())
    assert image >= 16
    whole, left = ids.shape[1], ids.shape[1] - image + round(image * 0.5)
    assert [layer[0] for layer in scope["drop"].kv_lengths] == [whole, whole, left, left]
    assert scope["output"].shape[1] > whole


def test_its_table_has_every_family_and_the_version_that_it_needs():
    (needed,) = [one for one in requirements() if one.name == "transformers"]
    usual = next(part.version for part in needed.specifier if part.operator == ">=")
    found = {name: version for name, _, version in ROWS}
    known = families.all_multimodal()
    assert found == {family.display_name: family.lowest_transformers or usual for family in known}
