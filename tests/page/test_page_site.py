"""The page's folder: what is written to it, what stays, what goes, and what never leaves it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic
from paging import Read, build, data

from pdrop_eval.report.site import build as build_module
from pdrop_eval.report.site import cli
from pdrop_eval.report.site.folder import MANIFEST, opened
from pdrop_eval.report.site.names import file_name, public, put, unique
from pdrop_eval.utils.errors import UserError

HOSTILE = "../../x"
TAGS = '<img src=x onerror="alert(1)">'
SCRIPT = "</script><script>alert(1)</script>\u2028\u2029&amp;"


@pytest.fixture
def small(tmp_path, quick):
    """Two runs of two questions with pictures; returns their folders."""
    return synthetic.write_runs(tmp_path / "runs", tmp_path / "data", 2, ("gqa",), 2)


def everything(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_the_same_records_give_the_same_bytes(small, tmp_path):
    build(tmp_path, "one")
    build(tmp_path, "two")
    one, two = Read(tmp_path / "one"), Read(tmp_path / "two")
    assert one.content() == two.content()
    assert len(one.files()) > 15


def test_a_second_build_touches_nothing_that_has_not_changed(small, tmp_path):
    build(tmp_path)
    before = {name: (tmp_path / "site" / name).stat().st_mtime_ns for name in Read(tmp_path / "site").files()}
    build(tmp_path)
    assert {name: (tmp_path / "site" / name).stat().st_mtime_ns for name in before} == before


def test_files_of_runs_that_are_gone_go_and_foreign_ones_stay(small, tmp_path):
    build(tmp_path)
    site = Read(tmp_path / "site")
    key, other = site.runs
    own = {name for name in site.files() if key in name}
    assert len(own) == 4  # its data, its answers, two downloads
    for name in (f"data/answers/{key}/mine.txt", "pictures/mine.png", "mine.txt"):
        (tmp_path / "site" / name).write_text("mine")
    shutil.rmtree(tmp_path / "runs" / "mini576")
    build(tmp_path)
    left = Read(tmp_path / "site")
    assert list(left.runs) == [other]
    assert not own & left.files()
    assert {f"data/answers/{key}/mine.txt", "pictures/mine.png", "mine.txt"} <= left.files()
    assert (
        not any((tmp_path / "site").glob("data/answers/*/"))
        or (tmp_path / f"site/data/answers/{other}").is_dir()
    )


def test_pictures_that_no_question_needs_go(small, tmp_path):
    build(tmp_path)
    before = {path.name for path in (tmp_path / "site/pictures").iterdir()}
    assert len(before) == 2
    build(tmp_path, pictures=1)
    assert {path.name for path in (tmp_path / "site/pictures").iterdir()} < before


@pytest.mark.parametrize("name", ["index.html", "notes.md"])
def test_a_folder_with_files_of_others_is_refused(small, tmp_path, name):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).write_text("mine")
    with pytest.raises(UserError, match=rf"site holds files that are no page's \({name}\)"):
        build(tmp_path)
    assert everything(tmp_path / "site") == {name}
    assert (tmp_path / "site" / name).read_text() == "mine"


def test_a_file_of_others_under_one_of_its_names_is_refused(small, tmp_path):
    build(tmp_path, pictures=0)
    manifest = json.loads((tmp_path / "site" / MANIFEST).read_text())
    manifest["files"].remove("downloads/runs.csv")
    (tmp_path / "site" / MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "site/downloads/runs.csv").write_text("mine")
    with pytest.raises(UserError, match=r"runs\.csv is no file of this page"):
        build(tmp_path)
    assert (tmp_path / "site/downloads/runs.csv").read_text() == "mine"


def test_a_manifest_that_was_tampered_with_removes_nothing_elsewhere(small, tmp_path):
    build(tmp_path)
    victim = tmp_path / "victim.txt"
    victim.write_text("keep")
    manifest = json.loads((tmp_path / "site" / MANIFEST).read_text())
    manifest["files"] += ["../victim.txt", str(victim), "data/../../victim.txt"]
    (tmp_path / "site" / MANIFEST).write_text(json.dumps(manifest))
    build(tmp_path)
    assert victim.read_text() == "keep"


@pytest.mark.thin(1)
@pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}', '{"files": [1]}'])
def test_a_damaged_manifest_is_said(small, tmp_path, text):
    build(tmp_path)
    (tmp_path / "site" / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=r"page\.json is damaged"):
        build(tmp_path)


def test_nothing_is_written_through_a_link_to_elsewhere(small, tmp_path):
    build(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(tmp_path / "site/downloads", elsewhere)
    (tmp_path / "site/downloads").symlink_to(elsewhere)
    before = everything(elsewhere)
    with pytest.raises(UserError, match="leads out of the page's folder"):
        build(tmp_path)
    assert everything(elsewhere) == before


def test_a_build_that_breaks_off_leaves_the_page_as_it_was(small, tmp_path, monkeypatch):
    build(tmp_path)
    before = Read(tmp_path / "site").content()
    shutil.rmtree(tmp_path / "runs" / "mini576")
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "_write_assets", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path)
    after = Read(tmp_path / "site").content()
    assert after == before
    assert not (tmp_path / "site/.building").exists()
    build(tmp_path)
    assert len(Read(tmp_path / "site").runs) == 1


def test_a_build_that_was_killed_while_moving_leaves_nothing_behind_for_ever(small, tmp_path, monkeypatch):
    moved = []

    def failing(source, target):
        if str(target).endswith("index.js") and not moved:
            moved.append(target)
            raise KeyboardInterrupt
        return replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path)
    assert moved
    (tmp_path / "site/.building").mkdir()  # as a process that is killed leaves it
    (tmp_path / "site/.building/half").write_text("half")
    build(tmp_path)
    build(tmp_path, "fresh")
    assert Read(tmp_path / "site").content() == Read(tmp_path / "fresh").content()


def test_two_builds_at_once_are_refused(small, tmp_path):
    with opened(tmp_path / "site"), pytest.raises(UserError, match="Another process is building the page"):
        build(tmp_path)


def test_a_folder_that_can_not_be_made_is_said(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        build(tmp_path, "file/site")
    with pytest.raises(UserError, match="is no folder"):
        build(tmp_path, "file")


def test_no_path_of_this_machine_is_in_any_file(small, tmp_path):
    head = synthetic.header(
        "mini576", "pdrop", results=str(tmp_path / "runs"), data={"root": str(tmp_path / "data")},
        api_key="sk-0123456789abcdefghij",
    )  # fmt: skip
    head["command"] = f"pdrop-eval data.root={tmp_path}/data model.pretrained='{tmp_path}/a model'"
    head["model"]["pretrained"] = str(tmp_path / "weights")
    found = {"gqa": (synthetic.samples("mini576", "pdrop", "gqa", range(2)), "f" * 64)}
    folder = synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", found, head=head, status="failed")
    record = json.loads((folder / "record.json").read_text())
    record["error"] = f"FileNotFoundError: {tmp_path}/weights/model.safetensors"
    (folder / "record.json").write_text(json.dumps(record))
    build(tmp_path)
    for name, content in Read(tmp_path / "site").content().items():
        if not name.endswith(".webp"):
            assert str(tmp_path) not in content.decode("utf-8"), name
            assert "sk-0123456789" not in content.decode("utf-8"), name
    record = Read(tmp_path / "site").runs[f"mini576.{folder.name}"]
    assert record["error"] == "FileNotFoundError: …/model.safetensors"


def test_hostile_names_and_texts_stay_text_within_the_folder(tmp_path, quick):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    samples[0] |= {"prompt": SCRIPT, "answer": TAGS, "target": [TAGS, SCRIPT], "doc_id": HOSTILE,
                   "content_sha256": HOSTILE, "images_sha256": HOSTILE}  # fmt: skip
    head = synthetic.header("mini576", "vanilla", suite={"name": HOSTILE, "source": "rendered"})
    head["model"] |= {"name": TAGS, "size": HOSTILE}
    folder = synthetic.write_run(
        tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, HOSTILE)}, head=head
    )
    record = json.loads((folder / "record.json").read_text())
    record["tasks"][HOSTILE] = {**record["tasks"]["gqa"], "benchmark": "mme"}
    record["model"]["name"] = HOSTILE
    (folder / "record.json").write_text(json.dumps(record))
    before = everything(tmp_path) | {"site"}
    build(tmp_path)
    after = everything(tmp_path)
    assert {name for name in after - before if not name.startswith("site/")} == set()
    page = Read(tmp_path / "site")
    for name in page.files():
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-"), name
        if name.startswith("data/"):
            text = (tmp_path / "site" / name).read_text("utf-8")
            assert "<" not in text
            assert not {"\u2028", "\u2029"} & set(text)
    (run,) = page.index["runs"]
    score = run["scores"]["gqa"]
    questions = page.questions(score["set"])
    place = [one["id"] for one in questions].index(HOSTILE)
    assert questions[place]["prompt"] == SCRIPT
    assert questions[place]["target"] == [TAGS, SCRIPT]
    assert page.answers(run["key"], "gqa")[place][0] == TAGS


def test_a_folder_whose_name_is_no_utf_8_is_written_out(tmp_path):
    folder = os.fsdecode(b"mini576/\xff")
    with opened(tmp_path / "site") as site:
        site.write("data/a.js", put("a", {"folder": folder}))
        site.append("a.csv", folder)
        written = tmp_path / "site" / site._stage.name
        assert data(written / "data" / "a.js") == ("a", {"folder": folder})
        assert (written / "a.csv").read_text("utf-8") == "mini576/\\udcff"


def test_a_name_that_is_a_formula_is_text_in_a_sheet(tmp_path, quick):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(1))
    samples[0]["answer"] = "=HYPERLINK(A1)"
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)})
    build(tmp_path, pictures=0)
    page = Read(tmp_path / "site")
    (run,) = page.index["runs"]
    assert "'=HYPERLINK(A1)" in (page.out / f"downloads/{run['key']}.csv").read_text("utf-8")
    assert ",=HYPERLINK" not in (page.out / f"downloads/{run['key']}.csv").read_text("utf-8")


def test_data_files_are_scripts_that_end_no_script(tmp_path):
    text = put(SCRIPT, {SCRIPT: [SCRIPT, None, 1.5, True]})
    assert "<" not in text
    assert "\u2028" not in text
    (tmp_path / "x.js").write_text(text, "utf-8")
    assert data(tmp_path / "x.js") == (SCRIPT, {SCRIPT: [SCRIPT, None, 1.5, True]})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mini.pdrop-0137b75030", "mini.pdrop-0137b75030"), (HOSTILE, "x"),
        (TAGS, "img-src-x-onerror-alert-1"),
        ("", "unnamed"), (".hidden", "hidden"), ("a/b\\c:d", "a-b-c-d"), ("é", "unnamed"),
    ],
)  # fmt: skip
def test_a_files_name_is_plain(text, name):
    assert file_name(text) == name


def test_long_names_are_cut_and_stay_apart():
    assert file_name(200 * "a" + "\udcff") != file_name(200 * "a" + "\udcfe")
    one, other = file_name("a" * 300), file_name("a" * 301)
    assert len(one) == len(other) == 100
    assert one != other


def test_names_differ_in_more_than_case():
    assert unique("Mini.x", {"mini.x", "mini.x-2"}) == "Mini.x-3"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data.root=/srv/me/data dtype=float32", "data.root=…/data dtype=float32"),
        ("'/srv/me/a' and/or 3/4", "'…/a' and/or 3/4"),
        ("https://example.com/a/b", "https://example.com/a/b"),
        ("file:///srv/me/x.py", "…/x.py"),
        (r"D:\shared\x.py", "…/x.py"),
        ("/data", "…/data"),
        ("results/runs ~/x ./y ../z", "results/runs ~/x ./y ../z"),
        ("[Errno 2] No such file: '/a b/c'", "[Errno 2] No such file: '…/a b/c'"),
    ],
)
def test_folders_of_a_machine_are_left_out(text, shown):
    assert public({"x": [text]}) == {"x": [shown]}


def run_command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["pdrop-eval-page", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as leaving:
        return leaving.code, capsys.readouterr()
    return 0, capsys.readouterr()


def test_the_command_builds_and_says_where(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, said = run_command(monkeypatch, capsys, "root=runs", "out=site", "bench=none", "compare=none")
    assert status == 0, said.err
    assert said.out.startswith("Built site/index.html: 2 runs, 4 answers.")
    assert Read(tmp_path / "site").runs


def test_bench_and_compare_come_from_beside_the_records(small, tmp_path, monkeypatch, capsys):
    taken = []
    monkeypatch.setattr(build_module, "make_page", lambda sources, out: taken.append(sources) or "")
    monkeypatch.chdir(tmp_path / "runs")
    for root in ("other/runs", ".", str(tmp_path / "runs")):
        assert run_command(monkeypatch, capsys, f"root={root}", "out=site")[0] == 0
    assert run_command(monkeypatch, capsys, "root=runs", "out=site", "bench=mine", "compare=null")[0] == 0
    assert run_command(monkeypatch, capsys)[0] == 0
    assert [(one.bench, one.compare) for one in taken] == [
        (Path("other/bench"), Path("other/compare")),
        (tmp_path / "bench", tmp_path / "compare"),
        (tmp_path / "bench", tmp_path / "compare"),
        (Path("mine"), Path("compare")),
        (Path("results/bench"), Path("results/compare")),
    ]


def test_a_run_in_the_place_of_all_runs_names_the_folder_above(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = next((tmp_path / "runs/mini576").iterdir())
    status, said = run_command(monkeypatch, capsys, f"root=runs/mini576/{folder.name}", "out=site")
    assert status == 2
    assert (
        said.err
        == f"pdrop-eval-page: root=runs/mini576/{folder.name} is a run. Name the folder above: root=runs\n"
    )
    status, said = run_command(monkeypatch, capsys, "root=runs/mini576", "out=site")
    assert (status, said.err) == (
        2,
        "pdrop-eval-page: root=runs/mini576 has the runs of one model. Name the folder above: root=runs\n",
    )
    monkeypatch.chdir(folder)
    _, said = run_command(monkeypatch, capsys, "root=.", "out=site")
    assert said.err == f"pdrop-eval-page: root=. is a run. Name the folder above: root={tmp_path / 'runs'}\n"


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["root=nothing"], "root=nothing is no folder"),
        (["root=empty"], "No run is recorded in empty"),
        (["pictures=-1"], "pictures=-1: expected a whole number from 0"),
        (["pictures=some"], "pictures=some: expected a whole number"),
        (["pictures=1.5"], "pictures=1.5: expected a whole number"),
        (["pictures=true"], "expected a whole number"),
        (
            ["picture=1"],
            "Unknown setting: 'picture'. Allowed: root, bench, compare, out, pictures, data.root. Did",
        ),
        (["+x=1"], "Unknown setting: 'x'"),
        (["out="], "out is empty"),
        (["out=empty"], "holds files that are no page's"),
        (["data.root=nothing"], "data.root=nothing is no folder"),
    ],
)
def test_wrong_input_ends_with_one_line_and_status_2(small, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/mine.txt").write_text("")
    before = everything(tmp_path)
    status, said = run_command(monkeypatch, capsys, "root=runs", *arguments)
    assert status == 2
    assert words in said.err
    assert said.err.count("\n") == 1
    assert everything(tmp_path) == before


def test_no_records_says_what_to_run(tmp_path, quick):
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match=r"Run first: .*eval"):
        build(tmp_path)


@pytest.mark.slow
def test_the_page_needs_no_torch_and_no_matplotlib(small, tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'lmms_eval', 'datasets', 'pandas', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv[1:] = ['root=runs', 'out=o', 'bench=none', 'compare=none']\n"
        "from pdrop_eval.report.site.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "o/pictures").iterdir())) == 2
    charts = (tmp_path / "o/assets/plotly.min.js").read_text("utf-8")
    assert "Licensed under the MIT license" in charts[:500]


def test_help_loads_neither_the_records_nor_the_charts():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from pdrop_eval.report.site.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'plotly', 'PIL', 'pyarrow', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pictures: 1000" in done.stdout
