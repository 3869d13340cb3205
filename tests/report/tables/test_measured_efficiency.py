"""The record of a strategy without a schedule says what its samples had, as soon as there are some."""

from pdrop_eval.records.store import measured_efficiency
from pdrop_eval.utils.text.numbers import run_lengths

ONE = {"n": 3, "retained_tokens_per_layer": [10.0, 10.0], "tflops_mean": 0.5}
TWO = {"n": 1, "retained_tokens_per_layer": [30.0, 30.0], "tflops_mean": 1.5}
NO_IMAGES = {"n": 5, "retained_tokens_per_layer": [], "tflops_mean": None}


def test_it_is_the_mean_over_all_samples_with_images():
    record = {"efficiency": {"image_tokens": 576, "image_tokens_per_layer": None, "measured": True}}
    found = measured_efficiency(record, {"a": ONE, "b": TWO, "c": NO_IMAGES})
    # (3 x 10 + 1 x 30) / 4, and (3 x 0.5 + 1 x 1.5) / 4
    assert found["efficiency"] == {
        "image_tokens": 576, "image_tokens_per_layer": [15.0, 15.0], "tflops": 0.75, "measured": True
    }  # fmt: skip


def test_a_schedule_stays_as_it_is():
    assert measured_efficiency({"efficiency": {"image_tokens_per_layer": [4, 2]}}, {"a": ONE}) == {}
    assert measured_efficiency({"efficiency": {"measured": True}}, {"c": NO_IMAGES}) == {}


def test_means_are_written_with_one_decimal_and_counts_whole():
    assert run_lengths([144, 144, 72]) == "144 x2, 72 x1"
    assert run_lengths([15.25, 15.25]) == "15.2 x2"
