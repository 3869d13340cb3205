"""What many records are read with gives what each line and each question alone would give."""

import hashlib
import json
import random
from pathlib import Path

import pytest
import shelf_records as made

from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.samples import checksum, each_sample, load_samples
from pdrop_eval.records.store import load_records
from pdrop_eval.report.paired import answers
from pdrop_eval.report.paired.answers import Answers, scores_of
from pdrop_eval.report.paired.effect import Scores
from pdrop_eval.report.paired.pairing import pair_samples
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import _may_be_large, parse

DIGITS = "9" * 309


@pytest.mark.parametrize("number", ["1e999", "1E+0400", "-1e309", f"{DIGITS}.5", f"-{DIGITS}.0", "1.5e400"])
@pytest.mark.parametrize("text", ["{}", "     [{}]", '{{"a":{}}}', '{{"hash": "0e123af",\n "a": {}\n}}'])
def test_a_number_beyond_what_a_float_holds_is_refused_wherever_it_stands(text, number):
    with pytest.raises(ValueError, match="too large"):
        parse(text.format(number))


def test_hashes_are_no_numbers_that_each_have_to_be_looked_at():
    hashes = [f"{i:03d}e{i:03d}{'0a1e999f' * 7}" for i in range(50)]
    hashes += [hashlib.sha256(str(i).encode()).hexdigest() for i in range(500)]
    text = json.dumps([*hashes, "1e999f", 1.5e-300, 2.5e99, 10**98], indent=2)
    assert not _may_be_large(text)
    assert json.dumps(parse(text), indent=2) == text


def test_samples_of_a_file_as_it_was_written_are_those_of_its_lines(tmp_path):
    (tmp_path / "samples").mkdir()
    lines = [
        json.dumps({"doc_id": 0, "answer": "紅\u2028 e1234,"}, ensure_ascii=False),
        "",
        '{"doc_id": 1, "retained": [[2, "AAA="]]}\r',
    ]
    told = [{"doc_id": 0, "answer": "紅\u2028 e1234,"}, {"doc_id": 1, "retained": [[2, "AAA="]]}]
    entry = _write(tmp_path, lines)
    assert load_samples(tmp_path, "gqa", entry) == list(each_sample(tmp_path, "gqa", entry)) == told
    assert load_samples(tmp_path, "gqa", {"n": 2}) == told  # nothing vouches for it: line by line


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['{"doc_id": 0}, {"doc_id": 1}', '{"doc_id": 2}'], "Extra data"),
        (['{"doc_id": 0', '"score": 1.0}'], "delimiter"),
        (['{"doc_id": 0}', '{"score": 1e999}'], "too large for a number"),
        (['{"doc_id": 0}', '{"score": "1"}'], "its field 'score' is '1', no number"),
        (['{"doc_id": 0}', "[]"], "a line holds no object"),
        (['{"doc_id": 0}', '{"answer": "\\ud800"}'], "lone surrogate"),
    ],
)
def test_a_damaged_line_is_named_though_a_record_vouches_for_the_file(tmp_path, lines, words):
    (tmp_path / "samples").mkdir()
    entry = _write(tmp_path, lines)
    for read in (load_samples, each_sample):
        with pytest.raises(UserError, match=words):
            list(read(tmp_path, "gqa", entry))


def _write(folder: Path, lines: list[str]) -> dict:
    content = "".join(f"{line}\n" for line in lines).encode()
    (folder / "samples" / "gqa.jsonl").write_bytes(content)
    return {"n": len(lines), "samples_sha256": checksum(content)}


def test_runs_that_were_asked_the_same_are_paired_by_place_with_the_same_numbers(tmp_path, monkeypatch):
    made.add(tmp_path, "vanilla", 80)
    made.add(tmp_path, "fastv", 70, 48)
    pair = sorted(to_runs(load_records(tmp_path)), key=lambda run: run.strategy)[::-1]
    one, other = (Answers.of(run, "gqa") for run in pair)
    told = Scores.of(pair_samples(*pair, "gqa", one.samples, other.samples))
    assert (told.baseline, told.candidate, told.found.changed) == (80.0, 70.0, 10)
    monkeypatch.setattr(answers, "pair_samples", None)  # it isn't asked
    assert scores_of(one, other) == told


@pytest.mark.parametrize(
    "change",
    [{"target": ["yes"]}, {"target": 1}, {"content_sha256": "f" * 64}, {"part": "b"}, {"cluster": 7}],
)
def test_runs_that_were_asked_something_else_are_not_paired_by_place(tmp_path, change):
    made.add(tmp_path, "vanilla", 80)
    (run,) = to_runs(load_records(tmp_path))
    one = Answers.of(run, "gqa")
    changed = [one.samples[0], {**one.samples[1], **change}, *one.samples[2:]]
    assert one.asks_as(Answers(run, "gqa", [*map(dict, one.samples)], one.tally))
    assert not one.asks_as(Answers(run, "gqa", changed, one.tally))
    mixed = random.Random(1).sample(one.samples, len(one.samples))
    assert not one.asks_as(Answers(run, "gqa", mixed, one.tally))
