"""What holds for every record, sample and name, on examples that hypothesis looks for."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as some

from pdrop_eval.records.schema import find_fault
from pdrop_eval.records.store import Run, load_records, load_samples
from pdrop_eval.report.formats.markdown import escaped
from pdrop_eval.report.tables.csv_export import write_csv
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_inner_path, is_plain_name, parse

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)
FEW = settings(max_examples=40, deadline=None, derandomize=True)
NUMBERS = some.floats(allow_nan=False, allow_infinity=False) | some.integers(-(2**53), 2**53)
TEXTS = some.text(max_size=30) | some.sampled_from(["\u2028", "\x85", "\x00", "\r\n", "é\u0301", "=1+1", "|"])
VALUES = some.recursive(
    some.none() | some.booleans() | NUMBERS | TEXTS,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SAMPLES = some.fixed_dictionaries(
    {"doc_id": some.integers(0, 99), "answer": TEXTS, "target": VALUES, "score": some.none() | some.just(0.5)}
)


@FEW
@given(some.lists(SAMPLES, max_size=4), VALUES, TEXTS)
def test_what_is_recorded_is_what_is_read(samples, value, answer):
    with tempfile.TemporaryDirectory() as root:
        header = {"model": {"name": "m"}, "strategy": {"name": "s"}, "hardware": {"any": value}}
        with Run.open(Path(root), "m", "s", {"value": value}, header) as run:
            result = {"benchmark": "gqa", "score": 1.5, "n": 1, "predictions": "predictions/gqa.json"}
            run.add_task("gqa", result, [*samples, {"doc_id": 99, "answer": answer}])
            run.complete()
        (record,) = load_records(Path(root))
        assert record["hardware"] == {"any": value}
        assert record["identity"] == {"value": value}
        assert load_samples(run.folder, "gqa") == [*samples, {"doc_id": 99, "answer": answer}]


@EXAMPLES
@given(VALUES)
def test_json_is_read_as_it_was_written(value):
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False)) == value


@EXAMPLES
@given(some.text(max_size=40) | VALUES.map(json.dumps).map(lambda text: text[:-1]) | some.just("[" * 10**5))
def test_any_text_is_a_value_that_can_be_written_again_or_refused(text):
    try:
        found = parse(text)
    except ValueError:
        return
    written = json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert json.loads(written) == found


@EXAMPLES
@given(some.dictionaries(some.sampled_from([
    "run_id", "status", "created", "model", "strategy", "tasks", "suite", "identity", "config", "limit",
]), VALUES | some.dictionaries(some.sampled_from(["name", "code", "gqa", "patches"]), VALUES)))  # fmt: skip
def test_any_record_is_whole_or_its_fault_is_named(record):
    fault = find_fault({"schema": 2, **record})
    if fault is None:
        assert is_plain_name(record["run_id"])
        assert isinstance(record["model"]["name"], str)
    else:
        assert fault.isprintable()
        assert len(fault) < 300


@EXAMPLES
@given(some.text("./\\ab:\n\x00 ", max_size=12))
def test_a_plain_name_is_a_file_of_the_folder_and_an_inner_path_lies_beneath_it(name):
    folder = Path("/a/b")
    if is_plain_name(name):
        assert (folder / name).parent == folder
        assert name != ".."
    if is_inner_path(name):
        assert ".." not in (folder / name).parts
        assert (folder / name).is_relative_to(folder)


@EXAMPLES
@given(TEXTS)
def test_a_cell_is_one_line_and_no_formula(text):
    (_, row) = write_csv(["a"], [{"a": text}]).removesuffix("\n").split("\n")
    assert not row.lstrip('" ').startswith(("=", "@"))


@EXAMPLES
@given(TEXTS)
def test_markdown_has_no_bar_and_no_tag_of_its_own(text):
    shown = escaped(text).replace("\\\\", "")
    assert "\n" not in shown
    assert not {"|", "<", "*"} & set(shown.replace("\\|", "").replace("\\<", "").replace("\\*", ""))


def test_a_name_that_is_no_name_is_refused():
    record = {"schema": 2, "run_id": "..", "status": "started", "created": "2026-01-01", "tasks": {}}
    assert "plain name" in str(find_fault({**record, "model": {"name": "m"}, "strategy": {"name": "s"}}))
    assert issubclass(UserError, Exception)
