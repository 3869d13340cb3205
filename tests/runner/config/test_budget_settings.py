"""budget.* on the command line: solved before a model is loaded, said and recorded."""

from dataclasses import replace

import pytest

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.run.evaluate.header import make_header
from pdrop_eval.utils.errors import UserError


def header(llava, data, strategy, *overrides):
    given = [
        f"model.pretrained={llava}",
        f"data.root={data}",
        "tasks=[gqa]",
        f"strategy={strategy}",
        *overrides,
    ]
    return make_header(cli.make_plan(compose_spec(given)), "pdrop-eval")[1]


def test_the_record_has_what_was_asked_and_what_was_found(llava, data):
    """4 layers of 16, 10, 6, 3 image tokens: 8.75 in the mean, from lambda .625 on; at .630 the 3 is a 4."""
    made = header(llava, data, "pdrop", "budget.tokens=8.9", "strategy.rank_with=last_layer")
    assert made["budget"]["asked"] == {"tokens": 8.9}
    assert made["budget"]["reached"]["tokens"] == 8.75
    assert made["budget"]["reached"]["counts"] == (10, 6, 3)
    fields = made["strategy"]["fields"]
    assert (fields["ratio"], fields["stages"], fields["rank_with"]) == (0.629, 4, "last_layer")
    assert made["efficiency"]["image_tokens_per_layer"] == list(made["budget"]["reached"]["schedule"])


def test_without_a_budget_there_is_none(llava, data):
    for override in ([], ["budget=null"], ["~budget"], ["budget.tokens=null"]):
        assert header(llava, data, "pdrop", *override)["budget"] is None


def test_the_run_says_what_was_found(llava, data, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)  # under make, the advice is in its words
    given = [f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]", "strategy=fastv"]
    config = compose_spec([*given, "budget.share=0.6", f"results={tmp_path}"])
    record = cli.evaluate(config)
    # (2·16 + 2·3) / 64 = .59375: k=2, and 3 of 16 image tokens are left
    assert record["tasks"]["gqa"]["retained_tokens_per_layer"] == [16, 16, 3, 3]
    out, err = capsys.readouterr()
    assert "Budget share=0.6: k=2 r=0.8" in err
    assert "budget share=0.6: k=2 r=0.8" in out
    assert "strategy=pdrop" in out  # what to run next; vanilla can't have a budget


def refused(llava, data, *overrides):
    strategy = next((o.split("=")[1] for o in overrides if o.startswith("strategy=")), "pdrop")
    with pytest.raises(UserError) as error:
        header(llava, data, strategy, *overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy=vanilla", "budget.share=0.5"], ["vanilla drops nothing", "strategy=fastv"]),
        # 16, 6, 2, 1 at lambda = .397, where the last one stays
        (["budget.tokens=1"], ["tokens=1 can't be reached", "from 6.25 ", "to 16 "]),
        (["budget.tflops=8"], ["tflops=8 can't be reached"]),
        (["strategy=cdpruner", "budget.tokens=9"], ["strategy.text_tower=openai/clip-vit-large-patch14-336"]),
        (["budget.share=0.5", "budget.tokens=9"], ["budget.tokens=9, budget.share=0.5", "one of them"]),
        (["budget.share=0"], ["budget.share=0", "above 0"]),
        (["budget.share=half"], ["budget.share='half'"]),
        (["budget=3"], ["budget=3", "budget.tokens"]),
        (["+budget.token=3"], ["'token'", "Did you mean tokens?"]),
        (["budget.tokns=9"], ["setting of budget: 'tokns'", "Did you mean tokens?"]),
        (["budget.share=0.5", "strategy.ratio=0.5"], ["strategy.ratio=0.5", "budget.share=0.5", "Leave one"]),
        (["budget.share=0.5", "strategy.layers=[1,2]"], ["strategy.layers=[1,2]"]),
        (["strategy=fastv", "budget.share=0.5", "strategy.k=3"], ["strategy.k=3"]),
        (["strategy=fastv", "budget.share=0.5", "strategy.attention_rank=9"], ["strategy.attention_rank=9"]),
    ],
)
def test_wrong_budgets(llava, data, overrides, words):
    message = refused(llava, data, *overrides)
    for word in words:
        assert word in message


def test_what_is_said_of_a_budget_keeps_the_budgets_name(llava, data):
    message = refused(llava, data, "strategy=random", "budget.tokens=17")  # which has a setting `tokens`
    assert message.startswith("budget.tokens=17 can't be reached by Random")


def test_an_experiments_run_with_its_own_ratio_takes_no_budget(llava, data):
    """Its overrides don't come from the command line."""
    config = compose_spec(
        [f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]", "strategy.ratio=0.4"]
    )
    config = replace(config, budget=replace(config.budget, share=0.5))
    with pytest.raises(UserError, match=r"strategy\.ratio=0\.4 can't be given with a budget"):
        make_header(cli.make_plan(config), "pdrop-eval")


def test_a_setting_by_which_a_strategy_fills_in_others_takes_a_budget(llava, data):
    """SparseVLM's version decides what its ratios are by default: nobody has given them."""
    given = [f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]", "strategy=sparsevlm"]
    config = compose_spec([*given, "strategy.version=plus", "budget.share=0.6"])
    strategy, made, _ = make_header(cli.make_plan(config), "pdrop-eval")
    assert strategy.version == "plus"
    assert 0.4 < made["budget"]["reached"]["share"] <= 0.6


def test_a_budget_of_feather_is_the_most_that_it_can_retain(llava, data):
    given = [f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]", "strategy=feather"]
    _, made, _ = make_header(cli.make_plan(compose_spec([*given, "budget.share=0.6"])), "pdrop-eval")
    assert 0.4 < made["budget"]["reached"]["share"] <= 0.6
    assert made["efficiency"]["measured"]  # the record will say how many there were


def test_the_budget_holds_for_the_grids_that_are_set(llava_next, data):
    """144 image tokens of p9's 8 tiles and overview, not the checkpoint's own grids."""
    given = [f"model.pretrained={llava_next}", f"data.root={data}", "tasks=[gqa]", "model=llava_next_7b"]
    config = compose_spec([*given, "model.anyres=p9", "strategy=fastv", "budget.tflops=0.000005"])
    strategy, made, _ = make_header(cli.make_plan(config), "pdrop-eval")
    assert made["budget"]["reached"]["image_tokens"] == 144
    assert made["efficiency"]["tflops"] == made["budget"]["reached"]["tflops"] <= 5e-6
    assert strategy.reached.asked == "tflops=5e-06"
