"""Packages outside of what was tested: refused before anything is loaded, or let pass and said."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.doctor import cli
from pdrop_eval.utils.code import versions
from pdrop_eval.utils.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
NEEDS = [
    "torch<2.14,>=2.13",
    "transformers<5.24,>=5.20",
    "lmms-eval==0.7.3",
    "pillow>=10",
    "ruff>=99; extra == 'dev'",
]
INSTALLED = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "lmms-eval": "0.7.3", "pillow": "12.0.0"}


@pytest.fixture
def here(monkeypatch):
    """Another environment than this one: `here(transformers="5.30.0")`; None takes a package away."""

    def change(**changes):
        found = {**INSTALLED, **{name.replace("_", "-"): found for name, found in changes.items()}}

        def version(name):
            if found.get(name) is None:
                raise versions.PackageNotFoundError(name)
            return found[name]

        monkeypatch.setattr(versions, "requires", lambda _: NEEDS)
        monkeypatch.setattr(versions, "version", version)

    return change


def test_what_is_in_range_passes_whatever_its_build(here):
    here()
    assert versions.check_versions() == {}
    here(transformers="5.20.0", torch="2.13.9")
    assert versions.check_versions(False) == {}


@pytest.mark.parametrize(
    ("name", "found", "tested"),
    [
        ("transformers", "5.30.0", ">=5.20,<5.24"),
        ("transformers", "5.19.0", ">=5.20,<5.24"),
        ("transformers", "5.24.0", ">=5.20,<5.24"),
        ("lmms_eval", "0.8.0", "==0.7.3"),
        ("torch", "2.14.0", ">=2.13,<2.14"),
    ],
)
def test_what_is_outside_is_refused_with_version_range_and_fix(here, name, found, tested):
    here(**{name: found})
    name = name.replace("_", "-")
    with pytest.raises(UserError) as raised:
        versions.check_versions()
    message = str(raised.value)
    assert f"{name} {found} (tested: {tested})" in message
    assert f"pip install '{name}{tested}'" in message
    assert "untested_packages=true" in message
    assert versions.check_versions(True) == {name: found}


def test_several_are_named_at_once(here):
    here(torch="2.12.0", transformers="5.30.0")
    with pytest.raises(
        UserError, match=r"torch 2\.12\.0 .*transformers 5\.30\.0 .*'torch>=2.13,<2.14' 'trans"
    ):
        versions.check_versions()


def test_a_package_that_no_answer_comes_from_is_left_to_the_doctor(here):
    here(pillow="9.0")
    assert versions.check_versions() == {}
    failed = [finding for finding in cli._packages(None) if finding.status == "FAIL"]
    assert [(finding.what, finding.text) for finding in failed] == [("pillow", "9.0, needed >=10")]


def test_a_missing_package_is_left_to_the_doctor_too(here):
    here(transformers=None)
    assert versions.check_versions() == {}
    assert "not installed" in [f.text for f in cli._packages(None) if f.what == "transformers"]


def test_without_metadata_nothing_is_refused(monkeypatch):
    def missing(_):
        raise versions.PackageNotFoundError

    monkeypatch.setattr(versions, "requires", missing)
    assert versions.check_versions() == {}


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_the_setting_is_true_or_false(here, value):
    here()
    with pytest.raises(UserError, match=f"untested_packages={value} is not allowed"):
        versions.check_versions(value)


def test_a_run_is_refused_before_its_model_is_looked_at(here):
    here(transformers="5.30.0")
    from pdrop_eval.run.evaluate.plan import make_plan

    config = compose_spec(["model.pretrained=no/such/folder"])
    with pytest.raises(UserError, match=r"transformers 5\.30\.0"):
        make_plan(config)
    with pytest.raises(UserError, match=r"no/such/folder"):
        make_plan(replace(config, untested_packages=True))


@pytest.mark.parametrize("entry", ["bench", "train"])
def test_benchmarks_and_trainings_are_refused_too_but_not_for_lmms_eval(here, entry, tmp_path):
    from pdrop_eval.run.bench.settings import make_plan as plan_bench
    from pdrop_eval.run.bench.spec import compose_bench
    from pdrop_eval.run.train.config.spec import compose_training
    from pdrop_eval.run.train.plan import make_plan as plan_training

    changes = {"bench": [f"results={tmp_path}", "rounds=0"], "train": ["model.pretrained=no/such/folder"]}
    config = (compose_bench if entry == "bench" else compose_training)(changes[entry])
    plan = plan_bench if entry == "bench" else plan_training
    here(transformers="5.30.0", lmms_eval="0.8.0")
    with pytest.raises(UserError, match=r"tested: transformers 5\.30\.0 \(tested: >=5.20,<5.24\)\. "):
        plan(config)
    here(lmms_eval="0.8.0")
    with pytest.raises(UserError, match=r"rounds=0|no/such/folder"):
        plan(config)


def test_the_doctor_fails_or_warns_as_the_run_would(here):
    here(transformers="5.30.0")
    config = compose_spec()
    status = {finding.what: finding.status for finding in cli._packages(config)}
    assert status == {"transformers": "FAIL", "packages": "ok"}
    found = {finding.what: finding for finding in cli._packages(replace(config, untested_packages=True))}
    assert found["transformers"].status == "warn"
    assert "outside of what was tested: >=5.20,<5.24" in found["transformers"].text


def test_the_decisive_packages_are_part_of_a_runs_identity():
    from pdrop_eval.records import run_identity

    assert set(versions.DECISIVE) <= set(run_identity._PACKAGES)


@pytest.mark.parametrize("name", ["torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy"])
def test_another_version_of_what_makes_pixels_and_tokens_is_another_run(name, monkeypatch):
    from pdrop_eval.records import run_identity
    from pdrop_eval.records.store import run_id

    here = run_identity.version
    ids = []
    for other in (False, True):
        monkeypatch.setattr(
            run_identity, "version", lambda asked, o=other: "9.9" if o and asked == name else here(asked)
        )
        ids.append(
            run_id(run_identity.run_identity({}, "pdrop", "pdrop_eval.strategies.fastv.FastV", "m", {}))
        )
    assert ids[0] != ids[1]


def test_the_ranges_are_those_of_the_project():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    named = {needed.name: needed.specifier for needed in map(Requirement, asked)}
    assert set(versions.DECISIVE) <= set(named)
    assert all(
        SpecifierSet(versions.tested(Requirement(text))) == named[Requirement(text).name] for text in asked
    )


def test_it_needs_no_torch():
    code = (
        "import sys; from pdrop_eval.utils.code.versions import check_versions; check_versions(True); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
