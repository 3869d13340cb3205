"""The steps of CONTRIBUTING add a model family: followed to the letter in a copy of the project."""

import json
import re

import pytest
from following import project_with, run, steps

TITLE = "Add a model family"

# A random model of 4 layers and 16 image tokens is evaluated; one is measured; tables are made.
EVALUATE = """
import sys
from pathlib import Path

import runner_tiny
from transformers import AutoConfig, CLIPVisionConfig

from pdrop_eval.models import families
from pdrop_eval.run.evaluate.cli import main

runner_tiny.checkpoint(Path("tiny"))
runner_tiny.suite(Path("data"), n=2, tasks=("gqa",))
text = AutoConfig.for_model(
    "qwen3", vocab_size=len(runner_tiny.tokenizer()), hidden_size=32, intermediate_size=48,
    num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
    max_position_embeddings=4096, pad_token_id=3, bos_token_id=1, eos_token_id=2,
)
vision = CLIPVisionConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=16,
    patch_size=4, projection_dim=32,
)
lantern = families.multimodal("lantern")
lantern.load_class()(lantern.make_config(text, vision, 4)).save_pretrained("tiny")
for more in (
    ["strategy=pdrop", "strategy.ratio=0.5", "strategy.stages=2"],
    ["strategy=uniform", "strategy.tokens=5"],
):
    sys.argv[1:] = [
        "model=lantern_2b", "model.pretrained=tiny", "model.revision=null", "tasks=[gqa]", "data.root=data",
        "results=runs", *more,
    ]
    main()
sys.argv[1:] = ["root=runs", "out=tables"]
__import__("pdrop_eval.report.readme.cli", fromlist=["main"]).main()
sys.argv[1:] = [
    "model=lantern_2b", "sizes.layers=4", "sizes.width=64", "sizes.intermediate=96", "sizes.heads=4",
    "sizes.vocabulary=64", "sizes.tile=56", "sizes.vision_layers=2", "sizes.vision_width=32",
    "sizes.vision_heads=2", "sizes.vision_intermediate=48", "batch_sizes=[1]", "rounds=1", "warmup=0",
    "new_tokens=2", "results=bench",
]
__import__("pdrop_eval.report.bench.cli", fromlist=["main"]).main()
"""
# What is known of it before torch is imported.
PLAN = """
import sys
sys.modules["torch"] = None
from pdrop_eval.models.catalogue import catalogue
from pdrop_eval.run.bench.settings import make_plan, published_name
from pdrop_eval.run.bench.spec import compose_bench
print(catalogue("x"))
plan = make_plan(compose_bench(["model=lantern_2b"]))
print("bench:", plan.source, published_name(plan.config))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the family added."""
    return project_with(tmp_path_factory.mktemp("project"), {"SQUARE": TITLE})


def test_documentation_config_and_bench_have_the_new_family(project):
    found = run(project, "-c", PLAN)
    assert (
        "| `lantern` | Lantern | `lantern_2b` | qwen3 | all | yes | any | [lantern.py](x/lantern.py) |"
    ) in found
    assert "bench: None lantern_2b" in found


@pytest.mark.whole
@pytest.mark.slow
def test_the_contract_runs_on_the_new_family(project):
    some = "lantern and (vanilla or pdrop1 or fastv1 or uniform or feather)"
    out = run(project, "-m", "pytest", "tests/core", "-k", some, "-p", "no:cacheprovider", "-rA")
    for name in ("vanilla", "pdrop1", "fastv1", "uniform", "feather"):
        assert len(re.findall(rf"^PASSED .*\[.*{name}-lantern\b", out, re.M)) >= 5, name


@pytest.mark.whole
@pytest.mark.slow
def test_it_is_evaluated_measured_and_named_in_the_tables(project):
    run(project, "-c", EVALUATE)
    records = [json.loads(path.read_text()) for path in (project / "runs").glob("*/*/record.json")]
    assert {record["status"] for record in records} == {"completed"}
    layers = {
        record["strategy"]["name"]: record["efficiency"]["image_tokens_per_layer"] for record in records
    }
    assert layers == {"pdrop": [16, 16, 8, 8], "uniform": [5, 5, 5, 5]}
    assert r"lantern\_2b" in (project / "tables" / "overview.md").read_text(encoding="utf-8")
    (bench,) = [json.loads(path.read_text()) for path in (project / "bench").rglob("*.json")]
    assert bench["model"]["type"] == "lantern"


def test_the_new_code_is_as_clean_as_the_rest(project):
    files = [path for path in steps(TITLE) if path.startswith("pdrop_eval/")]
    assert len(files) == 1
    run(project, "-m", "ruff", "check", "--no-cache", *files)
    run(project, "-m", "ruff", "format", "--no-cache", "--check", *files)
