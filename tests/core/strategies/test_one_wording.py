"""What several strategies say is said by one function, in the same words. Needs no torch."""

import inspect
from dataclasses import fields
from importlib import import_module

import pytest

from pdrop_eval.strategies.depth import earlier_note
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.errors import UserError


def classes():
    """The classes of all strategies, by name."""
    return {name: getattr(import_module(info.module), info.class_name) for name, info in installed().items()}


def with_positions():
    """The names of the strategies that have the setting."""
    return [name for name, kind in classes().items() if "positions" in {one.name for one in fields(kind)}]


@pytest.mark.parametrize("name", with_positions())
@pytest.mark.parametrize("given", ["close", 1, ["keep"]])
def test_wrong_positions_are_refused_alike(name, given):
    kind = classes()[name]
    with pytest.raises(UserError) as caught:
        kind(positions=given)
    assert str(caught.value) == f"positions={given!r} is unknown: use one of 'keep', 'renumber'."


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("fastv", "A drop before layer 2 can't reach that, so it comes earlier."),
        ("dart", "A drop before layer 2 can't reach that, so it comes earlier."),
        ("pdrop", "Drops before layers 8, 16, 24 can't reach that, so they come earlier."),
        ("feather", "Drops before layers 8, 16 can't reach that, so they come earlier."),
        ("v2drop", "Drops before layers 3, 17, 22 can't reach that, so they come earlier."),
        ("sparsevlm", "Drops before layers 3, 7, 16 can't reach that, so they come earlier."),
    ],
)
def test_a_budget_that_moves_drops_says_so_in_one_sentence(name, usual):
    notes = {layout.note for layout in classes()[name].budget_layouts(32)}
    assert notes == {"", usual}


def test_no_other_strategy_has_a_sentence_of_its_own():
    known = {earlier_note([1]), earlier_note([1, 2])}
    assert known == {
        "A drop before layer 1 can't reach that, so it comes earlier.",
        "Drops before layers 1, 2 can't reach that, so they come earlier.",
    }
    for name, kind in classes().items():
        source = inspect.getsource(inspect.getmodule(kind))
        assert "can't reach that" not in source, name
