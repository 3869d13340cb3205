"""The workflows that check shared results and publish the site: what they run exists, and may do no more."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["community", "pages"])
def test_every_step_is_a_target_and_rights_are_few(name):
    text = (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert "pull_request_target" not in text
    calls = []
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 30
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            calls += [step["run"].split()] if "run" in step else []
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"] == {"persist-credentials": False}
    for program, target, *settings in calls:
        assert program == "make"
        assert re.search(rf"^{target}:", MAKEFILE, re.M)
        assert not [one for one in settings if not one.startswith("ARGS=")]


def test_only_what_publishes_may_write_to_pages():
    jobs = yaml.safe_load((FOLDER / "pages.yml").read_text(encoding="utf-8"))["jobs"]
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "build": None,
        "publish": {"pages": "write", "id-token": "write"},
    }
    (upload,) = [
        one["with"]["path"] for one in jobs["build"]["steps"] if "pages-artifact" in one.get("uses", "")
    ]
    assert upload in MAKEFILE


def test_a_pull_request_with_shared_results_is_checked():
    found = yaml.safe_load((FOLDER / "community.yml").read_text(encoding="utf-8"))
    assert found[True]["pull_request"] == {"paths": ["results/community/**"]}  # YAML's word for it is true
    assert "make check-results" in [step.get("run") for step in found["jobs"]["check"]["steps"]]


def test_what_this_project_shares_passes_its_own_check():
    from pdrop_eval.report.share.checking import Limits, check

    found = check(ROOT / "results" / "community", Limits())
    assert found.faults == []
    assert found.submissions >= 1
