"""Wrong values of a strategy and a GPU that isn't there are refused before torch is imported."""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import composing
import pytest

from pdrop_eval.models.loading import devices
from pdrop_eval.models.loading.checkpoint import check_not_absent
from pdrop_eval.run.bench.settings import _source
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.config.named import check_named
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.utils.errors import UserError

# An import of torch would be an error here.
PROGRAM = """
import contextlib, importlib, io, json, sys
sys.modules["torch"] = None
sys.path.append(sys.argv[2])
import composing  # the calls share what their configurations have in common
composing.keep(setattr)
from pdrop_eval.models.loading import devices
devices._built_for = lambda: set()
found = []
for module, arguments in json.loads(sys.argv[1]):
    main = importlib.import_module(module).main
    sys.argv = ["program", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as leaving:
            found.append((leaving.code, err.getvalue()))
print(json.dumps(found))
"""
EVALUATE, TRAIN = "pdrop_eval.run.evaluate.cli", "pdrop_eval.run.train.cli"
CALIBRATE = "pdrop_eval.run.calibrate.cli"
MINI = "model=mini"  # of 8 layers and 144 image tokens
SHOW, BENCH = "pdrop_eval.report.show.cli", "pdrop_eval.report.bench.cli"
CASES = [
    (EVALUATE, ["strategy.ratio=2"], "strategy.ratio=2 is not allowed: use a number in [0, 1]"),
    (EVALUATE, ["strategy=fastv", "strategy.r=-1"], "strategy.r=-1 is not allowed"),
    (EVALUATE, ["strategy.score=max"], "strategy.score='max' is unknown"),
    (EVALUATE, [f"strategy.score={'x' * 20_000}"], "... (20,008 characters) is unknown: use one of"),
    (EVALUATE, ["strategy=vtw", "strategy.recipe=/dev/zero"], "it is a device or a pipe, and no plain file"),
    (EVALUATE, ["strategy.layers=[2,4]"], "strategy.ratios=[0.5,0.25]"),
    (EVALUATE, [MINI, "strategy.stages=9"], "strategy.stages=9 does not fit a model of 8 layers"),
    (EVALUATE, ["+strategy.ration=0.5"], "Unknown setting of PyramidDrop: 'ration'"),
    (EVALUATE, ["strategy=uniform", "strategy.tokens=0"], "strategy.tokens=0"),
    (EVALUATE, ["strategy=random", "strategy.tokens=0"], "strategy.tokens=0"),
    (EVALUATE, ["strategy=visionzip", "strategy.dominant=0"], "strategy.dominant=0"),
    (EVALUATE, ["strategy=vtw", "strategy.recipe=nowhere"], "The recipe 'nowhere' can't be read"),
    (EVALUATE, ["strategy=vtw", "strategy.recipe=mini", "model=mini_next_p5"], "whose weights are others"),
    (EVALUATE, ["prefix_cache=on", "strategy=random"], "prefix_cache=on is not possible: random doesn't"),
    (EVALUATE, ["prefix_cache=of"], "Unknown prefix_cache: 'of'. Allowed: auto, on, off. Did you mean off?"),
    (EVALUATE, ["prefix_memory=1e7"], "prefix_memory=10000000.0 is more than the"),
    (CALIBRATE, ["strategy=pdrop"], "strategy=pdrop has no rule that is calibrated"),
    (CALIBRATE, ["limit=0"], "limit=0 is not allowed"),
    (CALIBRATE, ["tasks=[gqaa]"], "Unknown task of suite=mini: 'gqaa'"),
    (EVALUATE, [MINI, "strategy=uniform", "strategy.tokens=145"], "strategy.tokens=145 is not allowed"),
    (
        EVALUATE,
        [MINI, "strategy=visionzip", "strategy.preset=64"],
        "strategy.preset=64 of VisionZip is made for",
    ),
    (EVALUATE, ["strategy=cdpruner"], "name the CLIP from which the model's vision tower is"),
    (EVALUATE, ["strategy=prumerge", "budget.tokens=64"], "PruMerge can't be fitted to a budget"),
    (EVALUATE, ["combine=[visionzip,{pdrop:{ratio:2}}]"], "strategy.pdrop.ratio=2 is not allowed"),
    (EVALUATE, ["combine=[visionzip,pdrop]", "strategy=fastv"], "can't be given together"),
    (
        EVALUATE,
        [MINI, "combine=[visionzip,{pdrop:{stages:9}}]"],
        "strategy.pdrop.stages=9 does not fit",
    ),
    (
        EVALUATE,
        [MINI, "combine=[{uniform:{tokens:20}},{random:{k:2,tokens:21}}]"],
        "uniform leaves 20 of an image's 144 tokens, and random asks for 21",
    ),
    (
        EVALUATE,
        [MINI, "combine=[{uniform:{tokens:145}},fastv]"],
        "strategy.uniform.tokens=145 is not allowed",
    ),
    (EVALUATE, ["combine=[uniform,feather]"], "feather goes by the places of tokens"),
    (SHOW, ["sample=gqa:0", "combine=[uniform,visionzip]"], "both act before the decoder"),
    (TRAIN, ["combine=[fastv,pdrop]"], "both act in the decoder"),
    (TRAIN, ["strategy.ratio=2"], "strategy.ratio=2 is not allowed"),
    (TRAIN, ["strategy.ratio=2", "dry_run=true"], "strategy.ratio=2 is not allowed"),
    (TRAIN, ["device=cuda"], "device=cuda asks for a GPU, but torch can't use one here"),
    (SHOW, ["sample=gqa:0", "strategy.ratio=2"], "strategy.ratio=2 is not allowed"),
    # What a published model's family can't have is known by its name: nothing is fetched.
    (TRAIN, ["model=qwen2_5_vl_7b"], "Training a checkpoint of type qwen2_5_vl isn't supported"),
    (TRAIN, ["model=llava_onevision_7b"], "Training a checkpoint of type llava_onevision isn't supported"),
    (TRAIN, ["model=internvl3_2b", "dry_run=true"], "of type internvl isn't supported. Use one of these"),
    (EVALUATE, ["model=qwen2_5_vl_7b", "strategy=hired"], "hired has no port to Qwen2.5-VL"),
    (EVALUATE, ["model=qwen3_vl_4b", "strategy.positions=renumber"], "strategy.positions='renumber'"),
    (EVALUATE, ["model=internvl3_2b", "model.min_pixels=3136"], "model.min_pixels=3136"),
    (BENCH, ["device=cuda"], "device=cuda asks for a GPU"),
    (BENCH, ["strategies=[{pdrop:{ratio:2}}]"], "ratio=2 is not allowed"),
    (BENCH, ["strategies=[]"], "strategies=[] is empty. Name some"),
    (BENCH, ["strategies=null"], "strategies=[] is empty. Name some"),
    (BENCH, [MINI, "strategies=[{fastv:{k:9}}]"], "strategies has fastv k=9: k=9 is not allowed"),
    (BENCH, ["model=llava_1_5_7b", "strategies=[{fastv:{k:33}}]"], "use values from 1 to 32"),
    (
        BENCH,
        ["model=llava_1_5_7b", "sizes.layers=4", "strategies=[{pdrop:{stages:5}}]"],
        "a model of 4 layers",
    ),
    (BENCH, ["architecture=qwen2_5_vl_7b", "strategies=[{fastv:{k:29}}]"], "use values from 1 to 28"),
    (BENCH, [MINI, "strategies=[{fastv:{attention_rank:145}}]"], "let it retain 144 or fewer"),
    (BENCH, [MINI, "image_tokens=100"], "image_tokens=100 is no whole number of images"),
    (BENCH, [MINI, "strategies=[{uniform:{tokens:145}}]"], "tokens=145 is not allowed"),
    (BENCH, [MINI, "budget.tokens=145"], "tokens=145 can't be reached by"),
    (BENCH, [MINI, "strategies=[prumerge]", "budget.share=0.5"], "decides by each image"),
    (
        EVALUATE,
        [MINI, "budget.tokens=145"],
        "budget.tokens=145 can't be reached by PyramidDrop: with 8 layers and 144",
    ),
    (EVALUATE, ["strategy=uniform", "budget.tokens=0.5"], "budget.tokens=0.5 can't be reached by Uniform"),
    (EVALUATE, ["strategy=fastv", "budget.share=0.01"], "budget.share=0.01 can't be reached by FastV"),
    (
        EVALUATE,
        ["model=mini_next_p5", "budget.tflops=99"],
        "budget.tflops=99 can't be reached by PyramidDrop",
    ),
    (EVALUATE, [MINI, "combine=[visionzip,pdrop]", "budget.tokens=1"], "budget.tokens=1 can't be reached by"),
    (EVALUATE, ["strategy=vanilla", "budget.tokens=64"], "vanilla drops nothing"),
    (
        CALIBRATE,
        ["strategy=pdrop", "search=true", "limit=1", "tasks=[gqa]", "budget.tokens=999"],
        "budget.tokens=999 can't be reached by PyramidDrop",
    ),
]


FAST = range(0, len(CASES), 5)  # of all kinds some
LEFT = [pytest.mark.slow, pytest.mark.whole]


@cache
def refusals(places):
    """Exit status and message of some cases, all from one process."""
    calls = json.dumps([CASES[place][:2] for place in places])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, calls, Path(composing.__file__).parent],
            capture_output=True, text=True, check=False, cwd=folder,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(places, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("place", [
    pytest.param(place, id=" ".join(case[1]), marks=[] if place in FAST else LEFT)
    for place, case in enumerate(CASES)
])  # fmt: skip
def test_it_is_refused_by_its_own_name_without_torch(place):
    places = tuple(one for one in range(len(CASES)) if (one in FAST) == (place in FAST))
    status, message = refusals(places)[place]
    assert status == 2
    assert CASES[place][2] in message
    assert "Traceback" not in message


@pytest.mark.parametrize("name", ["qwen2_vl_2b", "qwen2_5_vl_7b", "qwen3_vl_8b"])
def test_a_transformers_that_is_too_old_is_named_before_anything_is_fetched(name, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "5.19.0")
    spec = compose_spec([f"model={name}", "strategy=fastv"])
    with pytest.raises(UserError, match=r"needs transformers 5\.20 or newer, and 5\.19\.0 is installed"):
        check_named(spec.model, spec.strategy)
    with pytest.raises(UserError, match=r"'transformers>=5\.20'"):
        _source(compose_bench([f"model={name}"]), drops=True)
    own = replace(spec.model, pretrained="mine/other")  # by its config.json, once it is there
    check_named(own, spec.strategy)


def test_only_what_a_strategy_is_given_gets_the_groups_name():
    spec = compose_spec(["strategy=fastv"]).strategy
    with pytest.raises(UserError) as caught, spec.named():
        raise UserError("k=3, r=0.5 and strategy.k=4, but link=5, other.k=6: k is a layer.")
    assert str(caught.value) == (
        "strategy.k=3, strategy.r=0.5 and strategy.k=4, but link=5, other.k=6: k is a layer."
    )
    with pytest.raises(UserError, match=r"^ratio=1$"), compose_spec(["strategy=vanilla"]).strategy.named():
        raise UserError("ratio=1")


@pytest.mark.parametrize(
    ("built", "system", "driver", "device", "why"),
    [
        ({"cuda"}, "Linux", True, "cuda", None),
        ({"cuda"}, "Linux", False, "cuda:1", "no NVIDIA driver is installed (there is no libcuda.so.1)"),
        ({"cuda"}, "Windows", False, "cuda", None),
        ({"hip"}, "Linux", False, "cuda", None),
        (set(), "Linux", True, "cuda", "the installed torch is built without CUDA"),
        (None, "Linux", False, "cuda", None),
        (set(), "Linux", False, "mps", "this is no Mac"),
        (set(), "Darwin", False, "mps", None),
        (set(), "Linux", False, "cpu", None),
    ],
)
def test_a_device_is_absent_only_where_it_is_plain(monkeypatch, built, system, driver, device, why):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(devices, "_built_for", lambda: built)
    monkeypatch.setattr(devices, "_loads", lambda _: driver)
    monkeypatch.setattr(devices.platform, "system", lambda: system)
    assert devices.why_absent(device) == why
    if why:
        with pytest.raises(UserError, match=f"device={device} asks for a GPU"):
            check_not_absent(device)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", {"cuda"}),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", {"hip"}),
        ("cuda = None\nhip = None\n", set()),
        ("cuda = '12.1'\n", {"cuda"}),
    ],
)
def test_torchs_version_file_says_what_it_is_built_for(tmp_path, monkeypatch, text, kinds):
    (tmp_path / "version.py").write_text(text)
    monkeypatch.setattr(
        devices, "find_spec", lambda _: type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    )
    assert devices._built_for() == kinds
