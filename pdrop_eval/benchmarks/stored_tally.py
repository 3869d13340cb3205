"""What a record keeps of a task's samples: what they add up to, so that comparisons need not read them.

It is a task's `tally` in the record, with three texts:

- `asked`: a hash of what was asked, in order, and of the code that adds up. Runs with the same are paired by
  place, and what doesn't depend on their answers is that of any of them.
- `values`: the tally's `sums` and `influences`, then each question's score, as float64 to the last bit: the
  different ones, and the place of each among them, compressed, in hexadecimal digits.
- `samples`: the first digits of the checksum of the file of samples that it is of.

It is derived: whoever relies on it makes sure that the file is the one it is of, and that its score is the
record's; without one, or where one of them fails, the samples are read. `pdrop-eval-check-results` makes it
anew and compares.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.registry import Benchmark, registered
from pdrop_eval.benchmarks.scoring.metric import Metric
from pdrop_eval.benchmarks.scoring.rules import rule_module
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, unit_numbers
from pdrop_eval.utils.code.source_code import hash_modules
from pdrop_eval.utils.validation import is_finite_number, to_plain

_MOST = 2**27  # bytes of values: 15 million questions
_DIGITS = 32  # of the hash of what was asked
_HEAD = 4  # bytes of the number of different values


@dataclass(frozen=True)
class Added:
    """Samples, added up.

    Attributes:
        asked: A hash of what was asked, and of the code that adds up.
        n: How many samples count.
        tally: What they add up to.
        values: The tally's sums and influences, then each sample's score.
    """

    asked: str
    n: int
    tally: Tally
    values: np.ndarray


def stored_tally(benchmark: str, samples: Sequence[Sample]) -> dict[str, str] | None:
    """What a record keeps of a task's samples; None where a comparison has to read them.

    So it is of benchmarks that the registry doesn't have or that have no interval, and where a sample lacks
    what a comparison reads.
    """
    known = registered().get(benchmark)
    if known is None or known.no_interval:
        return None
    if any(sample_fault(sample, known.scale == "own") for sample in samples):
        return None
    counted = scored(samples)
    if not counted:
        return None
    added = added_up(known, counted)
    return {"asked": added.asked, "values": packed(added.values)}


def added_up(benchmark: Benchmark, samples: Sequence[Sample]) -> Added:
    """Samples that count, by doc_id, and that have no fault, added up."""
    tally = benchmark.rule.tally(samples)
    earned = [float(sample["score"]) for sample in samples]
    values = np.concatenate([tally.sums.ravel(), tally.influences, earned])
    return Added(_asked_sha256(benchmark.scoring, samples), len(samples), tally, values)


def scored(samples: Sequence[Sample]) -> list[Any]:
    """The samples that count, by doc_id."""
    counted = [sample for sample in samples if sample.get("score") is not None]
    return sorted(counted, key=lambda sample: sample["doc_id"])


def same_tally(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two records' tallies say the same; how they are compressed may differ."""
    first, second = (unpacked(tally["values"]) for tally in (one, other))
    same = first is not None and second is not None and np.array_equal(first, second)
    return bool(same and one["asked"] == other["asked"])


def asked_of(sample: Sample) -> str:
    """What a sample was asked: question and picture, and the part that it is of."""
    return f"{sample['content_sha256']} {sample.get('part', '')}"


def packed(values: np.ndarray) -> str:
    """Numbers as a text: few of a tally's are different."""
    found, places = np.unique(values, return_inverse=True)
    head = len(found).to_bytes(_HEAD, "little") + found.astype("<f8").tobytes()
    return zlib.compress(head + places.astype(_whole(len(found))).tobytes()).hex()


def unpacked(text: str) -> np.ndarray | None:
    """The numbers of a text; None where it isn't one that `packed` made."""
    try:
        stream = zlib.decompressobj()
        raw = stream.decompress(bytes.fromhex(text), _MOST)
        if not stream.eof:  # cut off: its checksum wasn't looked at
            return None
        count = int.from_bytes(raw[:_HEAD], "little")
        found = np.frombuffer(raw, "<f8", count, _HEAD)
        return found[np.frombuffer(raw, _whole(count), offset=_HEAD + found.nbytes)]
    except (ValueError, IndexError, zlib.error):
        return None


def with_values(tally: Tally, values: np.ndarray) -> Tally:
    """The tally of runs that were asked the same as another one's, from their values [runs, values].

    Sums and influences have the runs as their first axis.
    """
    units, k = tally.sums.shape
    sums = values[:, : units * k].reshape(len(values), units, k)
    return Tally(
        sums, tally.combine, tally.weights, tally.sizes, values[:, units * k : units * (k + 1)],
        tally.freedom, tally.strata,
    )  # fmt: skip


def sample_fault(sample: Sample, own: bool, foreign: bool = False) -> str | None:
    """What a sample lacks that a comparison reads, in words.

    Args:
        sample: The sample.
        own: Scores are on a scale of lmms-eval's own.
        foreign: It was imported, and may know neither the picture nor the target.
    """
    if type(sample.get("doc_id")) is not int:
        return "has no doc_id"
    if not isinstance(sample.get("content_sha256"), str) and not foreign:
        return "has no content_sha256"
    if not isinstance(sample.get("answer"), str) or (sample.get("target") is None and not foreign):
        return "has no answer or no target"
    score = sample.get("score")
    if score is not None and not (is_finite_number(score) and (own or 0 <= score <= 1)):
        return f"has the score {score!r}, no number from 0 to 1"
    if score is not None and sample.get("cluster", sample.get("images_sha256")) is None:
        return "has neither cluster nor images_sha256"
    return None


def _asked_sha256(scoring: str, samples: Sequence[Sample]) -> str:
    asked = [
        [asked_of(sample), to_plain(sample.get("target")), sample.get("images_sha256")] for sample in samples
    ]
    told = json.dumps([_code(scoring), unit_numbers(samples).tolist(), asked], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]


@cache
def _code(scoring: str) -> str:
    """The hash of what adds up the samples of a scoring rule, and of how that is packed."""
    names = [rule_module(scoring), Metric.__module__, Tally.__module__, __name__]
    return hash_modules({name: Path(str(import_module(name).__file__)) for name in names})


def _whole(count: int) -> str:
    """The kind of whole numbers that so many places need."""
    return "<u1" if count <= 2**8 else "<u2" if count <= 2**16 else "<u4"
