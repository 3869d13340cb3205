"""What the outputs of a comparison say of runs whose machine isn't known, and of fixed subsets."""

from pdrop_eval.report.compare.output.format import setting


def side(**more):
    usual = {"model": {"name": "mini"}, "suite": {"name": "mini"}, "limit": None}
    usual |= {"dtype": "float32", "device": "cpu"}
    return {**usual, **more}


def told(baseline, candidate):
    return setting({"runs": {"baseline": baseline, "candidate": candidate}})


def test_what_neither_run_says_is_left_out_and_what_one_says_is_named():
    served = side(model={"name": "vLLM EVS .5"}, dtype=None, device=None)
    assert told(served, served) == "model vLLM EVS .5, suite mini, limit none"
    assert told(side(), served) == (
        "model mini / vLLM EVS .5, suite mini, limit none, float32 / unknown, on cpu / unknown"
    )


def test_a_subset_is_named_where_there_is_one():
    assert told(side(subset="ci64"), side(subset="ci64")).split(", ")[2:4] == ["limit none", "subset ci64"]
    assert "subset ci64 / none" in told(side(subset="ci64"), side())
    assert "subset" not in told(side(), side(subset=None))
