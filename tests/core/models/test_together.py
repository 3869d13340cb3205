"""Pictures that go through the vision tower together come out as they do alone."""

import pytest
import tiny_families
import torch
from contract import FAMILIES, model_of

from pdrop_eval.models import families
from pdrop_eval.models.towers.encoded import Needs
from pdrop_eval.models.towers.together import encode_together

NAMES = [name for name in families.names() if families.get(name).multimodal and name in FAMILIES]
OF_CLASS_TOKEN = Needs(("first", "features", "last"), ("last",), ("features",), True, True, True)
NEEDS = {"llava": OF_CLASS_TOKEN, "llava_next": OF_CLASS_TOKEN, "llava_onevision": Needs()}


def pictures_of(family, config):
    """Five pictures, of two shapes in turn where the family has several."""
    random = torch.Generator().manual_seed(0)
    if "image_grid_thw" in family.processor_inputs:
        sizes = ((20, 40), (40, 24), (20, 40), (40, 40), (20, 40))
        found = [tiny_families.QwenImages.pixels(size, random) for size in sizes]
        return [{"pixel_values": one, "image_grid_thw": torch.tensor([grid])} for one, grid in found]
    made = [family.random_pixels(config, family.largest_image(config), 1, random) for _ in range(5)]
    for number in (1, 3):
        if family.name in ("llava_next", "llava_onevision"):  # two tiles and the overview
            tiles = made[number]["pixel_values"][:, :3]
            made[number] = {"pixel_values": tiles, "image_sizes": torch.tensor([[20, 40]])}
        elif family.name == "internvl":
            made[number] = {"pixel_values": made[number]["pixel_values"][:1]}
    return made


def tensors_of(image):
    found = {}
    image.mapped(lambda tensor: found.setdefault(len(found), tensor))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_is_what_it_is_alone(name, monkeypatch):
    family, model = families.multimodal(name), model_of(name)
    pictures = pictures_of(family, model.config)
    calls, features = [], model.get_image_features
    monkeypatch.setattr(model, "get_image_features", lambda **given: calls.append(given) or features(**given))
    with torch.inference_mode():
        for needs in (None,) if family.unreduced else (None, NEEDS.get(name, Needs(("last",)))):
            calls.clear()
            together = encode_together(family, model, pictures, needs, "cpu")
            assert len(calls) < 5 if family.encodes_together else len(calls) == 5
            for pixels, image in zip(pictures, together, strict=True):
                (alone,) = encode_together(family, model, [pixels], needs, "cpu")
                assert image.grid == alone.grid
                assert image.holds(needs)
                own, theirs = tensors_of(image), tensors_of(alone)
                assert own.keys() == theirs.keys()
                for key in own:
                    torch.testing.assert_close(own[key], theirs[key], atol=1e-5, rtol=1e-5)


def test_no_call_has_more_pixels_than_it_may(monkeypatch):
    family, model = families.multimodal("llava"), model_of("llava")
    pictures = pictures_of(family, model.config)
    calls, joined = [], family.encode_joined
    monkeypatch.setattr(
        type(family), "encode_joined", lambda self, *given: calls.append(len(given[3])) or joined(*given)
    )
    with torch.inference_mode():
        # A picture is 3 * 20 * 20 = 1,200 values: two fit into 2,400.
        assert len(encode_together(family, model, pictures, Needs(), "cpu", most_values=2400)) == 5
        assert calls == [2, 2, 1]
        assert len(encode_together(family, model, pictures, Needs(), "cpu", most_values=1)) == 5
    assert calls[3:] == [1] * 5
