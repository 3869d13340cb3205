"""What is found of training: differences of known truth, in samples that were made for it."""

import math
import re
import sys
from pathlib import Path

import pytest
from report_records import FIELDS, LLAVA_15, NEXT_P5, training_record

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.difference import mean_difference, tango
from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import Run, load_records
from pdrop_eval.report.findings import page as findings_page
from pdrop_eval.report.findings.questions import FASTV, GAIN, MATCH, QUESTIONS, UNTRAINED, find, printed
from pdrop_eval.report.paired.pairing import CannotCompareError, compare

PDROP = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.5}
MATCHED = ("vanilla", LLAVA_15), ("pdrop", PDROP)


def sample(place, earned, **more):
    """A question's record; of a picture of its own, unless `cluster` says otherwise."""
    content = more.pop("content", f"question {place}")
    said = {"target": "yes", "answer": "yes" if earned else "no"}
    return {"doc_id": place, "score": earned, "cluster": place, "content_sha256": content, **said, **more}


@pytest.fixture
def answered(tmp_path):
    """Writes a run with its samples: `answered("pdrop", PDROP, {"gqa": ([samples], score)})`; returns it."""

    def add(strategy, kind, results, training=None, **settings):
        fields = {**FIELDS[strategy], **settings.pop("fields", {})}
        config = {"strategy": fields, "seed": 1, "limit": None, **settings}
        model = {"name": _model(kind), "sha256": str(kind), **kind, "training": training}
        header = {
            "config": config,
            "limit": None,
            "model": model,
            "strategy": {"name": strategy, "fields": {}},
            "suite": {"name": "mini", "source": "rendered"},
        }
        with Run.open(tmp_path / "runs", model["name"], strategy, {"config": config, **kind}, header) as run:
            for key, (samples, score) in results.items():
                entry = {"benchmark": key, "metric": "m", "score": score, "stderr": 1.0, "n": len(samples)}
                run.add_task(benchmarks()[key].task, {**entry, "data_sha256": key}, samples)
            run.complete()
        return next(r for r in runs() if r.folder == str(run.folder))

    def runs():
        return to_runs(load_records(tmp_path / "runs"))

    add.runs = runs
    return add


def _model(kind):
    if kind["train"] == "vanilla":
        return "mini576" if kind["architecture"] == "llava-1.5" else "mini576_next_p5"
    start = "mini576" if kind["architecture"] == "llava-1.5" else "mini576_next_p5"
    return f"{start}_pdrop_0{int(kind['train_ratio'] * 10)}"


def graded(marks, **more):
    """Samples of a mean with these marks, and their score."""
    return [sample(i, float(mark), **more) for i, mark in enumerate(marks)], 100 * sum(marks) / len(marks)


@pytest.fixture
def pair(answered):
    """The two runs of the first question, of one benchmark: without dropping, and with PyramidDrop."""

    def make(key, vanilla, pdrop):
        runs = [answered(*row, {key: result}) for row, result in zip(MATCHED, (vanilla, pdrop), strict=True)]
        return compare(runs[1], runs[0], key)

    return make


def half_width(difference):
    low, high = difference.interval
    return (high - low) / 2


def test_a_difference_of_single_questions_has_the_error_of_its_own_changes(pair):
    # 20 of 100 questions are lost. Of the changes, -1 with probability .2, the standard error is
    # sqrt(.2 * .8 / 100) = .04: 1.96 * 4 points.
    found = pair("gqa", graded([1] * 100), graded([0] * 20 + [1] * 80))
    assert (found.value, found.n, found.clusters, found.changed) == (pytest.approx(-20), 100, 100, 20)
    assert half_width(found) == pytest.approx(1.96 * 4, rel=0.06)
    assert found.sign == -1


def test_what_both_find_hard_is_no_uncertainty_of_their_difference(pair):
    # Both have half of 100 right; 2 questions are gained and 2 lost: Tango's interval of 2 and 2.
    # Two independent halves would have 1.96 * 100 * sqrt(.25 / 100 * 2) = 13.9.
    vanilla, pdrop = [1] * 50 + [0] * 50, [0, 0] + [1] * 48 + [1, 1] + [0] * 48
    found = pair("gqa", graded(vanilla), graded(pdrop))
    assert found.value == pytest.approx(0)
    assert half_width(found) == pytest.approx(100 * tango(2, 2, 100, 1.984)[1], rel=0.01)
    assert (found.changed, found.sign) == (4, 0)


def test_questions_of_one_picture_are_drawn_together(pair):
    # 50 pictures with 4 questions each; 10 pictures lose all of theirs: sqrt(.2 * .8 / 50) = .0566
    whole = [sample(i, 1.0, cluster=i // 4) for i in range(200)]
    less = [sample(i, float(i // 4 >= 10), cluster=i // 4) for i in range(200)]
    found = pair("gqa", (whole, 100.0), (less, 80.0))
    assert (found.n, found.clusters) == (200, 50)
    assert half_width(found) == pytest.approx(1.96 * 100 * math.sqrt(0.16 / 50), rel=0.06)


def test_without_a_recorded_cluster_the_picture_is_it(pair):
    marks = [
        [sample(i, float(mark), images_sha256=str(i // 2)) for i, mark in enumerate(row)]
        for row in ([1, 1, 1, 1], [1, 1, 0, 1])
    ]
    for one in (*marks[0], *marks[1]):
        del one["cluster"]
    assert pair("gqa", (marks[0], 100.0), (marks[1], 75.0)).clusters == 2


def mme(*pairs):
    """Samples of MME: pairs of (category, right, right)."""
    return [
        sample(2 * i + j, float(mark), cluster=i, part=category)
        for i, (category, *marks) in enumerate(pairs)
        for j, mark in enumerate(marks)
    ]


def test_mme_sums_accuracy_and_accuracy_plus_over_its_categories(pair):
    # color: (200 + 50) / 2 = 125; count: 0. Against color 200 and count 200: 275 less, over 20.
    less = mme(("color", 1, 1), ("color", 1, 0), ("count", 0, 0), ("count", 0, 0))
    whole = mme(("color", 1, 1), ("color", 1, 1), ("count", 1, 1), ("count", 1, 1))
    found = pair("mme", (whole, 400.0), (less, 125.0))
    assert found.value == pytest.approx(-275 / 20)
    # count has lost as much with each picture. color: 0 and -150 / 2, 37.5 from their mean, times sqrt(2)
    assert found.error == pytest.approx(math.sqrt(2) * math.hypot(37.5, 37.5) / 20)


def pope(*rows):
    return [
        sample(i, float(said == truth), cluster=i, part=part, target=truth, answer=said)
        for i, (part, truth, said) in enumerate(rows)
    ]


def test_pope_is_the_mean_f1_of_its_categories(pair):
    # random: F1 = 1. popular: yes to both: TP 1, FP 1, F1 = 2/3
    whole = pope(("popular", "yes", "yes"), ("popular", "no", "no"), ("random", "yes", "Yes "))
    less = pope(("popular", "yes", "yes"), ("popular", "no", "yes"), ("random", "yes", "Yes "))
    found = pair("pope", (whole, 100.0), (less, 100 * (2 / 3 + 1) / 2))
    assert found.value == pytest.approx(-100 / 6)


def test_an_answer_beside_yes_and_no_is_counted_as_lmms_eval_does(answered):
    # TP 1, FN 1, FP 1: precision and recall 1/2, F1 1/2. "red" and "blue" count for neither.
    rows = [("yes", "yes"), ("yes", "red"), ("yes", "no"), ("no", "yes"), ("no", "blue")]
    samples = pope(*(("random", truth, said) for truth, said in rows))
    runs = [answered(*row, {"pope": (samples, 50.0)}) for row in MATCHED]
    assert compare(*runs, "pope").value == 0  # it would be refused if the score were another


def test_mmstar_is_the_mean_of_its_groups(pair):
    def made(marks):
        return [sample(i, float(m), part="geo" if i < 3 else "dia") for i, m in enumerate(marks)]

    # geo 2/3, dia 1: 5/6. Against 1 and 1.
    found = pair("mmstar", (made([1, 1, 1, 1, 1]), 100.0), (made([1, 0, 1, 1, 1]), 100 * 5 / 6))
    assert found.value == pytest.approx(-100 / 6)


def test_the_mean_has_the_error_of_independent_benchmarks(answered):
    lost, kept = graded([0] * 20 + [1] * 80), graded([1] * 100)
    keys = ("gqa", "textvqa")
    runs = [
        answered(*row, dict.fromkeys(keys, result)) for row, result in zip(MATCHED, (kept, lost), strict=True)
    ]
    found = mean_difference([compare(runs[1], runs[0], key) for key in keys])
    assert (found.value, found.n) == (pytest.approx(-20), 200)
    # two independent errors of 4 points: sqrt(16 + 16) / 2 = 2.83
    assert half_width(found) == pytest.approx(1.96 * math.sqrt(32) / 2, rel=0.06)


def test_where_no_question_came_out_differently_the_interval_holds_zero(pair):
    found = pair("gqa", graded([1, 0, 1]), graded([1, 0, 1]))
    assert (found.value, found.changed, found.sign) == (0, 0, 0)
    assert found.interval[0] < 0 < found.interval[1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda rows: rows[0].update(content_sha256="another"), "1 of 3 questions were asked of"),
        (lambda rows: rows[0].update(score=0.0), "give 66.6667 and its record says 100.0000"),
        (lambda rows: rows[0].update(score=None), "2 scored samples for 3 questions"),
    ],
)
def test_what_does_not_belong_together_is_not_compared(answered, spoil, reason):
    samples, score = graded([1, 1, 1])
    one = answered("vanilla", LLAVA_15, {"gqa": (samples, score)})
    other = [dict(row) for row in samples]
    spoil(other)
    with pytest.raises(CannotCompareError, match=reason):
        compare(answered("pdrop", PDROP, {"gqa": (other, score)}), one, "gqa")


def test_samples_that_are_gone_are_a_reason(answered):
    one, other = (answered(*row, {"gqa": graded([1, 0])}) for row in MATCHED)
    (Path(one.folder) / "samples" / "gqa.jsonl").unlink()
    with pytest.raises(CannotCompareError, match="can't be read"):
        compare(other, one, "gqa")


def by_question(found):
    return {comparison.question.name: comparison for comparison in found}


@pytest.fixture
def six(answered):
    """All rows of one model trained without and one with dropping, at lambda .5, on 100 questions of GQA."""
    right = {
        ("vanilla", "vanilla"): 90,
        ("vanilla", "pdrop"): 60,
        ("vanilla", "fastv"): 70,
        ("pdrop", "pdrop"): 89,
        ("pdrop", "fastv"): 50,
    }
    training = {"vanilla": training_record(), "pdrop": training_record("pdrop", 0.5)}
    for (train, strategy), number in right.items():
        kind = PDROP if train == "pdrop" else LLAVA_15
        marks = graded([1] * number + [0] * (100 - number))
        answered(strategy, kind, {"gqa": marks}, training=training[train])
    return answered


def test_each_question_is_answered_by_the_sign_and_the_interval(six):
    found = by_question(find(six.runs()))
    assert {name: round(c.mean.value) for name, c in found.items()} == {
        MATCH: -1, GAIN: 29, FASTV: -20, UNTRAINED: -10,
    }  # fmt: skip
    page = findings_page.findings_page(list(found.values()))
    assert "**LLaVA-1.5 mini576, λ=0.5**: No difference is seen; a loss of " in page
    assert "**LLaVA-1.5 mini576, λ=0.5**: Yes (the interval excludes zero)." in page
    assert "**LLaVA-1.5 mini576, λ=0.5**: No: it scores lower (the interval excludes zero)." in page
    assert "Mean of 1 of the 16 benchmarks: +29.0 [+" in page
    assert "FAIR" not in page.upper().replace("UNFAIR", "")
    assert "mini576, mini576_pdrop_05: trained for 700 steps on 11,200 samples, seed 0." in page.replace(
        "\\_", "_"
    )
    assert "Not measured yet" not in page


def test_what_no_training_is_needed_for_is_asked_without_one(answered):
    for strategy, number in (("pdrop", 90), ("fastv", 70)):
        answered(strategy, LLAVA_15, {"gqa": graded([1] * number + [0] * (100 - number))})
    (found,) = find(answered.runs())
    assert (found.question.name, found.name, round(found.mean.value)) == (
        UNTRAINED, "LLaVA-1.5 mini576, λ=0.5", 20,
    )  # fmt: skip
    assert "Yes (the interval excludes zero)" in findings_page.summary([found])


def test_a_match_is_not_claimed_where_the_loss_is_beyond_the_interval(answered):
    answered("vanilla", LLAVA_15, {"gqa": graded([1] * 100)})
    answered("pdrop", PDROP, {"gqa": graded([1] * 70 + [0] * 30)})
    text = findings_page.summary(find(answered.runs()))
    assert "No: it scores lower (the interval excludes zero)" in text
    assert "lower in GQA" in text


def test_rows_that_are_missing_are_named_with_their_commands(answered):
    answered("vanilla", LLAVA_15, {"gqa": graded([1] * 9 + [0])})
    answered("pdrop", {**PDROP, "train_ratio": 0.4}, {"gqa": graded([1] * 9 + [0])}, fields={"ratio": 0.4})
    found = by_question(find(answered.runs()))
    assert found[MATCH].mean is not None
    assert found[GAIN].missing[0][0] == RowKey("llava-1.5", 1, "vanilla", None, "pdrop", 0.4)
    page = findings_page.findings_page(list(found.values()))
    assert "Not measured yet: LLaVA-1.5 trained without dropping, PDrop at inference λ=0.4." in page
    assert "make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini ARGS='strategy.ratio=0.4'" in page
    assert "Not measured yet: LLaVA-1.5 trained with PDrop λ=0.4, FastV at inference" in page


def test_an_unfair_pair_is_flagged_where_its_answer_stands(answered):
    marks = {"gqa": graded([1] * 9 + [0])}
    answered("vanilla", LLAVA_15, marks, training=training_record())
    answered("pdrop", PDROP, marks, training=training_record("pdrop", 0.5, steps=9))
    page = findings_page.findings_page(find(answered.runs()))
    assert "**Not a fair comparison, see below.**" in page
    assert "the trainings differ in steps (700 / 9)" in page


def test_a_model_that_contradicts_its_record_is_not_compared(answered):
    answered("pdrop", PDROP, {"gqa": graded([1, 0])}, training=training_record("pdrop", 0.6))
    assert find(answered.runs()) == []


def test_what_can_not_be_compared_of_a_pair_is_named(answered):
    answered("vanilla", LLAVA_15, {"gqa": graded([1, 0]), "textvqa": graded([1, 0])})
    answered("pdrop", PDROP, {"gqa": graded([1, 1]), "textvqa": ([sample(0, 1.0, content="x")], 100.0)})
    page = findings_page.findings_page(find(answered.runs()))
    assert "- TextVQA isn't compared: TextVQA: the runs have no question in common" in page


def test_what_is_not_finished_or_not_judged_is_named_as_such(answered):
    answered("vanilla", LLAVA_15, {"gqa": graded([1, 0]), "textvqa": graded([1, 0])})
    run = answered("pdrop", PDROP, {"gqa": graded([1, 1])})
    page = findings_page.findings_page(find(answered.runs()))
    assert f"- TextVQA isn't compared: TextVQA is not in {run.id} (it has GQA)" in page.replace("\\", "")
    assert "Mean of 1 of the 16 benchmarks" in page


def test_means_of_different_benchmarks_are_not_to_be_compared(answered):
    both = {"gqa": graded([1, 0]), "textvqa": graded([1, 0])}
    answered("vanilla", LLAVA_15, both)
    answered("pdrop", PDROP, both)
    page = findings_page.findings_page(find(answered.runs()))
    assert "means of different benchmarks" not in page
    answered("pdrop", {**PDROP, "train_ratio": 0.4}, {"gqa": graded([1, 0])}, fields={"ratio": 0.4})
    page = findings_page.findings_page(find(answered.runs()))
    assert page.count("The lines have means of different benchmarks") == 1


@pytest.mark.parametrize(
    ("right", "words"),
    [(6, "60.0 in the mean of 1 benchmarks, below the 80.0"), (9, "90.0 in the mean of 1 benchmarks, above")],
)
def test_a_model_stands_beside_its_start(answered, right, words):
    kinds = (LLAVA_15, PDROP, NEXT_P5, {**NEXT_P5, "train": "pdrop", "train_ratio": 0.5})
    for kind in kinds:
        record = training_record(kind["train"], kind["train_ratio"])
        strategy, correct = kind["train"], 8
        if kind["architecture"] == "llava-next":
            record["base"] = {"name": "mini576" if strategy == "vanilla" else "mini576_pdrop_05"}
            correct = right
        marks = {"gqa": graded([1] * correct + [0] * (10 - correct))}
        answered(strategy, kind, marks, training=record)
    page = findings_page.findings_page(find(answered.runs()))
    assert f"mini576\\_next\\_p5 began with mini576. Without dropping it scores {words}" in page


def test_what_is_not_ruled_out_is_said(answered):
    # 2 of 100 lost, 2 gained: Tango's interval reaches 5.4 points
    answered("vanilla", LLAVA_15, {"gqa": graded([1] * 50 + [0] * 50)})
    answered("pdrop", PDROP, {"gqa": graded([0, 0] + [1] * 48 + [1, 1] + [0] * 48)})
    (found,) = [c for c in find(answered.runs()) if c.mean]
    (loss,) = re.findall(r"a loss of (\d\.\d) points isn't ruled out", findings_page.summary([found]))
    assert float(loss) == pytest.approx(5.4, abs=0.1)


def test_without_a_model_trained_with_dropping_the_page_says_so(answered):
    answered("vanilla", LLAVA_15, {"gqa": graded([1, 0])})
    page = findings_page.findings_page(find(answered.runs()))
    assert "Nothing to compare yet" in page
    assert "make family" in page


def test_the_papers_own_differences_stand_beside():
    p5 = RowKey("llava-next", 5, "pdrop", 0.5, "pdrop", 0.5)
    match, gain, fastv, untrained = QUESTIONS
    # as printed: Table 1 67.3 and 67.4, Table 2 62.6 and 63.0, Table 4 62.8 and 63.5; Table 3 70.0 and 68.8
    assert printed(match, p5) == [(1, -0.1), (2, -0.4), (4, -0.7)]
    assert printed(gain, p5) == []
    assert printed(fastv, p5) == [(3, 1.2)]
    # Table 5: 68.5 and 67.0. The first of its rows is trained without dropping, and names it as well.
    assert printed(untrained, p5) == [(5, 1.5)]
    assert printed(untrained, RowKey("llava-next", 5, "vanilla", None, "pdrop", 0.5)) == [(5, 1.5)]


def test_averages_of_the_papers_tables_are_formed_where_they_are_complete(answered):
    keys = ("chartqa", "docvqa", "textvqa", "scienceqa_image")
    result = {key: graded([1] * 80 + [0] * 20) for key in keys}
    result["mme"] = mme(("color", 1, 1), ("color", 1, 0)), 125.0
    result["pope"] = pope(("random", "yes", "yes"), ("random", "no", "no")), 100.0
    kinds = ({**NEXT_P5}, {**NEXT_P5, "train": "pdrop", "train_ratio": 0.5})
    for kind in kinds:
        answered("fastv", kind, result)
    found = by_question(find(answered.runs()))[FASTV]
    assert found.averages[3].value == 0
    page = findings_page.findings_page([found])
    assert "Average of Table 3" in page
    assert "Table 3: +1.2" in page
    assert "No question came out differently" in page


def test_the_command_writes_the_page(six, tmp_path, monkeypatch, capsys):
    out = tmp_path / "training" / "findings.md"
    monkeypatch.setattr(sys, "argv", ["findings", "--root", str(tmp_path / "runs"), "--out", str(out)])
    findings_page.main()
    assert out.read_text(encoding="utf-8").startswith("# The paper's claims, asked of the records")
    assert str(out) in capsys.readouterr().out
