"""The workflow for GitHub Actions: what it runs exists, and it can do nothing that it need not."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / ".github" / "workflows" / "ci.yml"
TEXT = PATH.read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def filled(text, job):
    """A command with the first value of each variable of the job's matrix."""
    for name, values in JOBS[job].get("strategy", {}).get("matrix", {}).items():
        text = text.replace(f"${{{{ matrix.{name} }}}}", str(values[0]))
    assert "${{" not in text
    return text


MAKES = [
    (job, shlex.split(filled(step["run"], job)))
    for job, step in STEPS
    if step.get("run", "").startswith("make ")
]


def test_it_lints_tests_compares_and_looks_at_other_versions():
    assert {call[1] for _, call in MAKES} == {"check", "test-all", "matrix", "reference", "compare"}


@pytest.mark.parametrize(("job", "call"), MAKES, ids=[f"{job}-{call[1]}" for job, call in MAKES])
def test_every_target_and_variable_exists(job, call):
    _, target, *settings = call
    assert re.search(rf"^{target}:", MAKEFILE, re.M)
    variables = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.M)
    assert [s for s in settings if s.partition("=")[0] not in variables] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_every_comparison_is_a_valid_configuration(make_environment):
    from pdrop_eval.report.compare.settings import read_settings

    calls = [call for _, call in MAKES if call[1] == "compare"]
    assert len(calls) == 2
    for call in calls:
        done = subprocess.run(
            ["make", "--dry-run", *call[1:]],
            cwd=ROOT, env=make_environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        (recipe,) = re.findall(r"pdrop-eval-compare (baseline=.*?) \|\|", done.stdout.replace("\\\n", " "))
        read_settings(shlex.split(recipe))


def test_what_it_collects_is_what_the_comparisons_write():
    names = [re.findall(r"name=(\w+)", " ".join(call)) for _, call in MAKES if call[1] == "compare"]
    assert names == [["keep_all"], ["pdrop"]]
    (summary,) = (step["run"] for _, step in STEPS if step.get("name") == "Summary")
    assert summary == 'cat results/compare/keep_all.md results/compare/pdrop.md >> "$GITHUB_STEP_SUMMARY"'
    kept = [step["with"]["path"] for _, step in STEPS if "upload-artifact" in step.get("uses", "")]
    assert kept == ["results/test.xml", "results/compare/keep_all.*\nresults/compare/pdrop.*\n"]
    assert "--junitxml=results/test.xml" in " ".join(" ".join(call) for _, call in MAKES)


def test_it_runs_on_every_python_that_is_claimed():
    claimed = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
    assert JOBS["test"]["strategy"]["matrix"]["python"] == claimed
    assert JOBS["versions"]["strategy"]["matrix"]["versions"] == ["oldest", "newest"]


def test_it_may_only_read_and_ends_in_time():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True
    for job in JOBS.values():
        assert 0 < job["timeout-minutes"] <= 45
        assert "permissions" not in job
        assert job["steps"][0]["with"] == {"persist-credentials": False}
    assert "secrets." not in TEXT
    assert "pull_request_target" not in TEXT


def test_actions_are_pinned_by_their_major_version():
    used = {step["uses"] for _, step in STEPS if "uses" in step}
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)
    majors = [name.partition("@")[0] for name in used]
    assert len(majors) == len(set(majors)), "one action in two versions"


def test_what_others_wrote_is_never_part_of_a_command():
    for _, step in STEPS:
        expressions = re.findall(r"\$\{\{\s*(.*?)\s*\}\}", step.get("run", ""))
        assert [one for one in expressions if not one.startswith("matrix.")] == []


def test_what_is_cached_depends_on_what_decides_it():
    caches = [step["with"] for _, step in STEPS if "actions/cache" in step.get("uses", "")]
    assert len(caches) == len(JOBS)
    for cache in caches:
        (files,) = re.findall(r"hashFiles\((.*?)\)", cache["key"])
        assert files == "'constraints.txt', 'pdrop_eval/benchmarks/rendered/*.py'"
        assert list(ROOT.glob("pdrop_eval/benchmarks/rendered/*.py"))
        assert cache["key"].startswith(cache["restore-keys"])
