"""Records and samples are parsed by a faster parser, to the very values and words of the careful one."""

import pytest

from pdrop_eval.records.json_text import parsed


@pytest.mark.parametrize(("text", "value"), [
    ('{"a": [1, -0, 2.5, 1e5, null, true], "b": "é\\ud83d\\ude00 Infinity"}',
     {"a": [1, 0, 2.5, 100000.0, None, True], "b": "é😀 Infinity"}),
    ("0.1000000000000000055511151231257827", 0.1),
    ("123456789012345678901234567890", 123456789012345678901234567890),
    ("[" * 300 + "]" * 300, None),
])  # fmt: skip
def test_what_is_right_is_itself(text, value):
    found = parsed(text)
    if value is None:  # deeper than the faster parser goes
        assert str(found) == text
    else:
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("text", "words"), [
    ("[1e999]", "1e999' is too large for a number"),
    ('{"x": -1.5E+400}', "too large"),
    ("[NaN]", "NaN is no number in JSON"),
    ('{"Infinity": Infinity}', "Infinity is no number in JSON"),
    ('["\\ud800"]', "half a character"),
    ("[1,]", "Expecting value: line 1"),
    ("[1] 2", "Extra data"),
    ("", "Expecting value"),
    ("[" * 100_000, "nested too deeply"),
])  # fmt: skip
def test_what_is_wrong_is_refused_in_the_words_of_the_careful_one(text, words):
    with pytest.raises(ValueError, match=words):
        parsed(text)
