"""A small run of `make fuzz`: damaged input is taken or refused in words, and a fault is seen as one."""

import json
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = {"record_bytes": 20, "record_fields": 30, "sample_bytes": 30, "sample_fields": 30, "overrides": 20,
         "task_file": 80, "checkpoint_config": 12}  # fmt: skip


@pytest.fixture(scope="module")
def fuzz():
    from tools.robustness import fuzz as module

    return module


@pytest.mark.thin(2)
@pytest.mark.parametrize("kind", CASES)
def test_damaged_input_is_taken_or_refused_in_words(fuzz, kind, tmp_path):
    ends, faults = fuzz.fuzz(kind, CASES[kind], 1, tmp_path)
    print(f"fuzz {kind}: {dict(ends)}")  # in the log: pytest -rP
    assert not faults
    assert ends["taken"] + ends["refused"] == CASES[kind]
    assert ends["refused"] > 0


def test_the_whole_input_is_taken(fuzz, tmp_path):
    made = fuzz.Fuzz(tmp_path)
    fuzz.show(tmp_path / "runs")
    fuzz.compare(tmp_path / "runs")
    assert len(made.samples) == 10


def test_a_case_can_be_repeated_and_a_fault_is_named_with_its_seed(fuzz, tmp_path, monkeypatch):
    value = {"a": [1, {"b": "c"}], "d": None}
    damaged = [fuzz.damaged_value(value, random.Random(3)) for _ in range(2)]
    assert json.dumps(damaged[0]) == json.dumps(damaged[1]) != json.dumps(value)
    assert value == {"a": [1, {"b": "c"}], "d": None}
    monkeypatch.setattr(fuzz, "show", lambda _: {}["tflops"])
    ends, faults = fuzz.fuzz("record_fields", 2, 41, tmp_path)
    assert ends == {"faults": 2}
    assert faults[0].startswith("record_fields, seed 41: KeyError: \"'tflops'\"")
