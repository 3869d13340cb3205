"""Shared results: every fault of a submission is found, and a good one passes."""

from types import SimpleNamespace

import pytest
import shelf_records as made
from report_records import edit

from pdrop_eval.benchmarks.stored_tally import stored_tally
from pdrop_eval.report.paired import known
from pdrop_eval.report.share.checking import Limits, check
from pdrop_eval.report.share.merging import merge
from pdrop_eval.report.share.submission import read_submission
from pdrop_eval.utils.errors import UserError

GOOD = "title: a sweep\nby: me\nlicense: CC0-1.0\n"


@pytest.fixture
def mine(tmp_path):
    """A submission of two runs."""
    made.add(tmp_path / "runs", "vanilla", 16, n=20, keys=("gqa",))
    made.add(tmp_path / "runs", "fastv", 14, 48, budget={"tokens": 48}, n=20, keys=("gqa",))
    merge([tmp_path / "runs"], tmp_path / "community" / "me", public=True)
    (tmp_path / "community" / "me" / "submission.yaml").write_text(GOOD)
    return tmp_path / "community" / "me"


def run_of(folder, strategy="fastv"):
    (found,) = folder.glob(f"*/{strategy}-*")
    return SimpleNamespace(folder=found)


def faults(folder, **limits):
    return check(folder.parent, Limits(**limits)).faults


def test_a_good_submission_has_no_fault_in_the_folder_of_all_or_alone(mine):
    (mine.parent / "README.md").write_text("how to")
    for root in (mine.parent, mine):
        found = check(root, Limits())
        assert (found.submissions, found.runs, found.faults) == (1, 2, [])


def test_where_there_is_nothing_all_is_not_well(tmp_path):
    (tmp_path / "README.md").write_text("how to")
    with pytest.raises(
        UserError, match="has nothing to check: a submission is a folder in it with submission"
    ):
        check(tmp_path, Limits())
    with pytest.raises(UserError, match="is no folder"):
        check(tmp_path / "none", Limits())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "submission.yaml is missing"),
        ("title: a\n", "by: Field required"),
        (GOOD + "email: a@b.c\n", "email: Extra inputs"),
        (GOOD.replace("CC0-1.0", "GPL"), "license: it must be one of CC0-1.0"),
        (GOOD.replace("a sweep", "'<b>'"), "title: it must be a line of plain text"),
        ("- a\n", "write fields with values"),
        ("title: [\n", "can't be read"),
    ],
)
def test_what_a_submission_says_of_itself_is_checked(mine, text, words):
    path = mine / "submission.yaml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_submission(mine)
    (fault,) = faults(mine)
    assert words in fault


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(status="failed"), "the run is failed"),
        (lambda r: r["identity"].update(a=1), "run_id isn't that of its identity"),
        (lambda r: r.update(command="pdrop-eval results=/srv/me/runs"), "its field command names a folder"),
        (lambda r: r.update(command="pdrop-eval judge.api_key=abcdefghij"), "or a secret"),
        (lambda r: r["strategy"].update(display_name="<script>"), "is no label for a table"),
        (lambda r: r["strategy"].update(display_name="x" * 81), "is no label for a table"),
        (lambda r: r["tasks"]["gqa"].update(score=71.0), "they give 70.0000 and its record says 71.0000"),
        (lambda r: r["tasks"]["gqa"].pop("samples_sha256"), "no samples_sha256"),
        (lambda r: r["tasks"]["gqa"].update(score="a"), "is damaged: its field 'tasks.gqa.score'"),
    ],
)
def test_a_record_s_faults_are_named(mine, change, words):
    edit(run_of(mine), change)
    found = faults(mine)
    assert any(words in fault for fault in found), found
    assert "abcdefghij" not in str(found)


def test_samples_that_were_changed_or_lost_are_named(mine):
    path = run_of(mine).folder / "samples" / "gqa.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"yes"', b'"yea"', 1))
    (fault,) = faults(mine)
    assert "its checksum is not the one in the record" in fault
    path.unlink()
    (fault,) = faults(mine)
    assert "No such file" in fault


def test_a_folder_of_the_machine_in_a_sample_is_named_but_not_in_what_was_asked(tmp_path, mine):
    import json

    from pdrop_eval.records.samples import checksum

    path = run_of(mine).folder / "samples" / "gqa.jsonl"

    def write(change):
        samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        change(samples[3])
        text = "".join(json.dumps(sample) + "\n" for sample in samples)
        path.write_text(text, "utf-8")
        edit(run_of(mine), lambda r: r["tasks"]["gqa"].update(samples_sha256=checksum(text.encode())))

    write(lambda sample: sample.update(prompt="Where is /srv/me/x?"))
    assert faults(mine) == []
    write(lambda sample: sample.update(image="/srv/me/x.png"))
    (fault,) = faults(mine)
    assert "doc_id 3: its field image names a folder" in fault


def test_what_is_kept_of_samples_must_be_what_they_add_up_to(tmp_path, mine):
    made.add(tmp_path / "kept", "dart", 13, 48, budget={"tokens": 48}, n=20, keys=("gqa",), tally=True)
    merge([tmp_path / "kept"], mine, public=True)
    assert faults(mine) == []
    run = run_of(mine, "dart")
    other = stored_tally("gqa", made.samples(14, 20))["values"]
    edit(run, lambda record: record["tasks"]["gqa"]["tally"].update(values=other))
    (fault,) = faults(mine)
    assert "its tally isn't what its samples add up to" in fault


def test_comparisons_that_tables_keep_beside_the_records_are_no_fault(mine):
    for root in (mine, mine.parent):
        kept = root / known.FILE
        kept.parent.mkdir()
        kept.write_text("{}")
        assert check(root, Limits()).faults == []
    (mine / known.FILE).rename(mine / known.FILE.parent / "other.json")
    assert "other.json belongs to no record" in faults(mine)[0]


def test_files_that_belong_to_no_record_links_and_sizes_are_named(mine):
    (mine / "picture.png").write_bytes(b"x" * 3000)
    (mine / "mini576" / "link").symlink_to(mine)
    found = faults(mine, file=0.002, submission=0.003)
    for words in ("picture.png belongs to no record", "link is a link", "max_file_mb=0.002", "max_mb=0.003"):
        assert any(words in fault for fault in found), words


def test_a_run_in_a_folder_of_another_name_is_named(mine):
    folder = run_of(mine).folder
    folder.rename(folder.with_name("mine"))
    assert any("its folder has another name" in fault for fault in faults(mine))


def test_a_benchmark_that_only_its_owner_has_is_named_with_what_to_do(mine):
    """Of two runs one has questions that are in no registry."""
    edit(run_of(mine), lambda record: record["tasks"]["gqa"].update(benchmark="shapes_exact_match"))
    found = [one for one in faults(mine) if "shapes_exact_match" in one]
    assert len(found) == 1
    assert "questions of your own: it can't be shared. Remove this run's folder" in found[0]
