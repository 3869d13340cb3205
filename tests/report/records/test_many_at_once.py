"""What many records are read with gives what each line and each question alone would give."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import shelf_records as made

from pdrop_eval.benchmarks.stored_tally import packed, same_tally, stored_tally, unpacked
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.samples import checksum, each_sample, load_samples, tally_of
from pdrop_eval.records.store import load_records
from pdrop_eval.report.paired.effect import Scores, mean_of
from pdrop_eval.report.paired.many import Many
from pdrop_eval.report.paired.pairing import pair
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


@pytest.mark.parametrize("tally", [True, False])
def test_runs_that_were_asked_the_same_are_paired_by_place_with_the_same_numbers(tmp_path, tally):
    made.add(tmp_path, "vanilla", 80, tally=tally)
    made.add(tmp_path, "fastv", 70, 48, tally=tally)
    made.add(tmp_path, "pdrop", 0, 48, tally=tally)
    fastv, pdrop, vanilla = _runs(tmp_path)
    pairs = [(vanilla, fastv), (fastv, pdrop), (pdrop, vanilla)]
    found = {(one.id, other.id): mean for (one, other), mean in Many(made.KEYS).means(pairs)}
    for baseline, candidate in pairs:
        told = mean_of([Scores.of(pair(baseline, candidate, key)) for key in made.KEYS])
        assert found[baseline.id, candidate.id] == told
    mean = found[vanilla.id, fastv.id]
    assert (mean.found.value, mean.found.changed, mean.relative) == (-10.0, 20, 87.5)
    assert found[pdrop.id, vanilla.id].left_out == made.KEYS


@pytest.mark.parametrize(
    "change",
    [
        {"target": ["yes"]}, {"target": 1}, {"content_sha256": "f" * 64}, {"part": "b"}, {"cluster": 7},
        {"doc_id": 1000},
    ],
)  # fmt: skip
def test_runs_that_were_asked_something_else_are_not_paired_by_place(tmp_path, change):
    for strategy in ("vanilla", "fastv"):
        made.add(tmp_path, strategy, 80, keys=("gqa",), tally=True)
    (fastv, vanilla), many = _runs(tmp_path), Many(("gqa",))
    assert len(list(many.means([(vanilla, fastv)]))) == 1
    path = Path(fastv.folder) / "samples" / "gqa.jsonl"
    samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    samples[1] |= change
    content = "".join(json.dumps(sample) + "\n" for sample in samples).encode()
    path.write_bytes(content)
    fastv.results["gqa"]["samples_sha256"] = checksum(content)
    assert list(Many(("gqa",)).means([(vanilla, fastv)])) == []
    kept = tally_of(checksum(content), stored_tally("gqa", samples))
    fastv.results["gqa"]["tally"] = kept
    assert list(Many(("gqa",)).means([(vanilla, fastv)])) == []


def test_a_tally_has_its_numbers_to_the_last_bit():
    kept = stored_tally("gqa", [{**one, "doc_id": 9 - one["doc_id"]} for one in made.samples(1, 2)])
    root = 50 * 0.5 * 2**0.5  # 50 points a question, half of them from the mean, for a sample of two
    # by doc_id the wrong answer is first; of each question what it earned and that it was asked
    assert unpacked(kept["values"]).tolist() == pytest.approx([0, 1, 1, 1, -root, root, 0, 1])
    odd = np.array([0.1, 1 / 3, -2.5e-310, 0.1])
    assert unpacked(packed(odd)).tobytes() == odd.tobytes()
    many = np.random.default_rng(1).random(70_000)
    assert np.array_equal(unpacked(packed(many)), many)


def test_nothing_is_kept_of_what_a_comparison_would_not_rely_on():
    whole = made.samples(1, 2)
    for lacking in ("content_sha256", "answer", "target", "doc_id"):
        assert stored_tally("gqa", [whole[0], {**whole[1], lacking: None}]) is None
    assert stored_tally("gqa", [{**whole[0], "score": None}]) is None
    assert stored_tally("my own questions", whole) is None
    assert same_tally(stored_tally("gqa", whole), stored_tally("gqa", whole[::-1]))
    assert not same_tally(stored_tally("gqa", whole), stored_tally("gqa", made.samples(2, 2)))


def _runs(root):
    return sorted(to_runs(load_records(root)), key=lambda run: run.strategy)
