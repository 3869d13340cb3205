"""What is wrong with a checkpoint is said before a weight is read, with the fix; nothing else is loaded."""

import json
import struct

import pytest
from checkpoint_copies import Copy

from pdrop_eval.models.loading.checkpoint import check_checkpoint, resolve_checkpoint
from pdrop_eval.models.loading.load import load, prepare
from pdrop_eval.models.loading.shapes import read_shapes
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINTS

ORIGINAL = {
    "architectures": ["LlavaLlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_projector_type": "mlp2x_gelu",
}  # fmt: skip


@pytest.fixture
def mini(tmp_path):
    copy = Copy(tmp_path, "mini")
    (copy.folder / "model.safetensors").symlink_to(MINI_CHECKPOINTS / "mini" / "model.safetensors")
    return copy


def refused(copy, drops=False):
    with pytest.raises(UserError) as error:
        check_checkpoint(str(copy.folder), None, drops=drops)
    return str(error.value)


def unready(copy):
    """The message of the check without weights, which loading gives, too."""
    with pytest.raises(UserError) as error:
        prepare(str(copy.folder), None, False)
    with pytest.raises(UserError) as again:
        load(str(copy.folder), None, "cpu", "float32", "sdpa", False)
    assert str(again.value) == str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("config", "said"), [
    ({"model_type": "llava_llama"}, ["model_type='llava_llama'", "llava-hf/llava-1.5-7b-hf"]),
    ({"model_type": "llava"}, ["mm_vision_tower=", "llava-hf/llava-1.5-7b-hf", "convert_llava_weights"]),
    ({"model_type": "llava", "hidden_size": 5120}, ["llava-hf/llava-1.5-13b-hf"]),
    ({"model_type": "llava_llama", "hidden_size": 5120, "image_aspect_ratio": "anyres"},
     ["llava-hf/llava-v1.6-vicuna-13b-hf", "convert_llava_next_weights_to_hf"]),
    ({"model_type": "llava_mistral", "mm_patch_merge_type": "spatial_unpad"},
     ["llava-hf/llava-v1.6-mistral-7b-hf"]),
    ({"model_type": "llava_llama", "hidden_size": 7168, "mm_patch_merge_type": "spatial_unpad"},
     ["llava-hf/llava-v1.6-34b-hf"]),
    ({"model_type": "llava_llama", "hidden_size": 128}, ["llava-hf/llava-1.5-7b-hf, llava-hf/llava-1.5-13b"]),
    ({"model_type": "llama"}, ["mm_vision_tower="]),
    ({"model_type": "llava_qwen"}, ["model_type='llava_qwen'"]),
])  # fmt: skip
def test_the_format_of_llavas_own_code_is_named_with_its_conversion(mini, config, said):
    (mini.folder / "config.json").write_text(json.dumps(ORIGINAL | config))
    message = refused(mini)
    for words in (*said, "original format", "docs/checkpoints.md"):
        assert words in message


def test_a_class_of_llavas_own_code_is_enough(mini):
    flat = {"model_type": "llava", "architectures": ["LlavaMptForCausalLM"]}
    (mini.folder / "config.json").write_text(json.dumps(flat))
    assert "architectures='LlavaMptForCausalLM'" in refused(mini)


def test_a_config_without_a_vision_tower_is_no_7b(mini):
    mini.edit("config.json", drop=["vision_config"])
    assert "nothing of a vision tower (vision_config)" in refused(mini)


def test_a_whole_file_beside_an_index_of_others_is_refused(mini):
    (mini.folder / "model-00001-of-00001.safetensors").touch()
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (mini.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    message = refused(mini)
    assert "two sets of weights: model.safetensors, and model-00001-of-00001.safetensors" in message
    assert "Move away the one that isn't meant" in message


def test_an_index_of_the_one_file_is_no_second_set(mini):
    index = {"weight_map": dict.fromkeys(read_shapes(mini.folder / "model.safetensors"), "model.safetensors")}
    (mini.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert check_checkpoint(str(mini.folder), None).family == "llava"


def test_weights_under_a_name_that_is_not_looked_for(mini):
    (mini.folder / "model.safetensors").rename(mini.folder / "weights.safetensors")
    assert "holds weights.safetensors, but neither model.safetensors nor" in refused(mini)


@pytest.mark.parametrize("where", ["config", "text_config"])
def test_quantised_weights_are_refused(mini, where):
    own = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    content = json.loads((mini.folder / "config.json").read_text())
    mini.edit("config.json", **(own if where == "config" else {where: content[where] | own}))
    assert "is quantised (quantization_config in config.json, method bitsandbytes)" in refused(mini)


def test_a_config_that_names_other_weights_is_refused(mini):
    mini.edit("config.json", transformers_weights="other.safetensors")
    assert "transformers_weights='other.safetensors'" in refused(mini)


def text(copy, **changes):
    content = json.loads((copy.folder / "config.json").read_text())
    copy.edit("config.json", text_config=content["text_config"] | changes)


def test_a_text_model_that_the_engine_cannot_take(mini):
    text(mini, model_type="gemma2")
    assert "text model of type 'gemma2' is not supported: use one of 'llama', 'mistral'" in refused(mini)


@pytest.mark.parametrize("changes", [
    {"model_type": "mistral", "sliding_window": 512},
    {"model_type": "mistral"},  # transformers' default is 4096
    {"layer_types": ["full_attention", "sliding_attention"]},
])  # fmt: skip
def test_windows_are_refused_where_tokens_are_dropped(mini, changes):
    text(mini, **changes)
    assert "sliding-window attention" in refused(mini, drops=True)
    assert check_checkpoint(str(mini.folder), None, drops=False).family == "llava"


def test_mistral_without_a_window_is_fine(mini):
    text(mini, model_type="mistral", sliding_window=None)
    assert check_checkpoint(str(mini.folder), None, drops=True).family == "llava"


@pytest.mark.parametrize(("value", "use"), [
    ("org/name@main", "model.pretrained=org/name model.revision=main"),
    ("org/name@refs/pr/1", "model.pretrained=org/name model.revision=refs/pr/1"),
    ("org/na.me-1:v2", "model.pretrained=org/na.me-1 model.revision=v2"),
    ("https://huggingface.co/org/name/tree/v2", "model.pretrained=org/name model.revision=v2"),
    ("https://huggingface.co/org/name", "model.pretrained=org/name."),
])  # fmt: skip
def test_a_revision_in_an_id_has_a_setting_of_its_own(value, use):
    with pytest.raises(UserError) as error:
        resolve_checkpoint(value)
    assert use in str(error.value)
    assert resolve_checkpoint("org/name") == "org/name"


def test_a_pad_token_beyond_the_embeddings(mini):
    tokens = json.loads((mini.folder / "tokenizer.json").read_text())
    tokens["added_tokens"].append({**tokens["added_tokens"][0], "id": 211, "content": "<far>"})
    (mini.folder / "tokenizer.json").write_text(json.dumps(tokens))
    mini.edit("tokenizer_config.json", pad_token="<far>")
    message = unready(mini)
    assert "gives pad_token the id 211, but the model has embeddings for 0 to 210 only" in message
    assert "Set pad_token to '</s>'" in message


def test_other_sizes_than_the_configs(mini):
    text(mini, intermediate_size=704)
    message = unready(mini)
    # gate and up [i, d], down [d, i]: three in each of 8 layers
    assert message.startswith("24 weights of ")
    assert "layers.0.mlp.down_proj.weight is 128x352, by config.json 128x704" in message


@pytest.mark.parametrize(("layers", "said"), [(9, "lacks 9 weights"), (7, "has 9 weights more than")])
def test_another_number_of_layers_than_the_configs(mini, layers, said):
    text(mini, num_hidden_layers=layers)  # of each: 4 projections, 3 of the feed-forward, 2 norms
    assert said in unready(mini)


def header(path, names):
    entries = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in names}
    content = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + bytes(8))


def test_weights_of_another_kind_of_model(mini):
    (mini.folder / "model.safetensors").unlink()
    header(mini.folder / "model.safetensors", ["model.mm_projector.0.weight"])
    assert "None of the 1 weights" in unready(mini)


@pytest.mark.parametrize("content", [
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"", b"\x02\0\0\0\0\0\0\0[]",
])  # fmt: skip
def test_a_file_that_is_not_whole(mini, content):
    (mini.folder / "model.safetensors").unlink()
    (mini.folder / "model.safetensors").write_bytes(content)
    assert "can't be read as safetensors" in unready(mini)


def test_a_copy_that_ends_early(mini, tmp_path):
    whole = (mini.folder / "model.safetensors").read_bytes()
    short = tmp_path / "short.safetensors"
    short.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=f"it ends early, {len(whole):,} bytes are due"):
        read_shapes(short)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("gemma3", r"'gemma3', which isn't supported: its image tokens see each other in both directions"),
        ("internvl_chat", r"needs code of its own; use the conversion whose name ends in -hf"),
        ("llavaonevision1_5", r"needs code of its own.*use LLaVA-OneVision"),
    ],
)
def test_families_that_are_left_out_are_refused_with_the_reason(tmp_path, kind, words):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vision_config": {}}))
    with pytest.raises(UserError, match=words):
        check_checkpoint(str(tmp_path), None)


@pytest.mark.parametrize(
    "grids", [None, [], [[336]], [[96, 192], "x"], [[96, -192]], [[96, 1.5]], "p5", 10**30]
)
def test_grids_that_are_none_are_refused_from_the_config(tmp_path, grids):
    copy = Copy(tmp_path, "mini_next_p5")
    (copy.folder / "model.safetensors").touch()
    copy.edit("config.json", image_grid_pinpoints=grids)
    with pytest.raises(UserError, match=r"image_grid_pinpoints=.*, no list of pairs of a height and a width"):
        check_checkpoint(str(copy.folder), None)
