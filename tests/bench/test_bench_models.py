"""The models that a benchmark builds: samples, published sizes, every family, a checkpoint's own weights."""

import re
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from bench_words import labels

from pdrop_eval.models.families import published, published_config
from pdrop_eval.report.bench import cli
from pdrop_eval.report.bench.text import bench_text
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.sample import Sample, sample_of
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.spec import SizesSpec, compose_bench
from pdrop_eval.utils.errors import UserError


def test_a_sample_is_made_of_whole_images():
    one = published_config("llava_1_5_7b")
    assert sample_of(one, None, 64) == Sample(1, 1, 576, 64, (336, 336))
    assert sample_of(one, 5184, 64).images == 9
    with pytest.raises(UserError, match="Use 576 or 1152"):
        sample_of(one, 600, 64)
    # LLaVA-NeXT: an overview and 2 x 2 tiles of 24 x 24, and a newline behind each of 48 rows
    tiled = published_config("llava_next_7b")
    whole = Sample(1, 5, 2880 + 48, 64, (672, 672))
    assert sample_of(tiled, None, 64) == whole
    assert sample_of(tiled, 2880, 64) == whole
    assert sample_of(tiled, 5760, 64).images == 2


pytestmark = pytest.mark.usefixtures("idle")


def test_smaller_tiles_of_onevision_have_grids_of_their_own():
    plan = make_plan(compose_bench(["model=llava_onevision_7b", "sizes.tile=126"]))
    config = models.model_config(plan)
    assert config.image_grid_pinpoints[:7] == [[126, 126 * n] for n in range(1, 7)] + [[252, 126]]
    # an overview and 3 x 3 tiles of 9 x 9 patches, with a newline behind each of 27 rows
    assert sample_of(config, None, 64) == Sample(1, 10, 81 + 27 * 28, 64, (378, 378))


@pytest.mark.thin(5)
# Billions of parameters of the published checkpoints, with tower and projector, which the names don't count:
# Qwen2-0.5B of 0.494 and SigLIP of 0.40 are "0.5b", and the 7b of Qwen2 has 7.6 before a tower of 0.3 to 0.7.
# Embeddings that are the head, too, count once.
@pytest.mark.parametrize("name", published())
def test_published_sizes_have_the_size_in_their_name(name):
    """A name rounds, and some leave the tower out: OneVision's 0.5B are the language model's."""
    family, _ = published()[name]
    try:
        family.check_version()
    except UserError as error:
        pytest.skip(str(error))
    number, unit = re.search(r"_([\d.]+)([bm])$", name).groups()
    nominal = float(number) * {"b": 1e9, "m": 1e6}[unit]
    with torch.device("meta"):
        model = family.load_class()(published_config(name))
        model.tie_weights()
    counted = model if name != "llava_onevision_0.5b" else model.model.language_model
    assert 0.9 < sum(p.numel() for p in counted.parameters()) / nominal < 1.27


@pytest.mark.parametrize("name", ["llava_next_7b", "mini", "mini_next_p5"])
@pytest.mark.slow
def test_other_models_run(config, name):
    sizes = [] if "mini" in name else ["sizes.kv_heads=2"]
    resized = config(f"model={name}", "batch_sizes=[2]", "strategies=[pdrop]", "rounds=1", *sizes)
    if "mini" in name:
        resized = replace(resized, sizes=SizesSpec())
    record = cli.bench(resized)
    assert labels(record["batches"]["2"]) == ["vanilla", "pdrop"]


@pytest.mark.thin(1)
# Of 480x640 pixels: 17x23 and 15x20, and those of InternVL's 12 tiles and thumbnail, 256 each.
# Reduced in width and depth, as a 7B doesn't fit.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tokens"),
    [("qwen2_vl_2b", 391), ("qwen2_5_vl_7b", 391), ("qwen3_vl_4b", 300), ("internvl3_2b", 3328)],
)
def test_a_reduced_model_of_each_further_family_runs(name, tokens, tmp_path):
    sizes = {
        "layers": 4, "width": 64, "intermediate": 96, "heads": 4, "vocabulary": 64, "vision_layers": 4,
        "vision_width": 32, "vision_heads": 2,
    }  # fmt: skip
    given = [f"sizes.{key}={value}" for key, value in sizes.items()]
    given += ["batch_sizes=[1]", "rounds=1", "warmup=0", "new_tokens=2", f"results={tmp_path}"]
    record = cli.bench(compose_bench([f"model={name}", *given]))
    assert labels(record["batches"]["1"]) == ["vanilla", "fastv", "pdrop"]
    assert record["sample"]["image_tokens"] == tokens


def test_a_checkpoints_own_weights(config):
    own = config("model=mini", "batch_sizes=[1]", "strategies=[pdrop]", "rounds=1")
    own = replace(own, weights="checkpoint", sizes=SizesSpec())
    assert "its own weights" in bench_text(cli.bench(own))


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is of the extra train")
def test_a_checkpoint_is_measured_with_its_adapter(config, tmp_path, lora_adapter):
    adapter = lora_adapter(tmp_path / "adapter")
    asked = config("model=mini", "batch_sizes=[1]", "strategies=[pdrop]", "rounds=1")
    own = replace(asked, weights="checkpoint", sizes=SizesSpec())
    beside = replace(own, model=replace(own.model, adapter=str(adapter), merge_adapter=False))
    plan = make_plan(beside)
    assert plan.identity["model"] != make_plan(own).identity["model"]
    layer = models.build(plan, None).get_submodule("model.language_model.layers.0.self_attn.q_proj")
    torch.testing.assert_close(layer(torch.ones(1, 128)), layer.base_layer(torch.ones(1, 128)) + 6 * 128)
    record = cli.bench(beside)
    assert record["model"]["adapter"]["merged"] is False
    assert f"its own weights and the adapter {adapter}" in " ".join(bench_text(record, 400).split())
