"""Bugs planted in engine and strategies on purpose, and which checks notice each: none may pass unseen.

The checks are those of the contract (keep-all to contexts) and the oracle. What a strategy does wrong in
agreement with itself, such as to drop a layer too late, only the oracle's hand-written schedule can see.
"""

from dataclasses import dataclass, replace

import pytest
import test_contract
import test_oracle
import torch
from contract import PyramidDrop, case_of

from pdrop_eval.engine.interface import Drop
from pdrop_eval.engine.phases.prefill import Prefill
from pdrop_eval.engine.stages import ops
from pdrop_eval.models.kv_cache import cache_in

FAMILY = "llava_gqa"
CHECKS = {
    "keep-all": test_contract.test_keeping_all_is_vanilla_bit_for_bit,
    "schedule": test_contract.test_retained_tokens_follow_the_schedule,
    "best": test_contract.test_the_best_scored_tokens_are_retained,
    "batch": test_contract.test_a_batch_equals_its_rows_alone,
    "decode": test_contract.test_cached_decoding_equals_one_forward,
    "contexts": test_contract.test_contexts_follow_each_other,
}


def caught_by(monkeypatch, strategy):
    """The names of the checks that fail, in whatever way."""
    _, plan, renumber = test_oracle.PAIRS["pdrop"]
    monkeypatch.setitem(test_oracle.PAIRS, "planted", (strategy, plan, renumber))
    checks = {**CHECKS, "oracle": lambda *_: test_oracle.assert_agrees(case_of(FAMILY), "planted", 1)}
    found = set()
    for name, check in checks.items():
        try:
            check(strategy, FAMILY)
        except Exception:
            found.add(name)
    return found


def unsorted_ids(plant):
    """Two retained image tokens change places."""

    def compact(keep, length, right_aligned):
        columns, valid = original(keep, length, right_aligned)
        columns = columns.clone()
        columns[:, [-14, -9]] = columns[:, [-9, -14]]
        return columns, valid

    original = plant(ops, "compact", compact)


def doubled_kv(plant):
    """Layer 5 has its keys and values twice in the cache."""

    def enter_layer(self, number, layer, hidden, kwargs):
        cache = cache_in(kwargs)
        if number == 6 and cache is not None:
            fifth = cache.layers[5]
            fifth.keys, fifth.values = (torch.cat((x, x), 2) for x in (fifth.keys, fifth.values))
        return original(self, number, layer, hidden, kwargs)

    original = plant(Prefill, "enter_layer", enter_layer)


def dropped_text_token(plant):
    """Each drop takes the last token but one of the instruction with it."""

    def compact(keep, length, right_aligned):
        keep = keep.clone()
        keep[:, -2] = False
        return original(keep, length, right_aligned)

    original = plant(ops, "compact", compact)


def a_layer_late(plant):
    """The engine drops before the layer after the one that the strategy names; the report says otherwise."""

    def enter_layer(self, number, layer, hidden, kwargs):
        return original(self, number - 1, layer, hidden, kwargs)

    original = plant(Prefill, "enter_layer", enter_layer)


def wrong_query(plant):
    """The last token but one ranks."""

    def last_column(valid):
        return original(valid) - 1

    original = plant(ops, "last_column", last_column)


def stale_positions(plant):
    """After a drop tokens keep their positions, though decoding counts on the gaps being closed."""

    def next_stage(self, *arguments):
        stage = original(self, *arguments)
        first = self.stages[0].positions.expand(stage.index.shape[0], -1)
        return replace(stage, positions=first.gather(1, stage.index))

    original = plant(Prefill, "_next_stage", next_stage)


def batch_leak(plant):
    """Scores are the mean over the batch."""

    def query_scores(*arguments, **options):
        scores = original(*arguments, **options)
        return scores.mean(0, keepdim=True).expand_as(scores)

    original = plant(ops, "query_scores", query_scores)


def worst_retained(plant):
    """The ranking is upside down."""

    def top_mask(scores, candidates, counts):
        return original(-scores, candidates, counts)

    original = plant(ops, "top_mask", top_mask)


@dataclass
class LayerLate(PyramidDrop):
    """Off by one in the strategy itself: its report and its schedule agree, both wrong."""

    def drops(self, num_layers):
        return tuple(Drop(drop.layer + 1, drop.scoring_layer + 1) for drop in super().drops(num_layers))


@dataclass
class OneTooMany(PyramidDrop):
    def retained(self, num_layers, image_tokens):
        return tuple(min(image_tokens, count + 1) for count in super().retained(num_layers, image_tokens))


@dataclass
class ForgetsCounts(PyramidDrop):
    """Retains half of what is alive, whatever its schedule promises."""

    def select(self, view):
        return replace(super().select(view), counts=[count // 2 for count in view.alive[::-1]])


ENGINE = {
    unsorted_ids: {"schedule", "best", "batch", "decode", "oracle"},
    doubled_kv: {"keep-all", "schedule", "batch", "decode", "oracle"},
    dropped_text_token: {"batch", "decode", "oracle"},
    a_layer_late: {"schedule", "batch", "decode", "oracle"},
    wrong_query: {"decode", "oracle"},
    stale_positions: {"decode", "oracle"},
    batch_leak: {"batch", "oracle"},
    worst_retained: {"best", "oracle"},
}
STRATEGIES = {
    LayerLate: {"oracle"},
    OneTooMany: {"oracle"},
    ForgetsCounts: {"schedule"},
}


@pytest.fixture
def plant(monkeypatch):
    """Replaces a function of the engine, `plant(ops, "compact", wrong)`; returns the right one."""

    def replaced(where, name, wrong):
        right = getattr(where, name)
        monkeypatch.setattr(where, name, wrong)
        return right

    return replaced


def test_without_a_bug_no_check_fails(monkeypatch):
    assert caught_by(monkeypatch, PyramidDrop()) == set()


@pytest.mark.parametrize("bug", ENGINE, ids=lambda bug: bug.__name__)
def test_a_bug_in_the_engine_is_caught(bug, plant, monkeypatch):
    bug(plant)
    assert caught_by(monkeypatch, PyramidDrop()) == ENGINE[bug]


@pytest.mark.parametrize("bug", STRATEGIES, ids=lambda bug: bug.__name__)
def test_a_bug_in_a_strategy_is_caught(bug, monkeypatch):
    assert caught_by(monkeypatch, bug()) >= STRATEGIES[bug]
