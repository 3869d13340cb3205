"""The wheel: carries all that a run needs, works from any folder, writes nothing into the installation."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("pdrop_eval", "conf", "tasks")
pytestmark = pytest.mark.release


def run(*command, cwd, check=True, **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MAKEFLAGS")} | environment
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what is in the repository, so that building leaves the checkout alone."""
    done = run("git", "ls-files", "-z", cwd=ROOT, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("sources")
    names = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        if name.split("/")[0] in (*SHIPPED, "pyproject.toml", "README.md", "LICENSE"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=sources)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A clean environment that has the wheel, and this one's packages but for the project itself.

    A path in a .pth file brings the packages; the editable install's own .pth there is not followed.
    """
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=folder)
    return folder / "bin", site / "pdrop_eval"


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_the_wheel_has_every_file_of_the_package_its_configuration_and_its_tasks(sources, wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = set()
    for top in SHIPPED:
        for path in (sources / top).rglob("*"):
            name = path.relative_to(sources).as_posix()
            if path.is_file():
                wanted.add(name if top == "pdrop_eval" else f"pdrop_eval/{name}")
    assert "pdrop_eval/conf/strategy/pdrop.yaml" in wanted
    assert "pdrop_eval/tasks/rendered/mme.yaml" in wanted
    assert "pdrop_eval/report/tables/specs/table5.yaml" in wanted
    assert wanted - held == set()
    tops = {name.split("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pdrop_eval"}


def test_the_installed_package_finds_its_own_data(installed, tmp_path):
    binaries, package = installed
    code = "from pdrop_eval.utils import paths as p; print(p.PACKAGE, p.CONF, p.TASKS, sep='\\n')"
    shown = run(binaries / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert shown == [str(package), str(package / "conf"), str(package / "tasks")]


def test_help_and_tables_work_from_any_folder_and_write_nothing(installed, tmp_path):
    binaries, package = installed
    before = files(package)
    assert "strategy" in run(binaries / "pdrop-eval", "--help", cwd=tmp_path).stdout
    assert "readme" in run(binaries / "pdrop-eval-tables", "--help", cwd=tmp_path).stdout
    done = run(binaries / "pdrop-eval-tables", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "Run first: pdrop-eval strategy=pdrop model=mini576 suite=mini" in done.stderr
    assert files(package) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.whole
def test_a_small_evaluation_runs_from_another_folder(installed, tmp_path):
    binaries, package = installed
    assert (package / "models" / "checkpoints" / "mini576" / "model.safetensors").is_file()
    before = files(package)
    cache = {"PDROP_EVAL_CACHE": os.environ.get("PDROP_EVAL_CACHE", str(tmp_path / "cache"))}
    command = (binaries / "pdrop-eval", "strategy=pdrop", "tasks=[gqa]", "limit=2", "results=runs")
    run(*command, cwd=tmp_path, **cache)
    (record,) = (tmp_path / "runs" / "mini576").glob("pdrop-*/record.json")
    assert '"status": "completed"' in record.read_text()
    run(binaries / "pdrop-eval-tables", "root=runs", "out=tables", cwd=tmp_path)
    assert "| PDrop\\*" in (tmp_path / "tables" / "table5.md").read_text()
    assert files(package) == before


def test_the_page_on_own_data_goes_from_a_public_package_to_a_table(installed, tmp_path):
    """`docs/own_data.md` as it stands, with fewer pictures."""
    pytest.importorskip("easy_vqa")
    binaries, package = installed
    before = files(package)
    text = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    section = text[text.index("## From a public data set") : text.index("## The data file")]
    (script,) = re.findall(r"```python\n(.*?)```", section, re.S)
    assert "PICTURES = 20\n" in script
    (tmp_path / "make.py").write_text(script.replace("PICTURES = 20\n", "PICTURES = 2\n"), encoding="utf-8")
    run(binaries / "python", "make.py", cwd=tmp_path)
    count = len((tmp_path / "easy_vqa_test" / "data.jsonl").read_text(encoding="utf-8").splitlines())
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.S) for line in block.splitlines()]
    names = [line.split()[0] for line in lines]
    assert names == ["pdrop-eval", *(f"pdrop-eval-{one}" for one in ("tables", "compare", "show", "page"))]
    cache = {"PDROP_EVAL_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    shown = {}
    for name, line in zip(names, lines, strict=True):
        words = shlex.split(line)
        shown[name] = run(binaries / words[0], *words[1:], cwd=tmp_path, check=False, **cache)
        passed = (0, 1) if name == "pdrop-eval-compare" else (0,)  # so few questions may tell anything
        assert shown[name].returncode in passed, shown[name].stderr
    assert len(list((tmp_path / "results" / "runs" / "mini576").glob("*/record.json"))) == 3
    for strategy in ("vanilla", "FastV", "PDrop"):
        row = rf"^(mini576)? +{strategy} +\d+\.\d+ G +\d+\.\d .* {count}$"
        assert re.search(row, shown["pdrop-eval-tables"].stdout, re.M), shown["pdrop-eval-tables"].stdout
    assert re.search(rf"^easy_vqa_test_exact_match +{count} ", shown["pdrop-eval-compare"].stdout, re.M)
    assert list(tmp_path.glob("results/report/show/easy_vqa_test_exact_match_3_mini576_pdrop.png"))
    assert len(list(tmp_path.glob("results/report/page/pictures/*.webp"))) == 2
    assert files(package) == before
