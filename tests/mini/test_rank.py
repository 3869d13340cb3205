"""How well the miniature's order predicts the published one: cells, correlation, interval, page."""

from types import SimpleNamespace

import pytest

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.store import Run
from pdrop_eval.strategies.registry import info_of
from pdrop_eval.utils.errors import UserError
from tools.mini import rank
from tools.mini.rank import Cell, cells, correlation

KEYS = ("gqa", "textvqa", "pope")


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(rank, "RESAMPLES", 200)


def row(strategy, scores, words=(), run=True, own=False, tokens=None):
    found = {name: SimpleNamespace(score=score) for name, score in zip(KEYS, scores, strict=True)}
    return SimpleNamespace(
        info=info_of(strategy), words=words, run=run or None, cells=found, own=own, tokens=tokens
    )


def board(*blocks, vanilla=(80.0, 50.0, 90.0)):
    whole = row("vanilla", vanilla) if vanilla else None
    made = [SimpleNamespace(share=share, rows=rows) for share, rows in blocks]
    return SimpleNamespace(vanilla=whole, blocks=made, model="LLaVA-1.5 mini")


def cell(strategy, tokens, measured, published):
    return Cell(strategy, tokens, measured, published, 1, "")


def add(root, strategy, score, tokens=None, n=120, model="mini576", sha256="ab" * 32, **fields):
    """Writes a run of `KEYS`, at a budget if `tokens` is given, with settings of its strategy."""
    config = {"strategy": {"_target_": "a.B", **fields}, "limit": n, "budget": {"tokens": tokens}}
    header = {
        "config": config,
        "limit": n,
        "model": {
            "name": model, "sha256": sha256, "size": "mini576", "patches": 1, "architecture": "llava-1.5",
            "train": "vanilla", "train_ratio": None,
        },
        "strategy": {"name": strategy, "fields": fields},
        "suite": {"name": "mini", "source": "rendered"},
        "changes": [
            *([f"budget.tokens={tokens}"] if tokens else []),
            *(f"strategy.{key}={value}" for key, value in fields.items()),
        ],
        "efficiency": {"image_tokens": 576, "image_tokens_per_layer": [tokens or 576] * 16, "measured": True},
    }  # fmt: skip
    identity = {"config": config, "name": strategy, "model": model, "sha256": sha256}
    with Run.open(root, model, strategy, identity, header) as run:
        for key in KEYS:
            entry = {"benchmark": key, "metric": "m", "score": score, "stderr": 1.0, "n": n}
            run.add_task(benchmarks()[key].task, {**entry, "data_sha256": f"data of {n}"}, [])
        run.complete()


def ranked(root):
    """The runs that are compared: two strategies at three budgets, and CDPruner with its text tower."""
    add(root, "vanilla", 80.0)
    for tokens in rank.BUDGETS:
        add(root, "fastv", 60.0, tokens)
        add(root, "sparsevlm", 70.0, tokens)
        add(root, "cdpruner", 75.0, tokens, text_tower="embedded:mini576_clip")
    add(root, "prumerge_plus", 78.0)


def test_what_else_a_shelf_has_changes_nothing(tmp_path):
    """Variations, strategies that aren't compared, other models; most of the runs ask other questions."""
    ranked(tmp_path / "rank")
    ranked(tmp_path / "shelf")
    add(tmp_path / "shelf", "sparsevlm", 1.0, version="1.0")
    add(tmp_path / "shelf", "vanilla", 90.0, model="mini576_pdrop_05", sha256="cd" * 32)
    for tokens in rank.BUDGETS:
        add(tmp_path / "shelf", "fastv", 1.0, tokens, n=240, rope=False)
        add(tmp_path / "shelf", "sparsevlm", 1.0, tokens, n=240, version="plus")
        add(tmp_path / "shelf", "vispruner", 1.0, tokens, model="mini576_pdrop_05", sha256="cd" * 32)
        for name in ("random", "pool", "fastervlm"):
            add(tmp_path / "shelf", name, 1.0, tokens, n=240)
    alone, among = (rank.board_of(tmp_path / name, "mini576", "budgets") for name in ("rank", "shelf"))
    assert len(cells(alone)) == 9
    assert cells(among) == cells(alone)
    assert rank.asked(among) == "120 of each benchmark for every strategy"
    assert rank._out(among) == rank._out(alone) != ""


def test_runs_of_several_weights_are_not_mixed(tmp_path):
    ranked(tmp_path)
    add(tmp_path, "divprune", 77.0, 64, sha256="cd" * 32)
    with pytest.raises(UserError, match="with 2 checkpoints"):
        rank.board_of(tmp_path, "mini576", "budgets")
    with pytest.raises(UserError, match=r"No run of mini576_next.*make rank"):
        rank.board_of(tmp_path, "mini576_next", "budgets")


def test_a_cell_compares_what_both_have_each_in_percent_of_its_own():
    found = cells(board((1 / 9, [row("divprune", (40.0, 45.0, 90.0))])))
    assert [(c.strategy, c.tokens, c.benchmarks) for c in found] == [("divprune", 64, 3)]
    assert found[0].measured == pytest.approx((50 + 90 + 100) / 3)
    gqa, text, pope = 57.78 / 61.9, 54.69 / 58.2, 85.56 / 85.9  # MMTok's table 1, which has all three
    assert found[0].published == pytest.approx(100 * (gqa + text + pope) / 3, abs=0.01)
    assert "MMTok" in found[0].source


def test_a_setting_that_every_run_needs_is_no_variation():
    found = cells(board((1 / 9, [row("cdpruner", (40.0, 45.0, 90.0), words=("text_tower=clip",))])))
    assert [c.strategy for c in found] == ["cdpruner"]
    assert cells(board((1 / 9, [row("divprune", (40.0, 45.0, 90.0), words=("rope=False",))]))) == []


def test_a_strategy_at_its_own_setting_is_a_cell_at_its_own_tokens_alone():
    """PruMerge+ is published at 128; the block is the nearest to what it measured, which may be far."""

    def placed(tokens):
        own = row("prumerge_plus", (40.0, 45.0, 90.0), own=True, tokens=tokens)
        return [c.tokens for c in cells(board((128 / 576, [own])))]

    assert placed(150.0) == []
    assert placed(130.0) == [128]


def test_claims_say_how_often_they_hold_here_and_as_published():
    found = [
        cell("pdrop", 192, 93.0, 96.0), cell("fastv", 192, 88.0, 90.0),
        cell("pdrop", 64, 70.0, 86.0), cell("fastv", 64, 75.0, 70.0),
    ]  # fmt: skip
    assert rank.claims(found) == (
        "- PDrop keeps more than FastV at 1 of 2 budgets here (93.0 and 88.0% at 192, 70.0 and 75.0% at 64), "
        "and as published at 2.\n"
        "- Of 1 pairs of strategies at 192 tokens 1 stand as published.\n"
        "- Of 1 pairs of strategies at 64 tokens 0 stand as published.\n"
    )


def test_groups_compare_their_own_benchmarks():
    measured = board((1 / 3, [row("fastv", (40.0, 45.0, 90.0))]))
    assert [c.measured for c in cells(measured, "recognition")] == [75.0]
    assert [c.measured for c in cells(measured, "reading")] == [90.0]


def test_a_mean_that_is_printed_alone_counts_for_all_and_for_no_group():
    measured = board((128 / 576, [row("vispruner", (40.0, 45.0, 90.0))]))
    (found,) = cells(measured)
    assert (found.measured, found.published) == (pytest.approx(80.0), 96.7)
    assert cells(measured, "reading") == []


def test_what_has_no_place_in_the_comparison_is_left_out():
    """Other budgets, other settings, what couldn't be run, and what isn't published at a budget."""
    rows = [
        row("divprune", (1.0, 1.0, 1.0), words=("layout=tile",)),
        row("fastv", (1.0, 1.0, 1.0), run=False),
        row("random", (1.0, 1.0, 1.0)),
    ]
    assert cells(board((0.5, [row("fastv", (1.0, 1.0, 1.0))]), (1 / 9, rows))) == []


def test_without_vanilla_there_is_nothing_to_compare_with():
    with pytest.raises(UserError, match="strategy=vanilla"):
        cells(board((1 / 9, []), vanilla=None))


@pytest.mark.parametrize(("sign", "value"), [(1, 1.0), (-1, -1.0)])
def test_the_same_order_correlates_fully_and_the_opposite_one_inversely(sign, value):
    found = [
        cell(name, t, sign * (i * 10 + t / 64), i * 10 + t / 64)
        for i, name in enumerate("abcd")
        for t in (64, 128)
    ]
    known = correlation(found)
    assert known is not None
    assert (known.value, known.low, known.high) == pytest.approx((value, value, value))
    assert (known.cells, known.strategies) == (8, 4)


def test_the_correlation_is_spearmans_and_its_interval_holds_strategies_together():
    """Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8. A strategy's cells are drawn together."""
    found = [cell("a", 64, 1, 1), cell("b", 64, 2, 3), cell("c", 64, 3, 2), cell("d", 64, 4, 4)]
    known = correlation(found)
    assert known is not None
    assert known.value == pytest.approx(0.8)
    assert known.low < 0.8 < known.high
    assert correlation(found[:2]) is None


def test_no_strategy_is_on_both_sides_of_the_split():
    assert not {*rank.CHOSEN_ON} & {*rank.TESTED_ON}
    assert len(rank.CHOSEN_ON) == len(rank.TESTED_ON) == 5


def test_each_strategy_has_a_marker_and_a_colour_of_its_own():
    found = [cell(name, 64, i, i) for i, name in enumerate((*rank.CHOSEN_ON, *rank.TESTED_ON))]
    drawn = [axes.get_lines() for axes in rank.drawn(found, "").axes]
    for lines in (drawn[0], drawn[1][:10]):  # the last line is the diagonal
        assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 10


def test_the_page_has_each_group_and_half():
    rows = [row(name, (70.0 - i, 45.0, 80.0 - i)) for i, name in enumerate(rank.CHOSEN_ON)]
    page = rank.summary(board((128 / 576, rows)))
    assert page.count("\n| all |") == 6  # with one for each budget
    assert page.count("\n| recognition |") == 3
    assert "too few cells" in page  # of the held-out half, none was run
    assert rank.table(cells(board((128 / 576, rows)))).count("chosen on") == 5
