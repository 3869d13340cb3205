"""Recipes: what a strategy takes from the file that a calibration has written, and what is refused."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pdrop_eval.engine.interface import Drop
from pdrop_eval.strategies import recipe, recipe_settings
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.utils.errors import UserError


@dataclass
class Cut(Strategy):
    """All image tokens go before layer k; drops after each of `steps`."""

    k: int | None = None
    steps: Any = None
    recipe: str | None = None
    name: ClassVar[str] = "cut"
    recipe_fields: ClassVar[tuple[str, ...]] = ("k", "steps")

    def __post_init__(self) -> None:
        recipe.take(self)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        recipe.check_depth(self, num_layers)
        return (Drop(self.k or 1),)


MODEL = {"name": "tiny", "sha256": "a" * 64, "layers": 4}
DOCUMENT = {
    "format": "pdrop-eval recipe", "version": 1, "strategy": "cut", "settings": {"k": 3, "steps": [2, 1]},
    "model": MODEL, "questions": {"split": "evaluation"},
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def written(name="cut.json", **changes):
        path = tmp_path / name
        path.write_text(json.dumps({**DOCUMENT, **changes}))
        return str(path)

    return written


def test_a_strategy_takes_the_settings_of_its_recipe(write):
    path = write()
    made = Cut(recipe=path)
    assert (made.k, made.steps) == (3, (2, 1))
    assert made.drops(4) == (Drop(3),)
    content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert made.from_recipe.facts() == {
        "strategy": "cut", "given": path, "sha256": content, "model": "tiny", "layers": 4,
        "split": "evaluation",
    }  # fmt: skip
    assert Cut(k=2).from_recipe is None
    assert Cut(k=3, steps=[2, 1], recipe=path).k == 3  # it says the same


def test_a_setting_beside_it_that_says_something_else_is_refused(write):
    with pytest.raises(UserError, match=r"says k=3, and k=2 is given beside it: leave one of them out"):
        Cut(k=2, recipe=write())


def test_a_model_of_another_depth_is_refused_with_the_fix(write):
    with pytest.raises(
        UserError, match=r"made for tiny, which has 4 layers, and this model has 8\. Make one "
    ):
        Cut(recipe=write()).drops(8)


def test_another_model_of_the_same_depth_is_refused_with_the_fix(write):
    found = recipe.read_recipe(write(), "cut")
    found.check_model("tiny", "a" * 64)
    with pytest.raises(
        UserError, match=r"\(aaaaaaaaaa\) than those of big \(bbbbbbbbbb\)\. Make one for this"
    ):
        found.check_model("big", "b" * 64)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "x"}, 'doesn\'t say "format": "pdrop-eval recipe"'),
        ({"version": 2}, "its version is 2, and this program reads 1"),
        ({"model": None}, "it names no model"),
        ({"model": {**MODEL, "layers": "4"}}, "its layers is '4'"),
        ({"model": {**MODEL, "layers": True}}, "its layers is True"),
        ({"settings": [3]}, r"its settings is \[3\]"),
        ({"strategy": "fastv"}, "is of fastv, not of cut: use a file that pdrop-eval-calibrate"),
        ({"settings": {"k": 3}}, "doesn't say steps"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(write, changes, words):
    with pytest.raises(UserError, match=words):
        Cut(recipe=write(**changes))


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"format": NaN}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged.json is no recipe: .*Make it again: pdrop-eval-calibrate"):
        Cut(recipe=str(path))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere.json", r"'nowhere.json' can't be read \(No such file or directory\): use a file that"),
        (".", "can't be read"),
        ("", "recipe='' is not allowed"),
        (3, "recipe=3 is not allowed"),
        ("../../etc/passwd", "can't be read|is no recipe"),
    ],
)
def test_what_names_no_recipe_is_refused(given, words):
    with pytest.raises(UserError, match=words):
        Cut(recipe=given)


def test_a_shipped_one_is_taken_by_its_name(write, tmp_path, monkeypatch):
    (tmp_path / "shipped" / "cut").mkdir(parents=True)
    write("shipped/cut/tiny.json")
    monkeypatch.setattr(recipe, "FOLDER", tmp_path / "shipped")
    assert Cut(recipe="tiny").k == 3
    with pytest.raises(UserError, match=r"or one of those that are shipped \(tiny\)"):
        Cut(recipe="other")


def test_settings_are_told_apart_by_the_recipes_content(write, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_settings, "_takers", lambda: {"here.Cut": "cut"})
    one, other = write(), write("other.json", settings={"k": 2, "steps": []})
    copy = tmp_path / "copy.json"
    copy.write_bytes(Path(one).read_bytes())

    def settings(path, target="here.Cut"):
        return {"seed": 1, "strategy": {"_target_": target, "k": None, "recipe": str(path)}}

    hashed = recipe_settings.by_content(settings(one))
    sha256 = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert hashed == {"seed": 1, "strategy": {"_target_": "here.Cut", "k": None, "recipe": sha256}}
    assert recipe_settings.by_content(settings(copy)) == hashed
    assert recipe_settings.by_content(settings(other)) != hashed
    # a strategy of the user's own may mean something else by it
    assert recipe_settings.by_content(settings(one, "mine.Cut")) == settings(one, "mine.Cut")
    inner = {"strategy": {"_target_": "x", "parts": [settings(one)["strategy"]]}}
    assert [found.sha256 for found in recipe_settings.recipes_in(inner)] == [sha256]
    assert recipe_settings.by_content(inner)["strategy"]["parts"][0]["recipe"] == sha256


@pytest.mark.parametrize("strategy", ["vtw", "fitprune"])
def test_those_of_the_miniatures_are_shipped_and_belong_to_them(strategy):
    from pdrop_eval.records.recipe_file import read_recipe_file
    from pdrop_eval.records.run_identity import checkpoint_sha256
    from pdrop_eval.utils.paths import MINI_CHECKPOINTS

    assert "mini" in recipe.shipped(strategy)
    for name in recipe.shipped(strategy):
        found = recipe.read_recipe(name, strategy)
        model = name.partition("_")[0]  # a name's other part is its ratio
        assert found.layers == {"mini": 8, "mini576": 16}[model]
        assert found.model_sha256 == checkpoint_sha256(MINI_CHECKPOINTS / model, None)
        document = read_recipe_file(recipe.FOLDER / strategy / f"{name}.json")
        assert document["questions"]["split"] == "calibration"
        assert document["questions"]["n"] == 320  # 20 of each of 16 tasks
        assert "/" not in document["made"]["config"]["model"]["pretrained"]


SIZES = pytest.mark.parametrize(("model", "layers", "tokens"), [("mini", 8, 144), ("mini576", 16, 576)])


@SIZES
def test_vtw_takes_the_miniatures_k(model, layers, tokens):
    from pdrop_eval.strategies.vtw import VTW

    made = VTW(recipe=model)
    assert made.k == made.from_recipe.settings["k"]
    assert made.drops(layers) == (Drop(made.k),)
    with pytest.raises(UserError, match=f"which has {layers} layers, and this model has 32"):
        made.drops(32)
    with pytest.raises(UserError, match=f"says k={made.k}, and k=6 is given beside it"):
        VTW(k=6, recipe=model)


@SIZES
def test_fitprune_takes_the_miniatures_removals(model, layers, tokens):
    from pdrop_eval.strategies.fitprune import FitPrune

    own = [name for name in recipe.shipped("fitprune") if name.partition("_")[0] == model]
    assert own == [model, *(f"{model}_{ratio}" for ratio in range(40, 100, 10))]
    made = FitPrune(recipe=model)
    assert made.removed == FitPrune(recipe=f"{model}_60").removed
    assert len(made.removed) == layers
    assert made.schedule(layers, tokens)[0] == tokens
    assert made.schedule(layers, tokens)[-1] == tokens - sum(made.removed[:-1])
    left = [tokens - sum(FitPrune(recipe=f"{model}_{ratio}").removed) for ratio in range(40, 100, 10)]
    assert left == sorted(left, reverse=True)  # the higher the ratio, the fewer are left
    with pytest.raises(UserError, match=f"which has {layers} layers, and this model has 32"):
        made.drops(32)
