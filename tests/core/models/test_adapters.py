"""What transformers would load by itself: adapters on purpose only, generation settings when asked for."""

import json
import shutil
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from checkpoint_copies import Copy

from pdrop_eval.models.loading import adapter as adapters
from pdrop_eval.models.loading.adapter import check_adapter, model_sha256
from pdrop_eval.models.loading.checkpoint import check_checkpoint
from pdrop_eval.models.loading.generation import check_generation, settings_of
from pdrop_eval.models.loading.load import load
from pdrop_eval.run.lmms.generation import settle_generation
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINTS

MINI = MINI_CHECKPOINTS / "mini"
QUERY = "model.language_model.layers.0.self_attn.q_proj"


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is of the extra train")
@pytest.mark.parametrize("merged", [True, False])
def test_an_adapter_is_added_merged_or_beside(tmp_path, lora_adapter, merged):
    found = check_adapter(str(lora_adapter(tmp_path / "a")), merged=merged)
    base = load(str(MINI), None, "cpu", "float32", "sdpa", False).model
    model = load(str(MINI), None, "cpu", "float32", "sdpa", False, adapter=found).model
    before = base.get_submodule(QUERY).weight
    if merged:  # alpha / rank = 2 times 3
        torch.testing.assert_close(model.get_submodule(QUERY).weight, before + 6)
    inputs = torch.ones(1, 128)
    expected = base.get_submodule(QUERY)(inputs) + 6 * 128
    torch.testing.assert_close(model.get_submodule(QUERY)(inputs), expected)
    assert type(model) is type(base)
    assert not model.training


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is of the extra train")
def test_an_adapter_of_another_model_is_refused(tmp_path, lora_adapter):
    found = check_adapter(str(lora_adapter(tmp_path / "a", name="model.layers.0.self_attn.q_proj")))
    with pytest.raises(UserError, match=r"doesn't fit the model: .*names org/base as its base"):
        load(str(MINI), None, "cpu", "float32", "sdpa", False, adapter=found)


def test_the_weights_hash_tells_adapters_apart(tmp_path, lora_adapter, monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda _: True)
    one = check_adapter(str(lora_adapter(tmp_path / "a")))
    assert one.to_dict() | {"sha256": ""} == {
        "adapter": str(tmp_path / "a"), "revision": None, "commit": None, "base": "org/base", "sha256": "",
        "merged": True,
    }  # fmt: skip
    other = check_adapter(str(lora_adapter(tmp_path / "b", alpha=8)))
    beside = check_adapter(str(tmp_path / "a"), merged=False)
    assert len({"x", *(model_sha256("x", each) for each in (one, other, beside))}) == 4
    assert model_sha256("x", None) == "x"


@pytest.mark.parametrize(("change", "said"), [
    ("peft", r"pip install 'pdrop-eval\[train\]'"),
    ("pickled", "holds no adapter_model.safetensors"),
    ("kind", "of type 'IA3'; only LORA"),
    ("nowhere", "doesn't exist"),
])  # fmt: skip
def test_an_adapter_that_cannot_be_loaded(tmp_path, lora_adapter, monkeypatch, change, said):
    monkeypatch.setattr(adapters, "find_spec", lambda _: None if change == "peft" else True)
    folder = lora_adapter(tmp_path / "a", **({"peft_type": "IA3"} if change == "kind" else {}))
    if change == "pickled":
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UserError, match=said):
        check_adapter(f"{folder}-not" if change == "nowhere" else str(folder))


@pytest.mark.parametrize(("there", "said"), [
    (False, "but there is no model.adapter"), (True, "/a is a folder"),
])  # fmt: skip
def test_a_revision_of_no_adapter_or_of_a_folder_is_refused(tmp_path, there, said):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match=rf"model.adapter_revision=v2 is of .*{said}. Leave it out"):
        check_adapter(str(tmp_path / "a") if there else None, "v2")


def test_a_revision_in_an_adapters_id(monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda _: True)
    with pytest.raises(UserError, match=r"Use model.adapter=org/name model.adapter_revision=v2"):
        check_adapter("org/name@v2")


def test_an_adapter_found_by_accident_is_refused_with_both_ways_out(tmp_path, lora_adapter):
    mini = Copy(tmp_path, "mini")
    (mini.folder / "model.safetensors").touch()
    shutil.copy(lora_adapter(tmp_path / "a") / "adapter_config.json", mini.folder)
    with pytest.raises(UserError) as error:
        check_checkpoint(str(mini.folder), None)
    assert f"model.pretrained=org/base model.adapter={mini.folder}" in str(error.value)
    assert "move adapter_config.json out of the folder" in str(error.value)


def test_an_adapter_alone_is_named_as_one(tmp_path, lora_adapter):
    folder = lora_adapter(tmp_path / "a")
    with pytest.raises(UserError, match=r"is a LoRA adapter .*model.adapter=.* merge it into that model"):
        check_checkpoint(str(folder), None)


def settings(tmp_path, **content):
    (tmp_path / "generation_config.json").write_text(json.dumps(content))
    return settings_of(tmp_path)


def test_only_what_changes_answers_is_named(tmp_path):
    assert settings_of(MINI) == {}
    assert settings(
        tmp_path, _from_model_config=True, eos_token_id=2, max_new_tokens=16, temperature=0.2, do_sample=True,
        use_cache=True, repetition_penalty=1.0, early_stopping=False, min_new_tokens=12, num_beams=4,
    ) == {"min_new_tokens": 12}  # fmt: skip


def model_with(**content):
    from transformers import GenerationConfig

    return SimpleNamespace(generation_config=GenerationConfig(**content))


@pytest.mark.parametrize(("choice", "least", "penalty"), [(None, None, None), ("checkpoint", 12, 1.3)])
def test_the_benchmark_decides_unless_the_checkpoint_is_asked_for(tmp_path, capsys, choice, least, penalty):
    content = {"eos_token_id": [2, 7], "pad_token_id": 0, "min_new_tokens": 12, "repetition_penalty": 1.3}
    model = model_with(**content)
    settle_generation(model, choice, settings(tmp_path, **content))
    found = model.generation_config
    assert (found.eos_token_id, found.pad_token_id) == ([2, 7], 0)
    assert found.min_new_tokens == least
    assert (None if found.repetition_penalty == 1 else found.repetition_penalty) == penalty
    said = capsys.readouterr().err
    assert ("min_new_tokens=12, repetition_penalty=1.3" in " ".join(said.split())) == (choice is None)


@pytest.mark.parametrize("wrong", [
    {"num_return_sequences": 2}, {"cache_implementation": "static"}, {"use_cache": False},
    {"prompt_lookup_num_tokens": 3},
])  # fmt: skip
def test_what_an_evaluation_cannot_have_is_left_out_or_refused(tmp_path, wrong):
    found = settings(tmp_path, **wrong)
    assert found == wrong
    check_generation(None, found)
    with pytest.raises(UserError, match=f"can't take over {next(iter(wrong))}="):
        check_generation("checkpoint", found)


def test_an_unknown_choice_is_refused():
    with pytest.raises(UserError, match=r"model.generation=mine is not allowed"):
        check_generation("mine", {})
