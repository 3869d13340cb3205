"""docs/benchmarks.md is what the registry says."""

from pathlib import Path

from pdrop_eval.benchmarks.registry import benchmarks
from tools.release.benchmarks_doc import catalogue

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "benchmarks.md"


def test_the_document_is_made_from_the_registry():
    assert DOCUMENT.read_text(encoding="utf-8") == catalogue(), "run make benchmarks-doc"


def test_every_benchmark_has_its_row_its_reason_and_its_columns():
    text = catalogue()
    for benchmark in benchmarks().values():
        plain = text.replace("\\", "")
        assert f"| {benchmark.name} " in plain
        assert f"- **{benchmark.name}**: {benchmark.comparable}. {benchmark.why}".strip() in plain
        assert f"- `{benchmark.task}`: `{benchmark.columns[0]}`" in plain


def test_the_tables_of_a_benchmark_are_named():
    rows = {
        line.split("|")[1].strip(): line.split("|")[-2].strip()
        for line in catalogue().splitlines()
        if "|" in line
    }
    assert rows["MME"] == "1, 3, 4, 5"
    assert rows["SQA-I"] == "3, 5"
    assert rows["OCRVQA"] == "2"
    assert rows["MM-Vet"] == "none"
