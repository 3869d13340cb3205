"""pdrop-eval-bench's settings: wrong ones are named before torch is loaded, and what identifies a record."""

import hashlib
import os
import re
import subprocess
import sys

import pytest

from pdrop_eval.models import families
from pdrop_eval.records import run_identity
from pdrop_eval.report.bench.cli import bench
from pdrop_eval.run.bench.settings import make_plan, published_name
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.strategies.recipe import FOLDER
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF


def command(*arguments):
    # An import of torch would be an error here.
    code = (
        "import sys; sys.modules['torch'] = None; from pdrop_eval.report.bench.cli import main; "
        "sys.argv = ['pdrop-eval-bench', *sys.argv[1:]]; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def test_help_needs_no_torch():
    done = command("--help")
    assert done.returncode == 0, done.stderr
    assert "what do I gain at 64 tokens a layer?" in done.stdout
    assert "batch_sizes:" in done.stdout


def test_a_typo_ends_with_one_message():
    done = command("batch_size=[1]")
    assert done.returncode == 2
    assert done.stderr.startswith("pdrop-eval-bench: Unknown setting: 'batch_size'.")
    assert "Did you mean batch_sizes?" in done.stderr


@pytest.mark.thin(6)
@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("weights=none", "Unknown weights: 'none'", "random, checkpoint"),
        ("strategies=[fastw]", "Unknown strategy: 'fastw'", "Did you mean fastv?"),
        ("strategies=[fastv,fastv]", "fastv twice", "once"),
        ("strategies=[{pdrop:3}]", "pdrop: 3", "{ratio:0.4}"),
        ("strategies=[{pdrop:{ratio:0.4},fastv:{}}]", "strategies has {", "{pdrop:{ratio:0.4}}"),
        ("batch_sizes=[0]", "batch_sizes=0", "at least 1"),
        ("batch_sizes=[]", "is empty", "auto"),
        ("sizes.layers=0", "sizes.layers=0", "at least 1"),
        ("image_tokens=0", "image_tokens=0", "null"),
        ("rounds=0", "rounds=0", "at least 1"),
        ("device=tpu", "'tpu'", "cpu"),
        ("again=maybe", "again=maybe", "true or false"),
        ("weights=checkpoint", "sizes.layers", "weights=random"),
        ("architecture=llava_2", "'llava_2'", "llava_1_5_7b"),
        ("attention=flash", "'flash'", "flash_attention_2"),
        ("model.adapter=org/name", "weights=random", "weights=checkpoint"),
        ("budget.tokens=-1", "budget.tokens=-1", "above 0"),
    ],
)
def test_wrong_settings_name_the_value_and_the_fix(config, override, what, fix):
    with pytest.raises(UserError) as caught:
        make_plan(config(override))
    assert what in str(caught.value)
    assert fix in str(caught.value)


def test_several_processes_are_refused(config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="pdrop-eval-bench is one process, and WORLD_SIZE=2"):
        bench(config())


def test_two_budgets_are_one_too_many(config):
    with pytest.raises(UserError, match="2 budgets"):
        make_plan(config("budget.tokens=8", "budget.share=0.5"))


def test_vanilla_is_always_measured(config):
    plan = make_plan(config("strategies=[{pdrop:{ratio:0.4}},keep_all,plain]"))
    assert [one.label for one in plan.variants] == ["vanilla", "pdrop ratio=0.4", "keep_all", "plain"]
    assert plan.variants[2].fields == {"ratio": 1.0}
    assert plan.variants[3].strategy is None


def test_a_record_is_known_by_what_decides_its_numbers_and_not_by_how_much_is_asked(config):
    first = make_plan(config("batch_sizes=[1]")).identity
    assert make_plan(config("batch_sizes=[1,2]", "again=true")).identity == first
    assert make_plan(config("strategies=[pdrop,fastv]", "batch_sizes=[1]")).identity != first
    assert make_plan(config("sizes.layers=8", "batch_sizes=[1]")).identity != first


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("model=llava_1_5_7b", "llava"),
        ("model=mini_next_p5", "llava_next"),  # by the checkpoint
        ("architecture=llava_next_34b", "llava_next"),
    ],
)
def test_the_file_of_the_model_family_alone_identifies_a_record(config, override, name, monkeypatch):
    first = make_plan(config(override)).identity["code"]
    assert make_plan(config(override)).identity["code"] == first
    files = run_identity.family_modules
    monkeypatch.setattr(
        run_identity, "family_modules", lambda one, package: {} if one == name else files(one, package)
    )
    assert make_plan(config(override)).identity["code"] != first


def test_what_a_strategys_file_says_and_the_number_of_threads_identify_a_record(
    config, tmp_path, monkeypatch
):
    first = make_plan(config()).identity["config"]
    assert first["threads"] == "1"
    assert first["strategies"][1]["fields"]["k"] == 2  # by conf/strategy/fastv.yaml
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert make_plan(config("threads=null")).identity["config"]["threads"] == "3"
    assert make_plan(config("threads=3")).identity["config"]["threads"] == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert make_plan(config("threads=null")).identity["config"]["threads"] is None


# The published models of conf/: those whose checkpoint is an id on the Hub.
PUBLISHED = [
    path.stem
    for path in sorted((CONF / "model").glob("*.yaml"))
    if re.search(r"^pretrained: (?!embedded|checkpoints/)", path.read_text(encoding="utf-8"), re.M)
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_published_model_can_be_measured_with_random_weights(name):
    """Without its checkpoint: the file's architecture and size are those of sizes that are known here."""
    plan = make_plan(compose_bench([f"model={name}", "strategies=[vanilla,fastv,pdrop]"]))
    assert plan.source is None
    family, size = families.published()[published_name(plan.config)]
    assert (family.architecture, size) == (plan.config.model.architecture, plan.config.model.size)
    assert [one.label for one in plan.variants] == ["vanilla", "fastv", "pdrop"]


def test_all_families_that_are_evaluated_have_a_published_model():
    found = {compose_bench([f"model={name}"]).model.architecture for name in PUBLISHED}
    assert found == {one.architecture for one in families.all_multimodal() if not one.unevaluated}
    assert len(PUBLISHED) >= 14  # two LLaVA, two OneVision, three InternVL, seven Qwen-VL


def test_without_its_checkpoint_a_model_gets_published_sizes(config):
    assert published_name(config()) == "llava_1_5_7b"
    assert published_name(config("model=llava_next_7b_p9")) == "llava_next_7b"
    assert published_name(config("architecture=llava_next_34b")) == "llava_next_34b"
    assert published_name(config("model=mini")) is None


def test_a_recipe_counts_by_its_content(config, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes((FOLDER / "vtw" / "mini.json").read_bytes())

    def fields(recipe):
        given = ["model=mini", "architecture=null", "sizes.layers=8", "sizes.width=32", "sizes.heads=2"]
        plan = make_plan(config(*given, f"strategies=[{{vtw:{{recipe:{recipe}}}}}]"))
        return plan.identity["config"]["strategies"][1]["fields"]

    before = fields(copy)
    assert fields("mini") == before
    assert before["recipe"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    copy.write_text(copy.read_text().replace('"k": 7', '"k": 6'))
    assert fields(copy) != before
