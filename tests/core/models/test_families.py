"""The registry of model families: one file a family, imported on use, and nobody else asks which it is."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_families
import torch
from contract import FAMILIES, IMAGE_ID, case_of, model_of, text_settings
from transformers import AutoConfig

import pdrop_eval
from pdrop_eval import FastV, PyramidDrop, UserError
from pdrop_eval.models import families
from pdrop_eval.models.family import PARTS, ImageShape
from pdrop_eval.models.loading.checkpoint import check_trainable
from pdrop_eval.run.train.trainer import choose_parts

PACKAGE = Path(pdrop_eval.__file__).parent
MULTIMODAL = [name for name in FAMILIES if not name.startswith("bare_")]
HERE = [family.name for family in families.all_multimodal() if family.name in FAMILIES]
every_multimodal = pytest.mark.parametrize("name", HERE)  # those that the installed transformers has


def test_the_files_are_the_registry():
    files = {path.stem for path in (PACKAGE / "models" / "families").glob("*.py")} - {"__init__"}
    assert set(families.names()) == files
    for name in families.names():
        family = families.get(name)
        assert family.name == name
        assert family.load_class().__name__ == family.model_class
        assert families.module_of(name) == type(family).__module__


def test_names_are_known_without_torch_and_a_file_is_imported_on_use():
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from pdrop_eval.models import families\n"
        "start = families.__name__ + '.'\n"
        "mine = lambda: sorted(m.rpartition('.')[2] for m in sys.modules if m.startswith(start))\n"
        "print(families.names(), mine())\n"
        "print(families.multimodal('llava').display_name, mine())\n"
        "print(families.display_names(), mine() == sorted(families.names()))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        f"{families.names()} []",
        "LLaVA-1.5 ['llava']",
        f"{families.display_names()} True",
    ]


# What only the families may ask for: a model's type, a transformers class, a setting of one family.
_ASKED = re.compile(
    r"^(model_type|llava|llava_next|image_grid_pinpoints|image_newline|multi_modal_projector|vision_tower|"
    r"language_model|image_token_id|(Llava|Llama|Mistral|CLIP)[A-Za-z]*(Config|Processor|Model|LM|Generation))$"
)
# The size check of a picture looks at a processor's own settings; training from parts fills in a new LLaVA.
_MAY = {
    "models/pictures/images.py": {"image_grid_pinpoints"},
    "run/train/assemble.py": {
        "language_model",
        "vision_tower",
        "multi_modal_projector",
        "image_newline",
        "CLIPVisionModel",
    },
    "models/loading/processors.py": {"image_token_id"},  # it compares a processor's with the model's
    "models/prompts.py": {"image_token_id"},  # a processor's
    # A processor's image token, and the level that some versions of transformers have in CLIP's tower.
    "models/loading/load.py": {"image_token_id", "vision_tower"},
    "models/loading/original_format.py": {"model_type"},  # it tells the formats of config.json apart
    "models/loading/shapes.py": {"language_model"},  # a level in the names of weights
    "models/text_model.py": {"model_type"},  # it checks the text model against what its family takes
    "models/towers/tower.py": {"model_type"},  # it checks that the tower has what a strategy asks for
    "strategies/cdpruner.py": {"model_type", "CLIPModel"},  # its own text tower
    "run/bench/model.py": {"image_token_id"},  # it shrinks vocabularies
    "run/train/data/loader.py": {"image_token_id"},  # a processor's
    "run/train/data/samples.py": {"image_token_id"},
    "run/lmms/inputs/preprocess.py": {"image_token_id"},
}


def words_of(path):
    """Names, attributes and string constants of a file; texts of several words match nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_nobody_else_asks_which_family_a_model_belongs_to():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(("models/families/", "models/family/")):
            continue
        asked = {word for word in words_of(path) if _ASKED.match(word)} - _MAY.get(place, set())
        asked |= set(re.findall(r"\.family *[=!]= *\S+", path.read_text(encoding="utf-8")))
        if asked:
            found[place] = asked
    assert found == {}


@pytest.mark.parametrize("kind", [["llava"], {"llava": 1}, {"a": ["b"]}, 3, None, True, "bert"])
def test_whatever_a_config_calls_its_type_is_of_no_family(kind):
    config = {"model_type": kind}
    assert families.of_config(config) is families.why_refused(kind) is None
    assert not families.is_multimodal(kind)
    with pytest.raises(UserError, match="vision-language model"):
        families.multimodal_of(config)


@every_multimodal
def test_a_model_and_its_config_lead_to_the_family(name):
    model = model_of(name)
    assert families.of_model(model) is families.of_config(model.config) is families.multimodal(name)
    assert families.of_config(model.config.to_dict()) is families.multimodal(name)
    assert families.multimodal_of(model.config).published
    with pytest.raises(UserError, match=r"'bert'.*llava, .*llava_next"):
        families.multimodal("bert")
    with pytest.raises(UserError, match=r"'llama'.*llava, .*llava_next"):
        families.multimodal("llama")


@pytest.mark.parametrize("name", MULTIMODAL)
def test_encoded_images_are_the_pixel_route(name):
    """Encoded one by one and handed to generate, images give the tokens and logits of their pixels."""
    case = case_of(name).alone(1)
    family, model = families.of_model(case.model), case.model
    pixels = {key: value for key, value in case.inputs.items() if key in family.processor_inputs}
    assert set(pixels) == set(family.processor_inputs)
    ids = case.inputs["input_ids"]
    with torch.no_grad():
        one = getattr(tiny_families.IMAGES.get(family.name), "one", tiny_families.sliced)
        images = [family.encode_image(model, one(pixels, number)) for number in range(2)]
        places = family.position_ids(model, ids, case.inputs["attention_mask"], images)
        given = family.generate_inputs(model, ids, images, places)
        plain = model.generate(**case.inputs, max_new_tokens=4, do_sample=False)
        again = model.generate(
            **given, attention_mask=case.inputs["attention_mask"], max_new_tokens=4, do_sample=False
        )
        assert torch.equal(plain, again)
        with pytest.raises(ValueError, match="features for"):
            family.generate_inputs(model, ids, images[:1])
        text = torch.full((1, 3), 5)
        embedded = family.generate_inputs(model, text, [])
        if family.name == "qwen3_vl":  # it embeds them itself
            assert embedded["input_ids"] is text
        else:
            assert torch.equal(embedded["inputs_embeds"], model.get_input_embeddings()(text))


@every_multimodal
def test_the_largest_image_has_the_tokens_that_it_says(name):
    model, family = model_of(name), families.multimodal(name)
    shape = family.largest_image(model.config)
    # one tile of 5x5; the overview, and 2x2 tiles of them with a newline after each of the 10 rows; 480x640
    # pixels in tokens of 4x4; 3x4 tiles and an overview
    assert shape == {
        "llava": ImageShape((20, 20), 1, 25), "llava_next": ImageShape((40, 40), 5, 125 + 10),
        "llava_onevision": ImageShape((40, 40), 5, 125 + 10),
        "qwen2_vl": ImageShape((480, 640), 1, 120 * 160), "qwen2_5_vl": ImageShape((480, 640), 1, 120 * 160),
        "qwen3_vl": ImageShape((480, 640), 1, 120 * 160),
        "internvl": ImageShape((60, 80), 13, 13 * 25), "smolvlm": ImageShape((60, 80), 13, 13 * 25),
    }[name]  # fmt: skip
    if name.startswith("qwen"):
        shape = ImageShape((20, 40), 1, 50)
    pixels = family.random_pixels(model.config, shape, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = family.encode(model, pixels)
    assert features.shape == (2 * shape.tokens, 32)
    tile = family.vision_sizes(model.config).tile_tokens
    assert tile == (0 if name.startswith("qwen") else 25)  # a whole picture, of any size


@every_multimodal
def test_the_towers_layers_run_in_order_and_have_attention(name):
    case = case_of(name)
    family, seen = families.of_model(case.model), []
    layers = family.vision_layers(case.model)
    handles = [layer.register_forward_hook(lambda *_, i=i: seen.append(i)) for i, layer in enumerate(layers)]
    case.forward()
    for handle in handles:
        handle.remove()
    assert seen == list(range(len(layers)))
    assert len(seen) == (3 if name == "qwen3_vl" else 2)


@pytest.mark.parametrize("name", ["llava", "llava_next"])
def test_every_parameter_belongs_to_a_part(name):
    model, family = model_of(name), families.multimodal(name)
    parts = {family.part_of(parameter) for parameter, _ in model.named_parameters()}
    assert parts == set(PARTS)
    with pytest.raises(UserError, match=r"audio\.weight.*vision, projector, decoder"):
        family.part_of("audio.weight")


def test_a_family_without_parts_is_not_trained(monkeypatch):
    check_trainable("llava")
    monkeypatch.setattr(type(families.get("llava_next")), "parameter_parts", {})
    with pytest.raises(UserError, match=r"llava_next isn't supported.*: llava\."):
        check_trainable("llava_next")


def test_the_projector_alone_learns():
    model = families.get("llava_next").load_class()(model_of("llava_next").config)
    choose_parts(model, ["projector"])
    learning = {name.split(".")[1] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {"multi_modal_projector", "image_newline"}


def test_positions_that_say_where_a_token_lies_are_never_renumbered(monkeypatch):
    model = model_of("llava")
    assert PyramidDrop()(model).positions == PyramidDrop().positions == "renumber"
    monkeypatch.setattr(type(families.get("llava")), "can_renumber", False)
    with pytest.raises(UserError, match=r"'renumber' .*Llava.*positions='keep'"):
        PyramidDrop(positions="renumber")(model)
    assert PyramidDrop()(model).positions == "keep"  # nobody has asked for the other
    with PyramidDrop(positions="keep")(model), FastV()(model_of("llava_next")):
        pass


def test_position_ids_of_several_rows_are_gathered_like_one(monkeypatch):
    """As M-RoPE has them: here three equal rows, of which the rotary embedding takes the last."""
    case = case_of("llava_gqa")
    strategy = PyramidDrop(positions="keep")
    with case.under(strategy):
        plain = case.forward().logits
    rotary, shapes = case.model.get_decoder().rotary_emb, []
    original = rotary.forward

    def three_rows(x, position_ids):
        shapes.append(position_ids.dim())
        return original(x, position_ids=position_ids[-1] if position_ids.dim() == 3 else position_ids)

    monkeypatch.setattr(rotary, "forward", three_rows)
    monkeypatch.setattr(
        type(families.get("llava")), "rotary_positions", lambda self, ids: ids.expand(3, *ids.shape)
    )
    with case.under(strategy):
        assert torch.equal(case.forward().logits, plain)
    assert shapes == [2, 3, 3, 3]  # the decoder's own call, and the engine's after each drop


def test_image_tokens_are_found_by_their_id():
    config, ids = model_of("llava").config, torch.tensor([[3, IMAGE_ID, IMAGE_ID, 4]])
    assert families.get("llava").image_mask(config, {"input_ids": ids}).tolist() == [
        [False, True, True, False]
    ]
    assert families.get("llava").image_mask(config, {}) is None
    assert families.get("llama").image_mask(config, {"input_ids": ids}) is None


MADE_UP = """
from pdrop_eval.models.family import Family


class MadeUp(Family):
    name = "{name}"
    model_class = "{model_class}"
    text_types = ("{name}",)


FAMILY = MadeUp()
"""


@pytest.mark.parametrize(
    ("name", "model_class"), [("granite", "GraniteForCausalLM"), ("seed_oss", "SeedOssForCausalLM")]
)
def test_a_family_is_one_file(name, model_class, monkeypatch, tmp_path):
    """Granite has a scaling of its own, Seed-OSS biases: scores are transformers' own attention weights."""
    (tmp_path / f"{name}.py").write_text(MADE_UP.format(name=name, model_class=model_class), encoding="utf-8")
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    monkeypatch.setattr(families, "names", lambda: ("llama", name))
    monkeypatch.delitem(sys.modules, f"{families.__name__}.{name}", raising=False)
    torch.manual_seed(0)
    words = AutoConfig.for_model(name, **text_settings(num_key_value_heads=2, head_dim=12))
    model = families.get(name).load_class()(words).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.set_attn_implementation("eager")
    embeds = torch.randn(1, 20, 32)
    image = torch.zeros(1, 20, dtype=torch.bool)
    image[:, 3:15] = True
    with PyramidDrop(layers=(3,), ratios=(0.5,))(model, image) as drop, torch.no_grad():
        model(inputs_embeds=embeds)
    weights = model(inputs_embeds=embeds, output_attentions=True).attentions[3]
    assert torch.allclose(drop.scores[0][0], weights[0, :, -1, 3:15].mean(0), atol=1e-6)
    assert len(drop.retained[0][0]) == 6
    monkeypatch.delitem(sys.modules, f"{families.__name__}.{name}")


def test_a_transformers_that_is_too_old_for_a_family_is_refused(monkeypatch):
    model = model_of("llava")
    monkeypatch.setattr(type(families.get("llava")), "lowest_transformers", "99.1")
    with pytest.raises(
        UserError, match=r"LLaVA-1\.5 needs transformers 99\.1 or newer, and .* 'transformers>=99\.1'"
    ):
        FastV()(model)
