"""Masks of retained tokens."""

import base64

import pytest

from pdrop_eval.records.token_mask import pack, unpack


def test_the_first_token_is_the_highest_bit():
    assert base64.b64decode(pack([True] + [False] * 8)) == b"\x80\x00"
    assert base64.b64decode(pack([False] * 8 + [True])) == b"\x00\x80"


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 144, 2928])
def test_what_was_packed_comes_back(n):
    flags = [i % 3 == 0 or i % 7 == 2 for i in range(n)]
    assert unpack(pack(flags), n) == flags


@pytest.mark.parametrize(
    ("mask", "n"), [("AA==", 9), ("AAA=", 8), ("?", 8), ("A", 8), ("/w==", 7), ("\u20ac", 8)]
)
def test_what_is_no_mask_of_so_many_tokens_is_refused(mask, n):
    with pytest.raises(ValueError, match="mask"):
        unpack(mask, n)
